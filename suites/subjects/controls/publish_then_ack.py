"""A retry is published as a new message, then the old one is acknowledged.

Bug: between two commands there are two.
Exposed by: a cut acknowledgement (or SIGKILL there).
Symptom: the task is retried twice.
Met by: dramatiq #431; the interview's state table, whose state and message change apart.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import replace

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.mini_queue import PASS, Job, MiniQueue, fails


class PublishThenAck(MiniQueue):
    """ZADD, then HDEL. Who is not heard begins again."""

    name = "publish_then_ack"
    only_in = "command.retry_publish_cut"
    contract = MiniQueue.contract.claiming(Claim.EFFECTIVELY_ONCE)
    symptom = fails(Rule.DUPLICATE)
    commands = replace(MiniQueue.commands, retry="HDEL")

    def retry(self, job: Job) -> None:
        """A message of its own each time."""
        entry = self.entry(job.token)
        if entry is None:
            return
        copy = json.dumps({**entry, "failures": job.failures + 1, "nonce": uuid.uuid4().hex})
        self.redis.zadd("mini:delayed", {copy: self.now_ms() + 1000 * self.back_off_s(job)})
        self.redis.hdel("mini:leased", str(job.token))
        self.redis.zrem("mini:deadlines", str(job.token))


class PublishThenAckMended(PublishThenAck):
    """One script that needs the token, and takes it."""

    name = "publish_then_ack_mended"
    symptom = PASS
    commands = MiniQueue.commands
    retry = MiniQueue.retry
