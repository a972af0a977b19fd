"""A lock that is taken counts as a failed attempt.

Bug: waiting for another's lock uses up the retries.
Exposed by: a slow task, of which a copy comes while it works.
Symptom: the copy gives the task up, which is at work and succeeds.
Met by: the interview's code, streaq's `unique`, huey's lock, dramatiq's rate limiter.
"""

from __future__ import annotations

from typing import Any

from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.mini_queue import PASS, Job, fails
from taskchaos.suites.subjects.controls.under_lock import UnderLock


class ContentionFails(UnderLock):
    """Already locked: an error like any other."""

    name = "contention_fails"
    only_in = "slow_task.undisturbed"
    symptom = fails(Rule.FALSE_FAILURE, may=(Rule.ZOMBIE, Rule.DEAD_LETTER))

    def taken(self, job: Job) -> Any:
        """One retry less."""
        raise RuntimeError(f"task {job.id} is already locked")


class ContentionFailsMended(ContentionFails):
    """Waiting is no failure."""

    name = "contention_fails_mended"
    symptom = PASS
    taken = UnderLock.taken
