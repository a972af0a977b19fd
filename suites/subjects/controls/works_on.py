"""Work that goes on although its lease is lost.

Bug: the lease is renewed, but nobody acts when it cannot be.
Exposed by: a cut that is longer than the lease.
Symptom: two workers at one task.
Met by: redbeat #127, and every lock whose `extend` returns False to nobody.
"""

from __future__ import annotations

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.mini_queue import PASS, MiniQueue, fails


class WorksOn(MiniQueue):
    """A lost lease is noted, and that is all."""

    name = "works_on"
    only_in = "slow_task.cut-black_hole"
    contract = MiniQueue.contract.claiming(Claim.EXCLUSIVE)
    symptom = fails(Rule.OVERLAP)

    def stop(self, token: int) -> None:
        """It will not take much longer."""
        self.held.pop(token, None)


class WorksOnMended(WorksOn):
    """The process ends before another may have the task."""

    name = "works_on_mended"
    symptom = PASS
    stop = MiniQueue.stop
