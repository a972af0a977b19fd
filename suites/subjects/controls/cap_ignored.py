"""A cap that is forgotten.

Bug: the wait doubles with each retry, and nobody compares it with the cap.
Exposed by: tasks that fail several times.
Symptom: waits beyond the longest one that was promised.
Met by: `countdown=2**retries`, as in the interview's code.
"""

from __future__ import annotations

import random

from taskchaos.harness.record.result import Expectation
from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.lawful import BASE_S, Lawful


class CapIgnored(Lawful):
    """Doubles, and more."""

    name = "cap_ignored"
    only_in = "retry_policy.several"
    expectations = {"retry_policy.several": Expectation(must=frozenset({Rule.BACKOFF}), may=frozenset({Rule.DURATION}))}

    def wait_s(self, retries: int) -> float:
        """Four times as long with each retry."""
        return random.uniform(0.0, BASE_S * 4.0**retries)


class CapIgnoredMended(CapIgnored):
    """Capped."""

    name = "cap_ignored_mended"
    expectations = {}
    wait_s = Lawful.wait_s
