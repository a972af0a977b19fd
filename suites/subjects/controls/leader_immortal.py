"""Only a leader looks for what is overdue, and the leader's lock has no expiry.

Bug: a leader that is killed is the leader for ever.
Exposed by: SIGKILL to it.
Symptom: what dead workers held is never taken back.
Met by: taskiq-redis #131.
"""

from __future__ import annotations

import uuid

from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.mini_queue import PASS, MiniQueue, fails

LEADER = "leader"
_STAY = "-- stay\nreturn redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0"


class LeaderImmortal(MiniQueue):
    """SET NX by who comes first."""

    name = "leader_immortal"
    only_in = "worker_kill.tree"
    symptom = fails(Rule.STUCK)
    kept = (*MiniQueue.kept, LEADER)
    reign_ms: int | None = None

    def __init__(self) -> None:
        super().__init__()
        self.me = uuid.uuid4().hex

    def reap(self) -> None:
        """If this is the leader."""
        self.redis.set(LEADER, self.me, nx=True, px=self.reign_ms)
        if self.redis.get(LEADER) == self.me.encode():
            super().reap()
            if self.reign_ms:
                self.redis.eval(_STAY, 1, LEADER, self.me, self.reign_ms)


class LeaderImmortalMended(LeaderImmortal):
    """A second, unless renewed."""

    name = "leader_immortal_mended"
    symptom = PASS
    reign_ms = 1000
