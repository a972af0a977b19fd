"""A renewer that ends at its first error, quietly, while the work goes on.

Bug: an exception ends the thread, and nobody looks after it.
Exposed by: one connection reset, during work that is longer than the lease.
Symptom: another worker takes the task over and runs beside it.
Met by: python-redis-lock #85 and #91.
"""

from __future__ import annotations

from redis.exceptions import RedisError

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.mini_queue import PASS, MiniQueue, fails


class RenewerDies(MiniQueue):
    """One error, and no lease of this worker is renewed any more."""

    name = "renewer_dies"
    only_in = "slow_task.cut-refused"
    contract = MiniQueue.contract.claiming(Claim.EXCLUSIVE)
    symptom = fails(Rule.OVERLAP, may=(Rule.DUPLICATE, Rule.RETRIES, Rule.FALSE_FAILURE, Rule.ZOMBIE))

    def keep(self) -> None:
        """Until the first error."""
        try:
            super().keep()
        except RedisError:
            self.renews = False


class RenewerDiesMended(RenewerDies):
    """Goes on, and ends the work where it comes too late."""

    name = "renewer_dies_mended"
    symptom = PASS
    keep = MiniQueue.keep
