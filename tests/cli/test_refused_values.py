"""A case that is planned with values that cannot be is refused before anything starts, in one line: exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_support import taskchaos, verdict

pytestmark = pytest.mark.usefixtures("linux")

HEAD = """from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.contract import Slo
from taskchaos.harness.subject import CelerySubject
from taskchaos.harness.workload import Workload
W = Workload(rate_tps=20, baseline_s=1.0, fault_s=1.0, healed_s=1.0)
class Mine(CelerySubject):
    name = "mine"
"""
#: By scenario, what is asked for, and what is said of it.
REFUSED = {
    "nothing": (
        "chaos(W, Schedule.of(PlannedFault('latency', 'worker-1', 0.1, 0.5, {'round_trip_ms': 0})))",
        "ValueError: latency on worker-1: round_trip_ms has to be a whole number from 10 to 10,000, not 0",
    ),
    "misspelt": (
        "chaos(W, Schedule.of(PlannedFault('latency', 'worker-1', 0.1, 0.5, {'round_trip': 20})))",
        "ValueError: latency on worker-1: no parameter 'round_trip': did you mean round_trip_ms?",
    ),
    "no_hold": (
        "chaos(W, Schedule.of(PlannedFault('pause', 'worker-1', 0.1)))",
        "ValueError: pause on worker-1: hold_s has to be above 0: it is there until it is healed",
    ),
    "target": (
        "chaos(W, slo=Slo(float('nan')))",
        "ValueError: slo: target_tps has to be None or a number above 0 and at most 1,000,000, not nan",
    ),
    "workers": ("chaos(W, workers=0)", "ValueError: workers has to be a whole number from 1 to 64, not 0"),
    "rate": ("chaos(Workload('x'))", "ValueError: model has to be one of LoadModel.OPEN, LoadModel.PREFILL, not 'x'"),
    "workload": ("chaos(5)", "ValueError: chaos: workload has to be a Workload, not 5"),
    "seen": ("chaos(W, must_see=None)", "ValueError: chaos: must_see has to be a collection of Seen, not None"),
    "argument": ("chaos(W, worker=1)", "ValueError: chaos: no argument 'worker': did you mean workers?"),
}


@pytest.mark.parametrize("parallel", ["1", "2"])
def test_each_is_named_by_scenario_and_line_and_nothing_is_started(tmp_path: Path, parallel: str) -> None:
    lines = [*HEAD.splitlines()]
    places = {}
    for scenario, (call, _) in REFUSED.items():
        lines += [f"def test_{scenario}(chaos):", f"    {call}"]
        places[scenario] = len(lines)
    (tmp_path / "test_mine.py").write_text("\n".join(lines) + "\n")
    out = tmp_path / "run"
    done = taskchaos("run", "test_mine.py", "-s", "test_mine.py:Mine", "-n", parallel, "--out", str(out), cwd=tmp_path)
    assert done.code == 2 and "Traceback" not in done.out + done.err, done.out + done.err
    for scenario, (_, said) in REFUSED.items():
        line = f"! mine.{scenario}.mine: the test failed: {said} (test_mine.py:{places[scenario]})"
        assert line in done.out.splitlines(), done.out
    assert {case["trouble"] for case in verdict(out)["cases"]} == {"suite"}
    assert not list((out / "cases").iterdir())


def test_a_module_that_plans_such_a_case_cannot_be_collected(tmp_path: Path) -> None:
    planned = "SLOW = PlannedFault('latency', 'worker-1', 0.1, 0.5, {'round_trip_ms': -5})\n"
    (tmp_path / "test_mine.py").write_text(HEAD + planned + "def test_one(chaos): ...\n")
    done = taskchaos("run", "test_mine.py", "-s", "locked_retry", cwd=tmp_path)
    assert done.code in (2, 4)
    assert (
        "latency on worker-1: round_trip_ms has to be a whole number from 10 to 10,000, not -5" in done.out + done.err
    )
