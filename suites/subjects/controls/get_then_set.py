"""A lock that is looked at, and then taken.

Bug: between the look and the write another one looks as well, and both find it free.
Exposed by: two deliveries of one task at the same moment.
Symptom: both run.
Met by: celery-once (`raise_or_lock` is a GET, then a SETEX); `if cache.get(key): return` before `cache.set(key, 1)`.
"""

from __future__ import annotations

from dataclasses import replace

from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls import scripts
from taskchaos.suites.subjects.controls.mini_queue import PASS, Job, MiniQueue, fails
from taskchaos.suites.subjects.controls.under_lock import UnderLock, lock


class GetThenSet(UnderLock):
    """Two commands. Its queue knows no ids: what is sent twice is delivered twice."""

    name = "get_then_set"
    only_in = "command.together"
    symptom = fails(Rule.OVERLAP)
    commands = replace(MiniQueue.commands, claim="GET")

    def put(self, task_id: str, message: str) -> None:
        """Another entry each time; the lock keeps the copies apart."""
        self.hashed(scripts.PUT_AGAIN, task_id, message)

    def acquire(self, job: Job) -> bool:
        """Free: ours."""
        return not self.redis.get(lock(job)) and bool(self.redis.set(lock(job), job.token, px=self.expiry_ms))


class GetThenSetMended(GetThenSet):
    """One command does both (SET NX)."""

    name = "get_then_set_mended"
    symptom = PASS
    commands = replace(MiniQueue.commands, claim="SET")
    acquire = UnderLock.acquire
