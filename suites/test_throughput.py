"""How fast a full queue drains with nothing going wrong: the capacity that every other figure is held against."""

from __future__ import annotations

import pytest

from taskchaos.harness.contract import PhaseName, Slo
from taskchaos.harness.pytest.chaos import UNDISTURBED_S, Chaos
from taskchaos.harness.workload import LoadModel, Workload

pytestmark = [pytest.mark.chaos(cost_s=4), pytest.mark.chaos_alone]


def test_drain(chaos: Chaos) -> None:
    """Fill the queue, start the workers, measure until it is empty."""
    workload = Workload(model=LoadModel.PREFILL, prefill=chaos.profile.prefill)
    chaos(
        workload,
        slo=Slo(target_tps=chaos.target_tps, phases=frozenset({PhaseName.BASELINE})),
        visibility_timeout_s=UNDISTURBED_S,
    )
