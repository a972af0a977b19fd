"""A back-off by `time.sleep` in the worker.

Bug: who waits holds a process that others need.
Exposed by: errors of many tasks.
Symptom: the pool sleeps, throughput collapses.
Met by: the interview, loom #544, packit-service #2927.
"""

from __future__ import annotations

import time

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls import scripts
from taskchaos.suites.subjects.controls.mini_queue import PASS, Job, MiniQueue, fails


class SleepingBackoff(MiniQueue):
    """Sleeps, then puts the task back."""

    name = "sleep_backoff"
    only_in = "transient_error.once"
    contract = MiniQueue.contract.claiming(Claim.THROUGHPUT)
    symptom = fails(Rule.THROUGHPUT)

    def back_off_s(self, job: Job) -> float:
        """The first step of 2, 4, 8, scaled down."""
        return 1.0

    def retry(self, job: Job) -> None:
        """In the worker."""
        time.sleep(self.back_off_s(job))
        self.hashed(scripts.RETRY, job.token, 0, 1, self.max_failures)


class SleepingBackoffMended(SleepingBackoff):
    """Waits in Redis."""

    name = "sleep_backoff_mended"
    symptom = PASS
    retry = MiniQueue.retry
