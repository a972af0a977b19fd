"""Workers are killed while they are busy: the whole tree, one pool child, the parent alone; or stopped for a while."""

from __future__ import annotations

import pytest

from faults.schedule import PlannedFault, Schedule
from harness.profile import Profile
from harness.stack.options import Pool
from harness.suite import Chaos
from suites.loads import busy, in_turn, past_lease

pytestmark = pytest.mark.chaos(cost_s=8)


def _kills(kind: str, profile: Profile, count: int) -> Schedule:
    """Kills spread over the fault phase, the two workers in turn."""
    step_s = profile.fault_s / (count + 1)
    return in_turn(kind, (0.1 + n * step_s for n in range(count)), 0.1)


def test_tree(chaos: Chaos, profile: Profile) -> None:
    """SIGKILL to parent and children at once."""
    busy(chaos, profile, _kills("kill_tree", profile, profile.kills))


@pytest.mark.depth("default")
def test_child(chaos: Chaos, profile: Profile) -> None:
    """SIGKILL to single pool children, as the kernel's OOM killer does."""
    if chaos.pool is not Pool.PREFORK:
        chaos.does_not_apply(f"a {chaos.pool} worker has no pool children")
    busy(chaos, profile, _kills("kill_child", profile, profile.kills + 2))


@pytest.mark.depth("default")
def test_parent(chaos: Chaos, profile: Profile) -> None:
    """SIGKILL to the parent only: its children finish their task and can tell nobody."""
    busy(chaos, profile, _kills("kill_parent", profile, profile.kills))


@pytest.mark.depth("default")
def test_pause(chaos: Chaos, profile: Profile) -> None:
    """SIGSTOP to a whole worker for a while, shorter than the visibility time-out."""
    busy(chaos, profile, Schedule.of(PlannedFault("pause", "worker-1", 0.1, hold_s=min(2.0, profile.fault_s / 2))))


@pytest.mark.depth("default")
def test_pause_past_lease(chaos: Chaos, profile: Profile) -> None:
    """A worker is stopped for longer than the visibility time-out or lease, and then goes on with what others took."""
    past_lease(chaos, profile, "pause")
