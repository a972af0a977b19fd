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


class WaitsInMemory(MiniQueue):
    """A timer for each retry."""

    name = "waits_in_memory"
    only_in = "retry_under_fire.tree"
    symptom = fails(Rule.LOST)

    def retry(self, job: Job) -> None:
        """Send it again later, and be done with it now."""
        entry = self.entry(job.token)
        if entry is not None:
            again = partial(self.hashed, scripts.PUT, f"{job.id}-{job.token}", entry["message"])
            timer = threading.Timer(self.back_off_s(job), lambda: self.surely(again))
            timer.daemon = True
            timer.start()
        self.done(job.token)


class WaitsInMemoryMended(WaitsInMemory):
    """It waits in Redis."""

    name = "waits_in_memory_mended"
    symptom = PASS
    retry = MiniQueue.retry
