"""The lock is released in the same `try` as the work.

Bug: an error after the effect is taken for a failure of the task.
Exposed by: the lost reply of the release.
Symptom: a task that had succeeded runs again.
Met by: the interview's code, celery-once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from redis.exceptions import RedisError

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.subject import TaskBody
from taskchaos.suites.subjects.controls.mini_queue import PASS, Job, MiniQueue, fails


class ReleaseInTry(MiniQueue):
    """Success, unless the DEL that follows it fails. (The fault aims at that DEL.)"""

    name = "release_in_try"
    only_in = "command.pop_reply_lost"
    contract = MiniQueue.contract.claiming(Claim.EFFECTIVELY_ONCE)
    symptom = fails(Rule.DUPLICATE)
    commands = replace(MiniQueue.commands, pop="DEL")

    def work(self, job: Job, body: TaskBody, payload: Mapping[str, Any]) -> Any:
        """Lock, work, release."""
        self.redis.set(f"lock:{job.id}", job.token, px=1000)
        result = super().work(job, body, payload)
        self.release(job)
        return result

    def release(self, job: Job) -> None:
        """DEL."""
        self.redis.delete(f"lock:{job.id}")


class ReleaseInTryMended(ReleaseInTry):
    """What the release comes to is no matter of the task: the lock frees itself."""

    name = "release_in_try_mended"
    symptom = PASS

    def release(self, job: Job) -> None:
        """DEL, if it can be."""
        try:
            super().release(job)
        except RedisError:
            return
