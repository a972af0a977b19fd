"""Fencing tokens that each process counts by itself.

Bug: numbers of different counters cannot be compared.
Exposed by: a task that runs twice, in two processes.
Symptom: the later run shows the lower token, and a resource that compares refuses the wrong one.
Met by: version numbers from `itertools.count()`; tokens from a worker's own clock.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.subject import TaskBody
from taskchaos.suites.subjects.controls.mini_queue import PASS, Job, MiniQueue, fails

COUNTER = itertools.count(1)


class FenceInProcess(MiniQueue):
    """The how-manieth task of this process it is."""

    name = "fence_in_process"
    only_in = "transient_error.once"
    contract = MiniQueue.contract.claiming(Claim.EXCLUSIVE, Claim.FENCED)
    symptom = fails(Rule.FENCE)

    def work(self, job: Job, body: TaskBody, payload: Mapping[str, Any]) -> Any:
        """With a token of its own making."""
        return body(payload, next(COUNTER))


class FenceInProcessMended(FenceInProcess):
    """The number that Redis gave with the lease."""

    name = "fence_in_process_mended"
    symptom = PASS
    work = MiniQueue.work
