"""What Redis refuses is given up; only a lost connection is tried again.

Bug: READONLY, OOM, LOADING, BUSY and MISCONF pass as well, and are no connection errors.
Exposed by: a primary that is demoted for a while.
Symptom: tasks that were done meanwhile are never said to be, and run again when their leases end.
Met by: `autoretry_for=(ConnectionError, TimeoutError)`; redis-py, whose Retry repeats those two only; ioredis without
  `reconnectOnError` (ElastiCache's failovers).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from redis.exceptions import ResponseError

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.mini_queue import PASS, MiniQueue, fails


class RefusalFinal(MiniQueue):
    """A settlement that is refused is logged, and that is it."""

    name = "refusal_final"
    only_in = "redis_answers.read_only"
    contract = MiniQueue.contract.claiming(Claim.EFFECTIVELY_ONCE)
    symptom = fails(Rule.DUPLICATE)
    gives_up = True

    def say(self, step: Callable[[int], None], token: int) -> None:
        """Once, if an answer comes."""
        super().say(partial(self.once, step) if self.gives_up else step, token)

    @staticmethod
    def once(step: Callable[[int], None], token: int) -> None:
        """Whatever is answered is the last word."""
        try:
            step(token)
        except ResponseError:
            pass  # "permanent error"


class RefusalFinalMended(RefusalFinal):
    """Said again until it is accepted."""

    name = "refusal_final_mended"
    symptom = PASS
    gives_up = False
