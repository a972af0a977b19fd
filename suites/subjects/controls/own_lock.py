"""A lock that is removed only on success, so that a retry meets the lock of its own task: the interview's code.

Bug: the failing path keeps the lock, and a lock that is taken counts as a failure.
Exposed by: one transient error.
Symptom: the retries are used up on the task's own lock.
Met by: celery-once #37, celery-singleton #55.
"""

from __future__ import annotations

from typing import Any

from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.mini_queue import PASS, Job, fails
from taskchaos.suites.subjects.controls.under_lock import DONE, UnderLock


class OwnLock(UnderLock):
    """One failure, and the task is its own competitor."""

    name = "own_lock"
    only_in = "transient_error.once"
    symptom = fails(Rule.DEAD_LETTER, may=(Rule.LEAK,))
    expiry_ms = 60_000

    def taken(self, job: Job) -> Any:
        """As good as a failure."""
        raise RuntimeError(f"task {job.id} is already locked")

    def release(self, job: Job) -> bool:
        """After a success."""
        return bool(self.redis.sismember(DONE, job.id)) and super().release(job)


class OwnLockMended(OwnLock):
    """Released whatever came of it."""

    name = "own_lock_mended"
    symptom = PASS
    release = UnderLock.release
