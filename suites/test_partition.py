"""Links are cut, and it matters which one and how: refused, hanging, or one way with the replies lost."""

from __future__ import annotations

import pytest

from faults.schedule import PlannedFault, Schedule
from harness.contract import Slo
from harness.profile import Profile
from harness.suite import Chaos
from harness.workload import Workload

pytestmark = pytest.mark.chaos(cost_s=7)


#: Few enough that stock Celery's workers are mostly blocked in BRPOP when the cut comes.
OFFERED_TPS = 40


def _cut(chaos: Chaos, profile: Profile, *cuts: PlannedFault) -> None:
    """Load on all three phases, the cuts in the middle one; 80 % of the load is demanded where nothing is cut."""
    workload = Workload(
        rate_tps=OFFERED_TPS, baseline_s=profile.baseline_s, fault_s=profile.fault_s, healed_s=profile.healed_s
    )
    slo = Slo(target_tps=min(chaos.target_tps, 0.8 * OFFERED_TPS), recovery_limit_s=profile.recovery_limit_s)
    chaos(workload, Schedule.of(*cuts), slo=slo)


def _once(kind: str, target: str, profile: Profile) -> PlannedFault:
    """One cut in the middle half of the fault phase."""
    return PlannedFault(kind, target, round(profile.fault_s / 8, 3), hold_s=round(profile.fault_s / 2, 3))


def test_replies_lost(chaos: Chaos, profile: Profile) -> None:
    """Workers' commands are executed and their replies never arrive: a pop whose reply is lost is the classic loss."""
    third_s = profile.fault_s / 3
    cuts = (
        PlannedFault("black_hole_replies", f"worker-{1 + n % 2}", round(n * third_s, 3), hold_s=round(0.7 * third_s, 3))
        for n in range(3)
    )
    _cut(chaos, profile, *cuts)


@pytest.mark.depth("default")
def test_worker_hangs(chaos: Chaos, profile: Profile) -> None:
    """Black hole both ways between a worker and Redis."""
    _cut(chaos, profile, _once("black_hole", "worker-1", profile))


@pytest.mark.depth("default")
def test_worker_refused(chaos: Chaos, profile: Profile) -> None:
    """A worker's connections are closed and new ones refused."""
    _cut(chaos, profile, _once("refused", "worker-1", profile))


@pytest.mark.depth("default")
def test_worker_reset(chaos: Chaos, profile: Profile) -> None:
    """A worker's connections are reset at their next byte, for a while."""
    _cut(chaos, profile, _once("reset", "worker-1", profile))


@pytest.mark.depth("default")
def test_producer_refused(chaos: Chaos, profile: Profile) -> None:
    """The producer cannot reach Redis: its submits are unknown, and nothing acknowledged may be lost."""
    _cut(chaos, profile, _once("refused", "producer-1", profile))


@pytest.mark.depth("default")
def test_producer_hangs(chaos: Chaos, profile: Profile) -> None:
    """Black hole between the producer and Redis."""
    _cut(chaos, profile, _once("black_hole", "producer-1", profile))
