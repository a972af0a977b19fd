"""A worker that, when it starts, puts everything back that is in progress.

Bug: it takes what others are at work on for what its own last life left.
Exposed by: one of two workers is killed and started again.
Symptom: the other's tasks run twice at a time.
Met by: saq #124 and #277, rq #2061 and #2424, Sidekiq #4611.
"""

from __future__ import annotations

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.mini_queue import PASS, MiniQueue, fails


class SweepsAtStart(MiniQueue):
    """Recovery by a sweep."""

    name = "sweeps_at_start"
    only_in = "worker_kill.loop"
    contract = MiniQueue.contract.claiming(Claim.EXCLUSIVE)
    symptom = fails(Rule.OVERLAP, may=(Rule.DUPLICATE, Rule.FALSE_FAILURE))
    swept = False

    def reap(self) -> None:
        """The first time, everything."""
        if not self.swept:
            for token in self.redis.hkeys("mini:leased"):
                self.crashed(int(token))
            self.swept = True
        super().reap()


class SweepsAtStartMended(SweepsAtStart):
    """Only what nobody renewed."""

    name = "sweeps_at_start_mended"
    symptom = PASS
    reap = MiniQueue.reap
