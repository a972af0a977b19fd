"""A producer that sends again what was not answered.

Bug: what it sends has no identity.
Exposed by: the lost reply of the publish.
Symptom: two messages of one task.
Met by: redis-py #3554, #977 and #2851: clients that try a command again that may have been executed.
"""

from __future__ import annotations

import uuid

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls import scripts
from taskchaos.suites.subjects.controls.mini_queue import PASS, MiniQueue, fails


class SubmitTwice(MiniQueue):
    """A new message each time."""

    name = "submit_twice"
    only_in = "command.publish_reply_lost"
    contract = MiniQueue.contract.claiming(Claim.EFFECTIVELY_ONCE)
    symptom = fails(Rule.DUPLICATE)

    def put(self, task_id: str, message: str) -> None:
        """Under a name of its own."""
        self.hashed(scripts.PUT, uuid.uuid4().hex, message)


class SubmitTwiceMended(SubmitTwice):
    """The same message again: what was queued once is not queued again."""

    name = "submit_twice_mended"
    symptom = PASS
    put = MiniQueue.put
