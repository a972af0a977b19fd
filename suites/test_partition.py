"""Links are cut, and it matters which one and how: refused, hanging, or one way with the replies lost."""

from __future__ import annotations

import pytest

from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.profile import Profile
from taskchaos.harness.pytest.chaos import Chaos
from taskchaos.suites.loads import idle, in_turn

pytestmark = pytest.mark.chaos(cost_s=7)


def _once(kind: str, target: str, profile: Profile) -> PlannedFault:
    """One cut in the middle half of the fault phase."""
    return PlannedFault(kind, target, round(profile.fault_s / 8, 3), hold_s=round(profile.fault_s / 2, 3))


def test_replies_lost(chaos: Chaos) -> None:
    """Workers' commands are executed and their replies never arrive: a pop whose reply is lost is the classic loss."""
    third_s = chaos.profile.fault_s / 3
    idle(chaos, in_turn("black_hole_replies", (n * third_s for n in range(3)), 0.7 * third_s))


@pytest.mark.chaos_depth("default")
def test_worker_hangs(chaos: Chaos) -> None:
    """Black hole both ways between one worker after the other and Redis."""
    eighth_s = chaos.profile.fault_s / 8
    idle(chaos, in_turn("black_hole", (eighth_s, 5 * eighth_s), 2 * eighth_s))


@pytest.mark.chaos_depth("default")
def test_worker_refused(chaos: Chaos) -> None:
    """A worker's connections are closed and new ones refused."""
    idle(chaos, Schedule.of(_once("refused", "worker-1", chaos.profile)))


@pytest.mark.chaos_depth("default")
def test_worker_reset(chaos: Chaos) -> None:
    """A worker's connections are reset at their next byte, for a while."""
    idle(chaos, Schedule.of(_once("reset", "worker-1", chaos.profile)))


@pytest.mark.chaos_depth("default")
def test_producer_refused(chaos: Chaos) -> None:
    """The producer cannot reach Redis: its submits are unknown, and nothing acknowledged may be lost."""
    idle(chaos, Schedule.of(_once("refused", "producer-1", chaos.profile)))


@pytest.mark.chaos_depth("default")
def test_producer_hangs(chaos: Chaos) -> None:
    """Black hole between the producer and Redis."""
    idle(chaos, Schedule.of(_once("black_hole", "producer-1", chaos.profile)))
