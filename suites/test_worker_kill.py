"""Workers are killed while they are busy: the whole tree, one pool child, the parent alone; or stopped for a while."""

from __future__ import annotations

import pytest

from faults.schedule import PlannedFault, Schedule
from harness.contract import Slo
from harness.profile import Profile
from harness.stack.base import Pool
from harness.suite import Chaos
from harness.workload import Workload

pytestmark = pytest.mark.chaos(cost_s=8)

#: The work of a task is as long as it takes for the workers to do 20 a second; 30 are offered. So a kill meets busy
#: processes and a queue that is never empty. (An idle worker of stock Celery takes one more message to its grave.)
CAPACITY_TPS = 20
OFFERED_TPS = 30


def _busy(chaos: Chaos, profile: Profile, schedule: Schedule) -> None:
    """Overload the workers, run the schedule, demand half of their capacity where no fault is in force."""
    workload = Workload(
        rate_tps=OFFERED_TPS,
        baseline_s=profile.baseline_s,
        fault_s=profile.fault_s,
        healed_s=profile.healed_s,
        work_ms=1000 * chaos.slots // CAPACITY_TPS,
    )
    slo = Slo(target_tps=min(chaos.target_tps, CAPACITY_TPS / 2), recovery_limit_s=profile.recovery_limit_s)
    chaos(workload, schedule, slo=slo)


def _kills(kind: str, profile: Profile, count: int) -> Schedule:
    """Kills spread over the fault phase, the two workers in turn."""
    step_s = profile.fault_s / (count + 1)
    return Schedule.of(
        *(PlannedFault(kind, f"worker-{1 + n % 2}", round(0.1 + n * step_s, 3), hold_s=0.1) for n in range(count))
    )


def test_tree(chaos: Chaos, profile: Profile) -> None:
    """SIGKILL to parent and children at once."""
    _busy(chaos, profile, _kills("kill_tree", profile, profile.kills))


@pytest.mark.depth("default")
def test_child(chaos: Chaos, profile: Profile) -> None:
    """SIGKILL to single pool children, as the kernel's OOM killer does."""
    if chaos.pool is not Pool.PREFORK:
        chaos.does_not_apply(f"a {chaos.pool} worker has no pool children")
    _busy(chaos, profile, _kills("kill_child", profile, profile.kills + 2))


@pytest.mark.depth("default")
def test_parent(chaos: Chaos, profile: Profile) -> None:
    """SIGKILL to the parent only: its children finish their task and can tell nobody."""
    _busy(chaos, profile, _kills("kill_parent", profile, profile.kills))


@pytest.mark.depth("default")
def test_pause(chaos: Chaos, profile: Profile) -> None:
    """SIGSTOP to a whole worker for a while, shorter than the visibility time-out."""
    _busy(chaos, profile, Schedule.of(PlannedFault("pause", "worker-1", 0.1, hold_s=min(2.0, profile.fault_s / 2))))
