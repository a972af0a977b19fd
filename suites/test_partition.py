"""Links are cut, and it matters which one and how: refused, hanging, or one way with the replies lost."""

from __future__ import annotations

import pytest

from faults.schedule import PlannedFault, Schedule
from harness.profile import Profile
from harness.suite import Chaos
from harness.workload import Workload

pytestmark = pytest.mark.chaos(cost_s=6)


def _workload(profile: Profile) -> Workload:
    return Workload(
        rate_tps=profile.rate_tps, baseline_s=profile.baseline_s, fault_s=profile.fault_s, healed_s=profile.healed_s
    )


def _cut(kind: str, target: str, profile: Profile) -> Schedule:
    """One cut in the middle half of the fault phase."""
    return Schedule.of(PlannedFault(kind, target, round(profile.fault_s / 8, 3), hold_s=round(profile.fault_s / 2, 3)))


def test_replies_lost(chaos: Chaos, profile: Profile) -> None:
    """A worker's commands are executed and their replies never arrive: a pop whose reply is lost is the classic loss."""
    chaos(_workload(profile), _cut("black_hole_replies", "worker-1", profile))


@pytest.mark.depth("default")
def test_worker_hangs(chaos: Chaos, profile: Profile) -> None:
    """Black hole both ways between a worker and Redis."""
    chaos(_workload(profile), _cut("black_hole", "worker-1", profile))


@pytest.mark.depth("default")
def test_worker_refused(chaos: Chaos, profile: Profile) -> None:
    """A worker's connections are closed and new ones refused."""
    chaos(_workload(profile), _cut("refused", "worker-1", profile))


@pytest.mark.depth("default")
def test_worker_reset(chaos: Chaos, profile: Profile) -> None:
    """A worker's connections are reset at their next byte, for a while."""
    chaos(_workload(profile), _cut("reset", "worker-1", profile))


@pytest.mark.depth("default")
def test_producer_refused(chaos: Chaos, profile: Profile) -> None:
    """The producer cannot reach Redis: its submits are unknown, and nothing acknowledged may be lost."""
    chaos(_workload(profile), _cut("refused", "producer-1", profile))


@pytest.mark.depth("default")
def test_producer_hangs(chaos: Chaos, profile: Profile) -> None:
    """Black hole between the producer and Redis."""
    chaos(_workload(profile), _cut("black_hole", "producer-1", profile))
