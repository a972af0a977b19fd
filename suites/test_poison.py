"""Poison beside healthy tasks: a task that kills its process each time. Whatever becomes of it, the others are done."""

from __future__ import annotations

import pytest

from harness.contract import PhaseName, Slo
from harness.profile import Profile
from harness.stack.options import Pool
from harness.suite import Chaos
from harness.workload import Workload

pytestmark = [pytest.mark.chaos(cost_s=14), pytest.mark.depth("default")]

RATE_TPS = 20
#: One poison task in so many: three in six seconds.
POISON_EVERY = 40


def test_task(chaos: Chaos, profile: Profile) -> None:
    """One that ends its process, as a segmentation fault does: tried as often as the contract says, and given up."""
    if chaos.pool is not Pool.PREFORK:
        chaos.does_not_apply(f"in a {chaos.pool} pool such a task ends the whole worker")
    workload = Workload(
        rate_tps=RATE_TPS,
        baseline_s=2 * profile.baseline_s,
        fault_s=0,
        healed_s=0,
        work_ms=10,
        poison_every=POISON_EVERY,
    )
    target_tps = min(chaos.target_tps, 0.6 * RATE_TPS)
    slo = Slo(target_tps=target_tps, phases=frozenset({PhaseName.BASELINE}))
    chaos(workload, slo=slo)
