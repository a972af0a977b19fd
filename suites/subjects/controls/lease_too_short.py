"""A visibility timeout that is shorter than the work.

Bug: slow is taken for dead.
Exposed by: a slow task, nothing else.
Symptom: it runs again and again.
Met by: Celery on Redis (celery #2481, #3270, #9882, kombu #337), taskiq-redis #101, celery-once #36.
"""

from __future__ import annotations

from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.mini_queue import PASS, MiniQueue, fails


class LeaseTooShort(MiniQueue):
    """A fixed time, and no renewal."""

    name = "lease_too_short"
    only_in = "slow_task.undisturbed"
    symptom = fails(Rule.DUPLICATE, may=(Rule.FALSE_FAILURE, Rule.ZOMBIE, Rule.RETRIES))
    renews = False


class LeaseTooShortMended(LeaseTooShort):
    """Renewed for as long as the worker lives."""

    name = "lease_too_short_mended"
    symptom = PASS
    renews = True
