"""A loop around a dependency that is down.

Bug: "cannot connect" is no failure of the task, so it is tried again at once, for as long as it takes.
Exposed by: what all tasks depend on is down for a while.
Symptom: a storm of attempts that keeps it down, and the workers from everything else.
Met by: `retry(countdown=0, max_retries=None)` around a request.
"""

from __future__ import annotations

from dataclasses import replace

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.result import Expectation
from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.lawful import Lawful


class HotLoop(Lawful):
    """Tries for ever, and at once."""

    name = "hot_loop"
    contract = replace(Lawful.contract, claims=Lawful.contract.claims - {Claim.RETRIES_BOUNDED})
    expectations = {
        "retry_policy.outage": Expectation(must=frozenset({Rule.RETRY_STORM}), may=frozenset({Rule.BACKOFF})),
        "retry_policy.several": Expectation(must=frozenset({Rule.BACKOFF})),
    }
    max_retries = None

    def wait_s(self, retries: int) -> float:
        """No time at all."""
        return 0.0


class HotLoopMended(HotLoop):
    """Tries for ever, with waits between."""

    name = "hot_loop_mended"
    expectations = {}
    wait_s = Lawful.wait_s
