"""Whoever does not get the lock skips the task: the interview's first answer.

Bug: a lock that is taken says that somebody began, not that somebody will end.
Exposed by: SIGKILL to the holder.
Symptom: the copy that comes back is skipped, and the queue is told that it is done.
Met by: daiv #1435 (two days of tasks that did nothing and were marked successful), celery-once #37.
"""

from __future__ import annotations

from typing import Any

from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.mini_queue import PASS, Job, fails
from taskchaos.suites.subjects.controls.under_lock import UnderLock


class SetnxSkips(UnderLock):
    """A task whose lock is taken is skipped."""

    name = "setnx_skips"
    only_in = "worker_kill.tree"
    symptom = fails(Rule.LOST, Rule.FALSE_SUCCESS)
    #: For longer than it takes the queue to deliver the task again.
    expiry_ms = 4000

    def taken(self, job: Job) -> Any:
        """Somebody else does it."""
        return "skipped"


class SetnxSkipsMended(SetnxSkips):
    """It comes back later, and sees then whether it was done."""

    name = "setnx_skips_mended"
    symptom = PASS
    taken = UnderLock.taken
