"""A pop, then a record of who has it.

Bug: between two commands the entry is nowhere.
Exposed by: the lost reply of the pop.
Symptom: it is gone.
Met by: kombu's BRPOP (celery #7950, kombu #305), rq with several queues (#1716), Faktory.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace

from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.mini_queue import PASS, Job, MiniQueue, fails


class PopThenRecord(MiniQueue):
    """LPOP, then HSET and ZADD."""

    name = "pop_then_record"
    only_in = "command.pop_reply_lost"
    symptom = fails(Rule.LOST)
    commands = replace(MiniQueue.commands, pop="LPOP")

    def take(self) -> Job | None:
        """Three commands."""
        raw = self.redis.lpop("mini:ready")
        if raw is None:
            return None
        token = self.redis.incr("mini:token")
        self.redis.hset("mini:leased", str(token), raw)
        self.redis.zadd("mini:deadlines", {str(token): self.now_ms() + 1000 * self.lease_s})
        entry = json.loads(raw)
        return Job(token, entry["id"], entry["message"], entry["failures"], time.monotonic() + self.lease_s)


class PopThenRecordMended(PopThenRecord):
    """One script."""

    name = "pop_then_record_mended"
    symptom = PASS
    commands = MiniQueue.commands
    take = MiniQueue.take
