"""A scheduler that pops what is due, then queues it.

Bug: between two commands the entries are nowhere.
Exposed by: the lost reply of the pop, or SIGKILL of the scheduler.
Symptom: retries are gone.
Met by: huey's pop of its schedule, Sidekiq's poller.
"""

from __future__ import annotations

from dataclasses import replace

from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.mini_queue import PASS, MiniQueue, fails


class DuePoppedFirst(MiniQueue):
    """ZPOPMIN, then RPUSH."""

    name = "due_popped_first"
    only_in = "command.pop_replies_lost-reset"
    symptom = fails(Rule.LOST)
    commands = replace(MiniQueue.commands, pop="ZPOPMIN")

    def promote(self) -> None:
        """As long as something is due."""
        while self.redis.zrangebyscore("mini:delayed", 0, self.now_ms(), 0, 1):
            for raw, _due in self.redis.zpopmin("mini:delayed"):
                self.redis.rpush("mini:ready", raw)


class DuePoppedFirstMended(DuePoppedFirst):
    """One script."""

    name = "due_popped_first_mended"
    symptom = PASS
    commands = MiniQueue.commands
    promote = MiniQueue.promote
