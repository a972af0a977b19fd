"""A back-off that is none.

Bug: the task is retried at once, whatever was promised.
Exposed by: tasks that fail several times.
Symptom: all attempts are spent before what failed had time to come back.
Met by: `retry(countdown=0)`.
"""

from __future__ import annotations

from taskchaos.harness.record.result import Expectation
from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.lawful import Lawful


class NoBackoff(Lawful):
    """Waits for nothing."""

    name = "no_backoff"
    only_in = "retry_policy.several"
    expectations = {"retry_policy": Expectation(must=frozenset({Rule.BACKOFF}))}

    def wait_s(self, retries: int) -> float:
        """No time at all."""
        return 0.0


class NoBackoffMended(NoBackoff):
    """Waits as it claims."""

    name = "no_backoff_mended"
    expectations = {}
    wait_s = Lawful.wait_s
