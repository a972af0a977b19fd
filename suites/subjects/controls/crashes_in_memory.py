"""Attempts are counted in the memory of the process that makes them.

Bug: the count dies with what it counts.
Exposed by: poison.
Symptom: as without a limit.
Met by: dramatiq #213; counters in module globals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.subject import TaskBody
from taskchaos.suites.subjects.controls import scripts
from taskchaos.suites.subjects.controls.mini_queue import MAX_CRASHES, MAX_FAILURES, PASS, Job, MiniQueue, fails

ATTEMPTS: Counter[str] = Counter()


class CrashesInMemory(MiniQueue):
    """A global of the worker's process."""

    name = "crashes_in_memory"
    only_in = "poison.task"
    symptom = fails(Rule.STUCK, Rule.RETRIES)
    max_crashes = 0

    def work(self, job: Job, body: TaskBody, payload: Mapping[str, Any]) -> Any:
        """Given up without a run when it was tried too often."""
        ATTEMPTS[job.id] += 1
        if ATTEMPTS[job.id] > MAX_FAILURES + MAX_CRASHES:
            self.hashed(scripts.RETRY, job.token, 0, 1, 0)
            raise RuntimeError(f"{job.id} was tried too often")
        return super().work(job, body, payload)


class CrashesInMemoryMended(CrashesInMemory):
    """Counted in the entry, by who sees that the process has ended."""

    name = "crashes_in_memory_mended"
    symptom = PASS
    max_crashes = MAX_CRASHES
