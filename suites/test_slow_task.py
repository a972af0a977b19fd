"""Tasks that work for longer than the visibility time-out or lease: who is still at work must not be taken for dead."""

from __future__ import annotations

import pytest

from faults.schedule import PlannedFault, Schedule
from harness.contract import Slo
from harness.profile import Profile
from harness.stack.options import Pool
from harness.suite import Chaos
from harness.workload import Workload
from suites.loads import in_turn

pytestmark = [pytest.mark.chaos(cost_s=16), pytest.mark.depth("default")]

LEASE_S = 2
#: How long a task works: past two looks for what is overdue.
WORK_MS = 5000
#: Enough processes for every task to begin at once, so that none waits for longer than its lease.
PROCESSES = 8
RATE_TPS = 2
#: What a worker gets to end by itself: more than the longest task.
GRACE_S = 20


def _slow(chaos: Chaos, fault_s: float, schedule: Schedule) -> None:
    workload = Workload(rate_tps=RATE_TPS, baseline_s=4.0, fault_s=fault_s, healed_s=2.0, work_ms=WORK_MS)
    chaos(workload, schedule, slo=Slo(), visibility_timeout_s=LEASE_S, concurrency=PROCESSES)


def test_undisturbed(chaos: Chaos, profile: Profile) -> None:
    """Nothing goes wrong: every task runs once."""
    _slow(chaos, 0.0, Schedule())


@pytest.mark.parametrize("kind", ["black_hole", "refused"])
def test_cut(chaos: Chaos, profile: Profile, kind: str) -> None:
    """A worker cannot reach Redis for longer than its leases: it has to stop before another takes its tasks over."""
    if chaos.pool is not Pool.PREFORK:
        chaos.does_not_apply(f"what runs in a {chaos.pool} pool cannot be ended: only its fence can be refused")
    _slow(chaos, 8.0, Schedule.of(PlannedFault(kind, "worker-1", 0.1, 3.0 * LEASE_S)))


def test_restart(chaos: Chaos, profile: Profile) -> None:
    """A rolling deployment that waits for the tasks: nobody renews for a worker whose loop has ended, but itself."""
    _slow(chaos, 16.0, in_turn("restart", (0.1, 8.1), 0.1, grace_s=GRACE_S))
