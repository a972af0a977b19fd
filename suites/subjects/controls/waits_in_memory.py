"""A wait that is held in a worker's memory.

Bug: the message is acknowledged, and a timer in the process sends it again.
Exposed by: a worker is killed while tasks wait for their retry.
Symptom: lost, whatever waited there.
Met by: `threading.Timer` around a resubmit.
"""

from __future__ import annotations

import threading
from typing import Any

from celery.exceptions import Ignore

from taskchaos.harness.record.result import Expectation
from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.workload import TransientError
from taskchaos.suites.subjects.controls.lawful import Lawful


class WaitsInMemory(Lawful):
    """A timer for each retry."""

    name = "waits_in_memory"
    only_in = "retry_under_fire.tree"
    expectations = {"retry_under_fire": Expectation(must=frozenset({Rule.LOST}))}

    def retried(self, task: Any, error: TransientError) -> Exception:
        """Send it again later, and forget about it now."""
        again = task.signature_from_request(task.request, countdown=0, retries=task.request.retries + 1)
        timer = threading.Timer(self.wait_s(task.request.retries), again.apply_async)
        timer.daemon = True
        timer.start()
        return Ignore()


class WaitsInMemoryMended(WaitsInMemory):
    """Sent at once, to be run later."""

    name = "waits_in_memory_mended"
    expectations = {}
    retried = Lawful.retried
