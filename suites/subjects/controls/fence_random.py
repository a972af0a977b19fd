"""The random value that names a lock's owner, taken for a fencing token.

Bug: random values tell owners apart, not who came later.
Exposed by: a task that runs twice.
Symptom: the later run shows a lower token than the earlier one, and a resource that compares refuses the wrong one.
Met by: Redlock and every lock with a UUID for a token (Kleppmann, How to do distributed locking, 2016).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.subject import TaskBody
from taskchaos.suites.subjects.controls.mini_queue import PASS, Job, MiniQueue, fails


class FenceRandom(MiniQueue):
    """As unique as can be."""

    name = "fence_random"
    only_in = "transient_error.once"
    contract = MiniQueue.contract.claiming(Claim.EXCLUSIVE, Claim.FENCED)
    symptom = fails(Rule.FENCE)

    def work(self, job: Job, body: TaskBody, payload: Mapping[str, Any]) -> Any:
        """With a token of its own making."""
        return body(payload, secrets.randbits(48))


class FenceRandomMended(FenceRandom):
    """The number that Redis gave with the lease, which rises."""

    name = "fence_random_mended"
    symptom = PASS
    work = MiniQueue.work
