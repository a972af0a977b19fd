"""Redis is far away: throughput has to hold although every round trip takes longer."""

from __future__ import annotations

import pytest

from faults.schedule import PlannedFault, Schedule
from harness.contract import PhaseName, Slo
from harness.profile import Profile
from harness.suite import UNDISTURBED_S, Chaos
from suites.loads import phased

pytestmark = pytest.mark.chaos(cost_s=5)


def _far_away(chaos: Chaos, profile: Profile, round_trip_ms: int) -> None:
    """Latency on every worker's paths during the whole fault phase; the target holds in all three phases."""
    workload = phased(profile, round(1.2 * chaos.target_tps))
    links = [f"worker-{n}{path}" for n in (1, 2) for path in ("", "-results")]
    faults = [PlannedFault("latency", link, 0.0, profile.fault_s, {"round_trip_ms": round_trip_ms}) for link in links]
    slo = Slo(
        target_tps=chaos.target_tps,
        phases=frozenset({PhaseName.BASELINE, PhaseName.FAULT, PhaseName.HEALED}),
        recovery_limit_s=profile.recovery_limit_s,
    )
    chaos(workload, Schedule.of(*faults), slo=slo, visibility_timeout_s=UNDISTURBED_S)


def test_20ms(chaos: Chaos, profile: Profile) -> None:
    """20 ms round trip: another region of the same provider."""
    _far_away(chaos, profile, 20)


@pytest.mark.depth("default")
def test_100ms(chaos: Chaos, profile: Profile) -> None:
    """100 ms round trip: another continent."""
    _far_away(chaos, profile, 100)
