"""A payload in a key of its own, with an expiry.

Bug: it is gone before the task that needs it has run.
Exposed by: SIGKILL, and a redelivery that takes longer than the expiry; or a backlog.
Symptom: the task comes back without its payload, and is dropped as expired.
Met by: arq #320.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.subject import TaskBody
from taskchaos.suites.subjects.controls.mini_queue import PASS, Job, MiniQueue, fails


class PayloadExpires(MiniQueue):
    """Soon after it was sent."""

    name = "payload_expires"
    only_in = "worker_kill.tree"
    symptom = fails(Rule.LOST, Rule.FALSE_SUCCESS)
    expiry_ms: int | None = 2500

    def put(self, task_id: str, message: str) -> None:
        """The payload first."""
        self.redis.set(f"payload:{task_id}", 1, px=self.expiry_ms)
        super().put(task_id, message)

    def work(self, job: Job, body: TaskBody, payload: Mapping[str, Any]) -> Any:
        """If there is still something to work on."""
        if not self.redis.exists(f"payload:{job.id}"):
            return "expired"
        result = super().work(job, body, payload)
        self.redis.delete(f"payload:{job.id}")
        return result


class PayloadExpiresMended(PayloadExpires):
    """It goes when the task is done."""

    name = "payload_expires_mended"
    symptom = PASS
    expiry_ms = None
