"""A lock that is deleted in a `finally`, also by who never had it.

Bug: the release has no owner's token to compare.
Exposed by: a copy of a task that is at work.
Symptom: the copy goes away, its `finally` frees the lock, and the next copy runs beside the first.
Met by: laravel #26213, celery #4344.
"""

from __future__ import annotations

from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.mini_queue import PASS, Job, fails
from taskchaos.suites.subjects.controls.under_lock import UnderLock, lock


class BlindRelease(UnderLock):
    """The lock is extended in time, and deleted without a look at whose it is."""

    name = "blind_release"
    only_in = "slow_task.undisturbed"
    symptom = fails(Rule.OVERLAP, may=(Rule.DUPLICATE, Rule.RETRIES, Rule.FALSE_FAILURE, Rule.ZOMBIE))

    def release(self, job: Job) -> bool:
        """DEL."""
        return bool(self.redis.delete(lock(job)))


class BlindReleaseMended(BlindRelease):
    """Compared with the token and deleted in one step."""

    name = "blind_release_mended"
    symptom = PASS
    release = UnderLock.release
