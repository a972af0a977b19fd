"""A task that is noted as done before it is.

Bug: the record comes before the effect.
Exposed by: SIGKILL between them.
Symptom: the copy that comes back finds the task done and does nothing.
Met by: idempotency keys that are stored when a request comes in; daiv #1435.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.subject import TaskBody
from taskchaos.suites.subjects.controls.mini_queue import PASS, Job, MiniQueue, fails
from taskchaos.suites.subjects.controls.under_lock import DONE, UnderLock


class SuccessFirst(UnderLock):
    """Success is written down first."""

    name = "success_first"
    only_in = "worker_kill.tree"
    symptom = fails(Rule.LOST, Rule.FALSE_SUCCESS)

    def do(self, job: Job, body: TaskBody, payload: Mapping[str, Any]) -> Any:
        """Note, then work."""
        self.redis.sadd(DONE, job.id)
        return MiniQueue.work(self, job, body, payload)


class SuccessFirstMended(SuccessFirst):
    """Work, then note."""

    name = "success_first_mended"
    symptom = PASS
    do = UnderLock.do
