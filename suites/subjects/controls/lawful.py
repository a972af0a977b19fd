"""A Celery task that retries by a law of its own: what the controls about waiting break one thing of."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from celery import Celery

from taskchaos.harness.backoff import BackoffLaw
from taskchaos.harness.contract import Claim, Contract
from taskchaos.harness.subject import CelerySubject, TaskBody
from taskchaos.harness.workload import TransientError

BASE_S, CAP_S = 0.4, 0.8


class Lawful(CelerySubject):
    """Exponential, with full jitter and a cap."""

    #: No throughput: a pair is about one bug, and should not depend on how busy the machine is.
    contract = Contract(frozenset({Claim.NO_LOSS, Claim.RETRIES_BOUNDED})).waiting(
        BackoffLaw(base_s=BASE_S, cap_s=CAP_S)
    )
    longest_wait_s = CAP_S
    max_retries: int | None = 3

    def wait_s(self, retries: int) -> float:
        """How long to wait after so many retries."""
        return random.uniform(0.0, min(CAP_S, BASE_S * 2.0**retries))

    def register(self, app: Celery, body: TaskBody) -> Any:
        """Retries by Celery's own `retry`."""

        @app.task(name="taskchaos.task", bind=True, max_retries=self.max_retries, acks_late=True)
        def task(request: Any, payload: Mapping[str, Any]) -> Any:
            try:
                return body(payload)
            except TransientError as error:
                raise self.retried(request, error) from error

        return task

    def retried(self, task: Any, error: TransientError) -> Exception:
        """Have the task run again after its wait."""
        retry: Exception = task.retry(exc=error, countdown=self.wait_s(task.request.retries), throw=False)
        return retry
