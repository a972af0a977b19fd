"""Redis is far away: throughput has to hold although every round trip takes longer."""

from __future__ import annotations

import pytest

from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.contract import PhaseName, Slo
from taskchaos.harness.pytest.chaos import UNDISTURBED_S, Chaos
from taskchaos.suites.loads import phased

pytestmark = pytest.mark.chaos(cost_s=5)


def _far_away(chaos: Chaos, round_trip_ms: int) -> None:
    """Latency on every worker's paths during the whole fault phase; the target holds in all three phases."""
    workload = phased(chaos.profile, round(1.2 * chaos.target_tps))
    links = [f"worker-{n}{path}" for n in (1, 2) for path in ("", "-results")]
    faults = [
        PlannedFault("latency", link, 0.0, chaos.profile.fault_s, {"round_trip_ms": round_trip_ms}) for link in links
    ]
    slo = Slo(
        target_tps=chaos.target_tps,
        phases=frozenset({PhaseName.BASELINE, PhaseName.FAULT, PhaseName.HEALED}),
        recovery_limit_s=chaos.profile.recovery_limit_s,
    )
    chaos(workload, Schedule.of(*faults), slo=slo, visibility_timeout_s=UNDISTURBED_S)


def test_20ms(chaos: Chaos) -> None:
    """20 ms round trip: another region of the same provider."""
    _far_away(chaos, 20)


@pytest.mark.chaos_depth("default")
def test_100ms(chaos: Chaos) -> None:
    """100 ms round trip: another continent."""
    _far_away(chaos, 100)
