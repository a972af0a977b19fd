"""A wait that is held in a worker's memory.

Bug: the message is acknowledged, and a timer in the process sends it again.
Exposed by: a worker is killed while tasks wait for their retry.
Symptom: lost, whatever waited there.
Met by: `threading.Timer` around a resubmit.
"""

from __future__ import annotations

import threading
from functools import partial

from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls import scripts
from taskchaos.suites.subjects.controls.mini_queue import PASS, Job, MiniQueue, fails


def resend_by_timer(queue: MiniQueue, job: Job, wait_s: float) -> None:
    """Be done with a job now, and queue its message again later, if this process is there then."""
    entry = queue.entry(job.token)
    if entry is not None:
        again = partial(queue.hashed, scripts.PUT, f"{job.id}-{job.token}", entry["message"])
        timer = threading.Timer(wait_s, lambda: queue.surely(again))
        timer.daemon = True
        timer.start()
    queue.done(job.token)


class WaitsInMemory(MiniQueue):
    """A timer for each retry."""

    name = "waits_in_memory"
    only_in = "retry_under_fire.tree"
    symptom = fails(Rule.LOST)

    def retry(self, job: Job) -> None:
        """Send it again later, and be done with it now."""
        resend_by_timer(self, job, self.back_off_s(job))


class WaitsInMemoryMended(WaitsInMemory):
    """It waits in Redis."""

    name = "waits_in_memory_mended"
    symptom = PASS
    retry = MiniQueue.retry
