"""A task that is to be run later waits in a worker's memory.

Bug: it is acknowledged when it is fetched, and a timer in the process sends it again when it is due.
Exposed by: a worker is killed while tasks wait for their time.
Symptom: lost, whatever waited there.
Met by: schedulers in a thread (APScheduler with its memory store, `threading.Timer`) that tasks hand their delay to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery.exceptions import Ignore

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.subject import TaskBody
from taskchaos.harness.workload import Operation
from taskchaos.suites.subjects.controls import scripts
from taskchaos.suites.subjects.controls.mini_queue import PASS, Job, MiniQueue, fails
from taskchaos.suites.subjects.controls.waits_in_memory import resend_by_timer


class EtaInMemory(MiniQueue):
    """What is fetched before it is due is put off. Due times are those of Redis's clock."""

    name = "eta_in_memory"
    only_in = "eta.kill"
    contract = MiniQueue.contract.claiming(Claim.ETA)
    symptom = fails(Rule.LOST)

    def submit(self, task: Any, operation: Operation) -> None:
        """With the time at which it is due."""
        payload = {**operation.payload(), "due_ms": self.now_ms() + operation.eta_ms}
        task.apply_async(args=(payload,), task_id=operation.task_id)

    def run(self, job: Job, body: TaskBody, payload: Mapping[str, Any]) -> Any:
        """One attempt, if it is due."""
        wait_ms = self.surely(lambda: payload["due_ms"] - self.now_ms())
        if wait_ms <= 0:
            return super().run(job, body, payload)
        self.surely(lambda: self.later(job, wait_ms))
        raise Ignore

    def later(self, job: Job, wait_ms: int) -> None:
        """Sent again by a timer, and done with for now."""
        resend_by_timer(self, job, wait_ms / 1000)


class EtaInMemoryMended(EtaInMemory):
    """It waits in Redis."""

    name = "eta_in_memory_mended"
    symptom = PASS

    def later(self, job: Job, wait_ms: int) -> None:
        self.hashed(scripts.RETRY, job.token, wait_ms, 0, self.max_failures)
