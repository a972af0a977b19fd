"""A lock by SETNX per task id, without an expiry.

Bug: nothing but its holder ever removes the lock.
Exposed by: SIGKILL to the holder.
Symptom: the task comes back, finds its own lock, and is put back for ever.
Met by: daiv #1435, huey #308, celerybeatredis #11, tasktiger #53.
"""

from __future__ import annotations

from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.mini_queue import PASS, Job, fails
from taskchaos.suites.subjects.controls.under_lock import UnderLock, lock


class SetnxForever(UnderLock):
    """The lock of a holder that was killed stays."""

    name = "setnx_forever"
    only_in = "worker_kill.tree"
    symptom = fails(Rule.STUCK)
    extends = False

    def acquire(self, job: Job) -> bool:
        """SETNX."""
        return bool(self.redis.setnx(lock(job), job.token))


class SetnxForeverMended(SetnxForever):
    """The lock frees itself."""

    name = "setnx_forever_mended"
    symptom = PASS
    acquire = UnderLock.acquire
