"""Tasks that work for longer than the visibility timeout or lease: who is still at work must not be taken for dead."""

from __future__ import annotations

import pytest

from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.case.stack_options import Pool
from taskchaos.harness.contract import Slo
from taskchaos.harness.pytest.chaos import Chaos
from taskchaos.harness.workload import Workload
from taskchaos.suites.loads import in_turn

pytestmark = [pytest.mark.chaos(cost_s=16), pytest.mark.chaos_depth("default")]

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


def test_undisturbed(chaos: Chaos) -> None:
    """Nothing goes wrong: every task runs once."""
    _slow(chaos, 0.0, Schedule())


@pytest.mark.parametrize("kind", ["black_hole", "refused"])
def test_cut(chaos: Chaos, kind: str) -> None:
    """A worker cannot reach Redis for longer than its leases: it has to stop before another takes its tasks over."""
    if chaos.pool is not Pool.PREFORK:
        chaos.does_not_apply(f"what runs in a {chaos.pool} pool cannot be ended: only its fence can be refused")
    _slow(chaos, 8.0, Schedule.of(PlannedFault(kind, "worker-1", 0.1, 3.0 * LEASE_S)))


def test_restart(chaos: Chaos) -> None:
    """A rolling deployment that waits for the tasks: nobody renews for a worker whose loop has ended, but itself."""
    _slow(chaos, 16.0, in_turn("restart", (0.1, 8.1), 0.1, grace_s=GRACE_S))
