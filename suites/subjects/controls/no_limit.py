"""Retries without a limit.

Bug: an error that no retry mends is retried.
Exposed by: a task that fails for good.
Symptom: more attempts than were promised, and they never end.
Met by: Celery's `max_retries=None`, Temporal's default policy.
"""

from __future__ import annotations

from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.mini_queue import MAX_FAILURES, PASS, MiniQueue, fails


class NoLimit(MiniQueue):
    """As often as it takes."""

    name = "no_limit"
    only_in = "transient_error.mixed"
    symptom = fails(Rule.RETRIES, may=(Rule.STUCK,))
    max_failures = 1_000_000


class NoLimitMended(NoLimit):
    """Three retries, then a dead letter."""

    name = "no_limit_mended"
    symptom = PASS
    max_failures = MAX_FAILURES
