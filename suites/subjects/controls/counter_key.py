"""A retry counter in a key of its own.

Bug: the counter is no part of the task, so nothing takes it along.
Exposed by: a task that is given up.
Symptom: the key stays, and a task that is run again later begins with its retries used up.
Met by: the interview's state table; rate and retry counters by INCR in most hand-written code.
"""

from __future__ import annotations

from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls import scripts
from taskchaos.suites.subjects.controls.mini_queue import PASS, Job, MiniQueue, fails


class CounterKey(MiniQueue):
    """`retries:<id>`, deleted on success."""

    name = "counter_key"
    only_in = "transient_error.mixed"
    symptom = fails(Rule.LEAK)

    def retry(self, job: Job) -> None:
        """Count beside the queue, then tell the queue."""
        over = self.redis.incr(f"retries:{job.id}") > self.max_failures
        self.hashed(scripts.RETRY, job.token, int(1000 * self.back_off_s(job)), int(over), 0)

    def done(self, token: int) -> None:
        """The counter goes with the task."""
        entry = self.entry(token)
        if entry is not None:
            self.redis.delete(f"retries:{entry['id']}")
        super().done(token)


class CounterKeyMended(CounterKey):
    """Counted in the entry, by the step that puts it back."""

    name = "counter_key_mended"
    symptom = PASS
    retry = MiniQueue.retry
