"""An idempotency key that goes with its task.

Bug: what was submitted once is known only until it is done.
Exposed by: a producer that forgets what it has sent, and sends it again later.
Symptom: the task runs a second time.
Met by: celery-once and celery-singleton, whose locks end with the task; Sidekiq's unique jobs until executed.
"""

from __future__ import annotations

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.mini_queue import PASS, MiniQueue, fails


class SeenForgotten(MiniQueue):
    """Unique while it is queued or runs."""

    name = "seen_forgotten"
    only_in = "submits.twice_late"
    contract = MiniQueue.contract.claiming(Claim.EFFECTIVELY_ONCE)
    symptom = fails(Rule.DUPLICATE)

    def done(self, token: int) -> None:
        """With the entry goes the memory of it."""
        entry = self.entry(token)
        super().done(token)
        if entry is not None:
            self.redis.srem("mini:seen", str(entry["id"]))


class SeenForgottenMended(SeenForgotten):
    """Known for longer than anybody sends it again."""

    name = "seen_forgotten_mended"
    symptom = PASS
    done = MiniQueue.done
