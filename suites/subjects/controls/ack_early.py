"""Acknowledged before it runs: Celery's default.

Bug: the queue forgets what nobody has done yet.
Exposed by: SIGKILL.
Symptom: what ran is gone.
Met by: Celery without `acks_late`, huey #253 and #844, Sidekiq's open source fetch (#4633).
"""

from __future__ import annotations

from taskchaos.harness.record.verdict import Rule
from taskchaos.suites.subjects.controls.mini_queue import PASS, MiniQueue, fails


class AckEarly(MiniQueue):
    """The entry goes when its task begins."""

    name = "ack_early"
    only_in = "worker_kill.tree"
    symptom = fails(Rule.LOST)
    acks_late = False


class AckEarlyMended(AckEarly):
    """The entry goes when its task is done."""

    name = "ack_early_mended"
    symptom = PASS
    acks_late = True
