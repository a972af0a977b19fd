"""A busy machine has faults come and heal late: the load goes on until they are healed, and all of it counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_support import rule, taskchaos, verdict

from taskchaos.harness.contract import PhaseName
from taskchaos.harness.record import events
from taskchaos.harness.record.layout import CASES, EVENTS

pytestmark = pytest.mark.usefixtures("linux")

SUITE = """
from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.contract import Slo
from taskchaos.harness.workload import Workload

def run(chaos, at_s, hold_s, *, fault_s=0.4, **load):
    fault = PlannedFault("latency", "worker-1", at_s, hold_s, {"round_trip_ms": 10})
    chaos(Workload(rate_tps=50, baseline_s=0.4, fault_s=fault_s, **load), Schedule.of(fault), slo=Slo(target_tps=None))

def test_begins_late(chaos):
    run(chaos, 1.0, 0.5, healed_s=0.4)

def test_heals_late(chaos):
    run(chaos, 0.1, 1.0, healed_s=0.4)

def test_nothing_after_it(chaos):
    run(chaos, 0.1, 1.0, healed_s=0)

def test_in_time(chaos):
    run(chaos, 0.1, 0.2, fault_s=3.0, healed_s=0.4)

def test_fails_and_repeats(chaos):
    run(chaos, 0.8, 0.4, healed_s=0.1, failures=1, failing_every=3, permanent_every=10)
"""


def test_the_load_goes_on_until_the_last_heal(tmp_path: Path) -> None:
    (tmp_path / "test_late.py").write_text(SUITE)
    out = tmp_path / "run"
    done = taskchaos("run", "test_late.py", "-s", "locked_retry", "-n", "2", "-v", "--out", str(out), cwd=tmp_path)
    assert done.code == 0, done.out + done.err
    at_least = {"begins_late": 95, "heals_late": 75, "nothing_after_it": 75, "fails_and_repeats": 85, "in_time": 190}
    cases = {case["scenario"]: case for case in verdict(out)["cases"]}
    for scenario, operations in at_least.items():
        case = cases[scenario]
        counts, extended = case["operations"], _is_extended(out, case["id"])
        assert rule(case, "evidence")["outcome"] == "pass", "whatever was sent beyond the plan is looked at too"
        assert counts["submitted"] == counts["acknowledged"] >= operations, (scenario, counts)
        assert extended is (scenario != "in_time"), scenario
        assert scenario == "in_time" or "s longer, until the last heal" in done.out
    assert cases["in_time"]["operations"]["submitted"] == 190, "no more than was planned"
    assert cases["fails_and_repeats"]["operations"]["dead"] > 4, "what fails by plan does so beyond it as well"


def _is_extended(out: Path, case: str) -> bool:
    """Whether the load was longer than planned. Either way the fault phase holds every heal."""
    happened = list(events.read(out / CASES / case / EVENTS))
    healed_ns = max(e.at_ns for e in happened if isinstance(e, events.FaultChanged) and e.state == "healed")
    ended = {e.phase: e for e in happened if isinstance(e, events.PhaseEnded)}
    assert ended[PhaseName.FAULT].at_ns >= healed_ns
    return any(isinstance(e, events.LoadExtended) for e in happened)
