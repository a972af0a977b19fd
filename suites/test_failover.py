"""A replica becomes Redis's primary: planned by Sentinel, or because the primary died; with and without a lag."""

from __future__ import annotations

import pytest

from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.pytest.chaos import Chaos
from taskchaos.suites.loads import busy

pytestmark = [pytest.mark.chaos(cost_s=20), pytest.mark.chaos_depth("default")]

REDIS = "redis"
#: Until the Sentinels have noticed, agreed and promoted; then all goes on for a while before the old primary is back.
HOLD_S = 5.0
#: For so long the replica receives nothing before it is promoted.
LAG_MS = 500


def _failover(chaos: Chaos, kind: str, lag_ms: int = 0) -> None:
    schedule = Schedule.of(PlannedFault(kind, REDIS, 0.3, HOLD_S, {"lag_ms": lag_ms} if lag_ms else {}))
    busy(chaos, schedule, chaos.profile.lasting(HOLD_S + 1.0), failover=True)


def test_planned(chaos: Chaos) -> None:
    """Sentinel is told to. The old primary takes writes until its clients are led away: these are gone."""
    _failover(chaos, "failover_planned")


def test_killed(chaos: Chaos) -> None:
    """The primary is killed. The replica has all but the last moment."""
    _failover(chaos, "failover_kill")


def test_killed_lagging(chaos: Chaos) -> None:
    """The primary is killed when the replica has received nothing for a while."""
    _failover(chaos, "failover_kill", LAG_MS)
