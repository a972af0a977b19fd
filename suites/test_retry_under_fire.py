"""Workers are killed while tasks fail and wait for their retry: a wait in a worker's memory dies with it."""

from __future__ import annotations

import pytest

from taskchaos.harness.contract import PhaseName, Slo
from taskchaos.harness.pytest.chaos import Chaos
from taskchaos.harness.record.seen import Seen
from taskchaos.suites.loads import kills, phased

pytestmark = pytest.mark.chaos(cost_s=8)

#: Enough that some wait at any time, however short the waits of a subject are; few enough for a busy machine.
RATE_TPS = 30
#: Who misses this gets nothing done at all: what is asked here is what is lost.
STANDSTILL_TPS = 1.0
#: So often each task fails: of the second wait, those that lose count of their retries make another one.
RETRIES = 2
#: So long each attempt takes: three of four processes are busy, so that who is killed is at work, mostly again.
WORK_MS = 35


def test_tree(chaos: Chaos) -> None:
    """SIGKILL to parent and children at once, while every task fails twice."""
    if not chaos.commands.retry:
        chaos.does_not_apply("this subject waits in its worker: no task of it waits for a retry")
    profile = chaos.profile
    slo = Slo(target_tps=min(chaos.target_tps, STANDSTILL_TPS), phases=frozenset({PhaseName.HEALED}))
    chaos(
        phased(profile, RATE_TPS, failures=RETRIES, work_ms=WORK_MS),
        kills("kill_tree", profile),
        slo=slo,
        must_see=(Seen.RETRIED, Seen.WAITED_THROUGH, Seen.RETRY_CUT_SHORT),
    )
