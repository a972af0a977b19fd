"""Retries that are looked for too seldom.

Bug: what is due waits until somebody looks, every few seconds.
Exposed by: tasks that fail several times.
Symptom: operations wait for seconds longer than was promised, with idle workers.
Met by: retries that a periodic task or a cron job looks for.
"""

from __future__ import annotations

from taskchaos.harness.record.result import Expectation
from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.lawful import Lawful

#: How often somebody looks.
LOOK_S = 5.0


class LatePromotion(Lawful):
    """Looks for what is due each five seconds."""

    name = "late_promotion"
    only_in = "retry_policy.several"
    expectations = {"retry_policy": Expectation(must=frozenset({Rule.DURATION}), may=frozenset({Rule.BACKOFF}))}

    def wait_s(self, retries: int) -> float:
        """As long as it takes until it is found."""
        return super().wait_s(retries) + LOOK_S


class LatePromotionMended(LatePromotion):
    """Looks when it is due."""

    name = "late_promotion_mended"
    expectations = {}
    wait_s = Lawful.wait_s
