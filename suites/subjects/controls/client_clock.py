"""Leases by the wall clock of whoever looks at them.

Bug: when a lease ends is written by one machine's clock and read by another's.
Exposed by: a worker whose clock is an hour ahead.
Symptom: it takes away what others are working on, and runs it beside them.
Met by: kombu's `unacked_index` (time() of each worker); GETSET locks with a time in the value; Sidekiq's and Bull's
  delayed jobs on machines without NTP.
"""

from __future__ import annotations

import time
from typing import Any

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.mini_queue import PASS, MiniQueue, fails

_BY_REDIS = "local t = redis.call('TIME')\nlocal now = t[1] * 1000 + math.floor(t[2] / 1000)\n"


class ClientClock(MiniQueue):
    """Every script is told the time by who calls it."""

    name = "client_clock"
    only_in = "clock.ahead-worker-1"
    contract = MiniQueue.contract.claiming(Claim.EXCLUSIVE)
    symptom = fails(Rule.OVERLAP, may=(Rule.STUCK, Rule.LOST, Rule.DUPLICATE, Rule.FALSE_FAILURE, Rule.RETRIES))
    by_own_clock = True

    def now_ms(self) -> int:
        """The time, as this machine sees it."""
        return int(1000 * time.time()) if self.by_own_clock else super().now_ms()

    def sent(self, script: str, *args: int | str) -> Any:
        """Run a script, with the time in it."""
        assert _BY_REDIS in script or "TIME" not in script
        if self.by_own_clock:
            script = script.replace(_BY_REDIS, f"local now = {self.now_ms()}\n")
        return super().sent(script, *args)

    def hashed(self, script: str, *args: int | str) -> Any:
        """The same: a script with the time in it is another each time."""
        return self.sent(script, *args) if self.by_own_clock else super().hashed(script, *args)


class ClientClockMended(ClientClock):
    """Redis's clock is the only one."""

    name = "client_clock_mended"
    symptom = PASS
    by_own_clock = False
