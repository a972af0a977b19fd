"""`acks_late` without `task_reject_on_worker_lost`.

Bug: a process that ended counts as a task that failed, and is acknowledged.
Exposed by: SIGKILL to a pool child, as the kernel's OOM killer does.
Symptom: the task is gone.
Met by: celery #1628.
"""

from __future__ import annotations

from celery import Celery

from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.subject import Settings
from taskchaos.suites.subjects.controls.mini_queue import PASS, MiniQueue, fails


class ChildLostAcked(MiniQueue):
    """Late acknowledgement as Celery has it unless told more."""

    name = "child_lost_acked"
    only_in = "worker_kill.child"
    symptom = fails(Rule.LOST)

    def install(self, app: Celery, settings: Settings) -> None:
        """Celery's defaults for both."""
        super().install(app, settings)
        app.conf.update(task_reject_on_worker_lost=None, task_acks_on_failure_or_timeout=True)


class ChildLostAckedMended(ChildLostAcked):
    """Told more: the message goes back."""

    name = "child_lost_acked_mended"
    symptom = PASS
    install = MiniQueue.install
