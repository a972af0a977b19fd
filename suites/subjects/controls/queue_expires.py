"""The queue itself has an expiry, "so that nothing is left behind", in a Redis that evicts what expires.

Bug: under `volatile-lru` Redis deletes keys with an expiry when memory is short, and this is one.
Exposed by: maxmemory reached under volatile-lru.
Symptom: everything that waits is gone at once.
Met by: one Redis for cache and queue (ElastiCache's default policy is volatile-lru); Bull's and RQ's advice to use
  noeviction comes from there; rq's `job_timeout` keys; celery results that expire.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.subject import TaskBody
from taskchaos.suites.subjects.controls.mini_queue import PASS, Job, MiniQueue, fails

_DAY_S = 86_400
_PAGE_BYTES = 30_000


class QueueExpires(MiniQueue):
    """Each task that is queued makes the queue expire a day later. Beside it there is a cache, in both."""

    name = "queue_expires"
    only_in = "redis_answers.evicting_volatile"
    kept = (*MiniQueue.kept, "page")
    symptom = fails(Rule.LOST)
    expires = True

    def put(self, task_id: str, message: str) -> None:
        """Queue it, and put the end off."""
        super().put(task_id, message)
        if self.expires:
            self.redis.expire("mini:ready", _DAY_S)

    def work(self, job: Job, body: TaskBody, payload: Mapping[str, Any]) -> Any:
        """What the task shows to people is a cache, and may go."""
        self.redis.set("page", bytes(_PAGE_BYTES), ex=_DAY_S)
        return super().work(job, body, payload)


class QueueExpiresMended(QueueExpires):
    """What is the truth has no expiry."""

    name = "queue_expires_mended"
    symptom = PASS
    expires = False
