"""A semaphore that is a bare counter: INCR to enter, DECR to leave.

Bug: nobody leaves for who was killed inside.
Exposed by: SIGKILL to a task that holds a business key.
Symptom: the key is held for ever, and all tasks that share it wait.
Met by: dramatiq's ConcurrentRateLimiter, whose counter leaks or ends too early; celerybeatredis #11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.subject import TaskBody
from taskchaos.suites.subjects.controls.mini_queue import PASS, Busy, Job, MiniQueue, fails

_LEAVE = "-- leave\nreturn redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0"


class BareCounter(MiniQueue):
    """One task of a key at a time, as long as nobody dies."""

    name = "bare_counter"
    only_in = "contention.kill"
    contract = MiniQueue.contract.claiming(Claim.EXCLUSIVE_KEYS)
    kept = (*MiniQueue.kept, "inside")
    symptom = fails(Rule.STUCK)
    snooze_ms = 500
    leases = False

    def work(self, job: Job, body: TaskBody, payload: Mapping[str, Any]) -> Any:
        """Enter, work, leave."""
        key = str(payload["key"])
        if not self.enter(key, job):
            raise Busy
        try:
            return super().work(job, body, payload)
        finally:
            self.leave(key, job)

    def enter(self, key: str, job: Job) -> bool:
        """Whether there was room; with `leases`, room that comes free by itself."""
        if self.leases:
            return bool(self.redis.set(f"inside:{key}", job.token, nx=True, px=2000))
        if self.redis.hincrby("inside", key, 1) == 1:
            return True
        self.redis.hincrby("inside", key, -1)
        return False

    def leave(self, key: str, job: Job) -> None:
        """One less."""
        if self.leases:
            self.redis.eval(_LEAVE, 1, f"inside:{key}", job.token)
        else:
            self.redis.hincrby("inside", key, -1)


class BareCounterMended(BareCounter):
    """Who is inside has a name and an expiry."""

    name = "bare_counter_mended"
    symptom = PASS
    leases = True
