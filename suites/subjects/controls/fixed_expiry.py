"""SET with a fixed expiry, deleted without a look at whose it is; the task works for longer than that.

Bug: the lock ends before the work, and its first holder then deletes the second one's.
Exposed by: a slow task, nothing else.
Symptom: one task runs twice at a time.
Met by: laravel #26213, celery #4344, celery-once #36 and `clear_lock`.

The twin is the interview's question answered: extended while the task works, and deleted only by its holder.
"""

from __future__ import annotations

from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.mini_queue import PASS, Job, fails
from taskchaos.suites.subjects.controls.under_lock import UnderLock, lock


class FixedExpiry(UnderLock):
    """A lock that knows neither how long the work takes nor whose it is."""

    name = "fixed_expiry"
    only_in = "slow_task.undisturbed"
    symptom = fails(Rule.OVERLAP, may=(Rule.DUPLICATE, Rule.RETRIES, Rule.FALSE_FAILURE, Rule.ZOMBIE))
    extends = False

    def release(self, job: Job) -> bool:
        """Whoever comes here last."""
        return bool(self.redis.delete(lock(job)))


class FixedExpiryMended(FixedExpiry):
    """A lease with an owner."""

    name = "fixed_expiry_mended"
    symptom = PASS
    extends = True
    release = UnderLock.release
