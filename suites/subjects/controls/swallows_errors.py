"""`except Exception` around the work, with a line in the log.

Bug: a failure is told as a success.
Exposed by: one transient error.
Symptom: the task is gone, and counts as done.
Met by: everybody once; Celery sees no exception, so it retries nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.subject import TaskBody
from taskchaos.suites.subjects.controls.mini_queue import PASS, Job, MiniQueue, fails


class SwallowsErrors(MiniQueue):
    """Logged, and no more."""

    name = "swallows_errors"
    only_in = "transient_error.once"
    symptom = fails(Rule.LOST, Rule.FALSE_SUCCESS)

    def work(self, job: Job, body: TaskBody, payload: Mapping[str, Any]) -> Any:
        """Never raises."""
        try:
            return super().work(job, body, payload)
        except Exception as error:
            logging.getLogger(__name__).warning("%s failed: %s", job.id, error)
            return None


class SwallowsErrorsMended(SwallowsErrors):
    """Raised to who can retry."""

    name = "swallows_errors_mended"
    symptom = PASS
    work = MiniQueue.work
