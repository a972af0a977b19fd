"""When a retry is due is written by the clock of the worker that failed, and read by another.

Bug: the due time is absolute, and of one machine's wall clock.
Exposed by: a worker whose clock is an hour ahead while its tasks fail.
Symptom: their retries wait for an hour.
Met by: Celery's `eta` and `countdown` (the sender's clock, the consumer's wait); Sidekiq's and Bull's delayed sets.
"""

from __future__ import annotations

import time

from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls import scripts
from taskchaos.suites.subjects.controls.mini_queue import PASS, Job, MiniQueue, fails

_BY_REDIS = "local t = redis.call('TIME')\nlocal now = t[1] * 1000 + math.floor(t[2] / 1000)\n"


class DueByClient(MiniQueue):
    """The worker says when, not how long from now."""

    name = "due_by_client"
    only_in = "clock.retries"
    symptom = fails(Rule.STUCK)

    def retry(self, job: Job) -> None:
        """Later again, by our own clock."""
        script = scripts.RETRY.replace(_BY_REDIS, f"local now = {int(1000 * time.time())}\n")
        self.sent(script, job.token, int(1000 * self.back_off_s(job)), 1, self.max_failures)


class DueByClientMended(DueByClient):
    """How long from now, by Redis's clock."""

    name = "due_by_client_mended"
    symptom = PASS
    retry = MiniQueue.retry
