"""Poison beside healthy tasks: a task that kills its process each time, and a message that no worker can read."""

from __future__ import annotations

import pytest

from taskchaos.faults.base import QUEUE
from taskchaos.faults.message import POISONS
from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.case.stack_options import Pool
from taskchaos.harness.contract import PhaseName, Slo
from taskchaos.harness.pytest.chaos import Chaos
from taskchaos.harness.workload import Workload
from taskchaos.suites.loads import idle

pytestmark = [pytest.mark.chaos(cost_s=14), pytest.mark.chaos_depth("default")]

RATE_TPS = 20
#: One poison task in so many: three in six seconds.
POISON_EVERY = 40
#: What kombu cannot read, and what Celery cannot; one more of each at night.
HOWS = [
    pytest.param(how, marks=pytest.mark.chaos_depth("default" if how in ("no_json", "timelimit") else "nightly"))
    for how in POISONS
]


def test_task(chaos: Chaos) -> None:
    """One that ends its process, as a segmentation fault does: tried as often as the contract says, and given up."""
    if chaos.pool is not Pool.PREFORK:
        chaos.does_not_apply(f"in a {chaos.pool} pool such a task ends the whole worker")
    workload = Workload(
        rate_tps=RATE_TPS,
        baseline_s=2 * chaos.profile.baseline_s,
        fault_s=0,
        healed_s=0,
        work_ms=10,
        poison_every=POISON_EVERY,
    )
    target_tps = min(chaos.target_tps, 0.6 * RATE_TPS)
    slo = Slo(target_tps=target_tps, phases=frozenset({PhaseName.BASELINE}))
    chaos(workload, slo=slo)


@pytest.mark.parametrize("how", HOWS)
def test_message(chaos: Chaos, how: str) -> None:
    """One that no worker can read: no JSON, no base64, a header of the wrong type. No worker ends, none of it stays."""
    begins_s = (0.1, chaos.profile.fault_s / 2)
    faults = (
        PlannedFault("poison_message", QUEUE, round(at_s, 3), round(chaos.profile.fault_s - at_s, 3), {"how": how})
        for at_s in begins_s
    )
    idle(chaos, Schedule.of(*faults))
