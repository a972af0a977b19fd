"""Workers are killed while they are busy: the whole tree, one pool child, the parent alone; or stopped for a while."""

from __future__ import annotations

import pytest

from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.case.stack_options import Pool
from taskchaos.harness.pytest.chaos import Chaos
from taskchaos.harness.record.seen import Seen
from taskchaos.suites.loads import busy, kills, past_lease

pytestmark = pytest.mark.chaos(cost_s=8)

#: A kill that met no task at work has shown nothing.
BACK = (Seen.TAKEN_OVER,)


def test_tree(chaos: Chaos) -> None:
    """SIGKILL to parent and children at once."""
    busy(chaos, kills("kill_tree", chaos.profile), must_see=BACK)


@pytest.mark.chaos_depth("default")
def test_child(chaos: Chaos) -> None:
    """SIGKILL to single pool children, as the kernel's OOM killer does."""
    if chaos.pool is not Pool.PREFORK:
        chaos.does_not_apply(f"a {chaos.pool} worker has no pool children")
    busy(chaos, kills("kill_child", chaos.profile, chaos.profile.kills + 2), must_see=BACK)


@pytest.mark.chaos_depth("default")
def test_parent(chaos: Chaos) -> None:
    """SIGKILL to the parent only: its children finish their task and can tell nobody."""
    busy(chaos, kills("kill_parent", chaos.profile), must_see=BACK)


@pytest.mark.chaos_depth("default")
def test_loop(chaos: Chaos) -> None:
    """A worker is killed again and again, mostly while it starts: what it had begun to fetch must come back."""
    busy(chaos, Schedule.of(PlannedFault("kill_loop", "worker-1", 0.1, chaos.profile.fault_s - 0.3, {"every_ms": 250})))


@pytest.mark.chaos_depth("default")
def test_pause(chaos: Chaos) -> None:
    """SIGSTOP to a whole worker for a while, shorter than the visibility timeout."""
    busy(chaos, Schedule.of(PlannedFault("pause", "worker-1", 0.1, hold_s=min(2.0, chaos.profile.fault_s / 2))))


@pytest.mark.chaos_depth("default")
def test_pause_past_lease(chaos: Chaos) -> None:
    """A worker is stopped for longer than the visibility timeout or lease, and then goes on with what others took."""
    past_lease(chaos, "pause")
