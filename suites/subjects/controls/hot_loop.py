"""Retries below the retries.

Bug: what talks to the dependency tries again by itself, at once, and each retry of the task does so again.
Exposed by: what all tasks depend on is down for a while.
Symptom: a storm of attempts that keeps it down.
Met by: a client with retries of its own inside of a task with retries.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from celery import Celery

from taskchaos.harness.record.result import Expectation
from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.subject import TaskBody
from taskchaos.harness.workload import TransientError
from taskchaos.suites.subjects.controls.lawful import Lawful

BREATH_S = 0.005


class HotLoop(Lawful):
    """Each attempt is thirty."""

    name = "hot_loop"
    only_in = "retry_policy.outage"
    expectations = {
        "retry_policy.outage": Expectation(
            must=frozenset({Rule.RETRY_STORM, Rule.RETRIES}), may=frozenset({Rule.BACKOFF})
        ),
        "retry_policy.several": Expectation(must=frozenset({Rule.BACKOFF})),
    }
    tries = 30

    def register(self, app: Celery, body: TaskBody) -> Any:
        """The task, and the loop within."""

        def trying(payload: Mapping[str, Any], fence: int | None = None) -> Any:
            for _ in range(self.tries - 1):
                try:
                    return body(payload, fence)
                except TransientError:
                    time.sleep(BREATH_S)
            return body(payload, fence)

        return super().register(app, trying)


class HotLoopMended(HotLoop):
    """Each attempt is one."""

    name = "hot_loop_mended"
    expectations = {}
    tries = 1
