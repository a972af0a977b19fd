"""A back-off without its jitter.

Bug: everybody waits for exactly as long.
Exposed by: tasks that fail several times.
Symptom: waits that do not spread; what failed together comes back together.
Met by: `retry_jitter=False`, `countdown=2**retries`.
"""

from __future__ import annotations

from taskchaos.harness.record.result import Expectation
from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.lawful import BASE_S, CAP_S, Lawful


class NoJitter(Lawful):
    """Draws nothing."""

    name = "no_jitter"
    only_in = "retry_policy.several"
    expectations = {"retry_policy": Expectation(must=frozenset({Rule.BACKOFF}))}

    def wait_s(self, retries: int) -> float:
        """The longest wait, always."""
        return min(CAP_S, BASE_S * 2.0**retries)


class NoJitterMended(NoJitter):
    """Draws all of it."""

    name = "no_jitter_mended"
    expectations = {}
    wait_s = Lawful.wait_s
