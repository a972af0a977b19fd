"""The wall clock of a worker or of Redis is wrong, or jumps; durations are measured as ever."""

from __future__ import annotations

import pytest

from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.contract import Slo
from taskchaos.harness.pytest.chaos import Chaos
from taskchaos.suites.loads import CAPACITY_TPS, OFFERED_TPS, busy, phased

pytestmark = [pytest.mark.chaos(cost_s=10), pytest.mark.chaos_depth("default")]

#: An hour: somebody's time zone, and beyond every lease.
AHEAD_MS = 3_600_000
#: As NTP may set a clock: less than what is left of a lease that is renewed in time.
STEP_MS = 500
HOLD_S = 2.0


def _once(chaos: Chaos, target: str, offset_ms: int) -> None:
    """It is set once, and right again two seconds later."""
    schedule = Schedule.of(PlannedFault("clock", target, 0.3, HOLD_S, {"offset_ms": offset_ms}))
    busy(chaos, schedule, chaos.profile.lasting(HOLD_S + 1.0))


@pytest.mark.parametrize("target", ["worker-1", "redis"])
def test_ahead(chaos: Chaos, target: str) -> None:
    """It is an hour ahead."""
    _once(chaos, target, AHEAD_MS)


@pytest.mark.parametrize("target", ["worker-1", "redis"])
def test_behind(chaos: Chaos, target: str) -> None:
    """It is an hour behind."""
    _once(chaos, target, -AHEAD_MS)


@pytest.mark.parametrize("target", ["worker-1", "redis"])
def test_jumps(chaos: Chaos, target: str) -> None:
    """It jumps to and fro by half a second, again and again."""
    offsets_ms = [STEP_MS if n % 2 else -STEP_MS for n in range(4)]
    jumps = [PlannedFault("clock", target, 0.2 + 0.9 * n, 0.6, {"offset_ms": ms}) for n, ms in enumerate(offsets_ms)]
    busy(chaos, Schedule.of(*jumps), chaos.profile.lasting(4.0))


def test_retries(chaos: Chaos) -> None:
    """A worker's clock is an hour ahead while every third task fails once: its retries are due by somebody's clock."""
    profile = chaos.profile.lasting(HOLD_S + 1.0)
    work_ms = 1000 * chaos.slots // CAPACITY_TPS
    load = phased(profile, OFFERED_TPS, work_ms=work_ms, failures=1, failing_every=3)
    slo = Slo(target_tps=min(chaos.target_tps, CAPACITY_TPS / 4), recovery_limit_s=None)  # retries come back in bursts
    chaos(load, Schedule.of(PlannedFault("clock", "worker-1", 0.3, HOLD_S, {"offset_ms": AHEAD_MS})), slo=slo)


def test_expiry_off(chaos: Chaos) -> None:
    """Redis ends no key by itself for a while: what has expired is there until somebody looks at it."""
    schedule = Schedule.of(PlannedFault("redis_expiry_off", "redis", 0.3, HOLD_S))
    busy(chaos, schedule, chaos.profile.lasting(HOLD_S + 1.0), keep_results=True)  # results expire, whoever keeps them
