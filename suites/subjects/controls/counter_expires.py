"""A retry counter in a key of its own, with an expiry so that it does not stay.

Bug: the counter forgets while the task waits.
Exposed by: a task that fails for good.
Symptom: it is tried more often than was promised.
Met by: hand-written counters by INCR and EXPIRE, as in Redis's own pattern of a rate limiter.
"""

from __future__ import annotations

from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls import scripts
from taskchaos.suites.subjects.controls.mini_queue import PASS, Job, MiniQueue, fails


class CounterExpires(MiniQueue):
    """INCR and EXPIRE, shorter than the longest wait between two attempts."""

    name = "counter_expires"
    only_in = "transient_error.mixed"
    symptom = fails(Rule.RETRIES)

    def back_off_s(self, job: Job) -> float:
        """Each time the same."""
        return 0.4

    def retry(self, job: Job) -> None:
        """Count beside the queue, then tell the queue."""
        key = f"retries:{job.id}"
        over = self.redis.incr(key) > self.max_failures
        self.redis.pexpire(key, 300)
        most = job.failures if over else 10  # the queue's own limit, for the worst case
        self.hashed(scripts.RETRY, job.token, int(1000 * self.back_off_s(job)), 1, most)


class CounterExpiresMended(CounterExpires):
    """Counted in the entry, which stays as long as the task."""

    name = "counter_expires_mended"
    symptom = PASS
    retry = MiniQueue.retry
