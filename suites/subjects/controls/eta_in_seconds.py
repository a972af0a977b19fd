"""A due time in whole seconds.

Bug: the time at which a task is to be run is cut off after the second.
Exposed by: tasks that are sent to be run later.
Symptom: they begin up to a second early.
Met by: `int(time.time())` as the score of a sorted set; celery-redbeat and rq-scheduler keep times so.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.result import Expectation
from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.workload import Operation
from taskchaos.suites.subjects.controls.lawful import Lawful


class EtaInSeconds(Lawful):
    """Rounded down."""

    name = "eta_in_seconds"
    only_in = "eta.punctual"
    contract = Lawful.contract.claiming(Claim.ETA)
    expectations = {"eta": Expectation(must=frozenset({Rule.EARLY}))}

    def due(self, at: datetime) -> datetime:
        """When it is to be run."""
        return at.replace(microsecond=0)

    def submit(self, task: Any, operation: Operation) -> None:
        """With the time at which it is due."""
        eta = self.due(datetime.now(UTC) + timedelta(milliseconds=operation.eta_ms)) if operation.eta_ms else None
        task.apply_async(args=(operation.payload(),), task_id=operation.task_id, eta=eta)


class EtaInSecondsMended(EtaInSeconds):
    """As it was asked for."""

    name = "eta_in_seconds_mended"
    expectations = {}

    def due(self, at: datetime) -> datetime:
        return at
