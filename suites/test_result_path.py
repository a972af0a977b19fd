"""The result backend is cut off while tasks fail and retry: no task may be lost for that, and results are kept."""

from __future__ import annotations

import pytest

from taskchaos.faults.base import RESULTS
from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.contract import Slo
from taskchaos.harness.pytest.chaos import UNDISTURBED_S, Chaos
from taskchaos.suites.loads import phased

pytestmark = [pytest.mark.chaos(cost_s=16), pytest.mark.chaos_depth("default")]

RATE_TPS = 20


@pytest.mark.parametrize("kind", ["refused", "black_hole"])
def test_cut(chaos: Chaos, kind: str) -> None:
    """Every other task fails once; the workers' paths to their results are down, or hang, that to the broker is not."""
    if not chaos.commands.retry:
        chaos.does_not_apply("this subject waits in its worker: no retry of it meets the result backend")
    _on_both(chaos, kind)


def test_slow(chaos: Chaos) -> None:
    """Each round trip to the results takes a fifth of a second."""
    _on_both(chaos, "latency", round_trip_ms=200)


def _on_both(chaos: Chaos, kind: str, **parameters: int) -> None:
    """A fault of both workers' paths to their results for most of the fault phase."""
    hold_s = round(0.75 * chaos.profile.fault_s, 3)
    faults = (PlannedFault(kind, f"worker-{n}{RESULTS}", 0.3, hold_s, parameters) for n in (1, 2))
    chaos(
        phased(chaos.profile, RATE_TPS, failures=1, failing_every=2),
        Schedule.of(*faults),
        slo=Slo(target_tps=None),
        visibility_timeout_s=UNDISTURBED_S,
        keep_results=True,
    )
