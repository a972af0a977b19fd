"""`taskchaos soak`, `shrink` and `evidence` as a person uses them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_support import taskchaos, verdict

from taskchaos.harness.record import events

pytestmark = pytest.mark.usefixtures("linux")

#: A subject that loses what a killed worker held, and a suite with a kill and a fault that has no part in it.
SUITE = """
from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.contract import Slo
from taskchaos.harness.workload import Workload

def test_both(chaos):
    workload = Workload(rate_tps=30, baseline_s=0.5, fault_s=1.5, healed_s=0.5, work_ms=200)
    cut = PlannedFault("latency", "producer-1", 0.2, 0.5, {"round_trip_ms": 10})
    kill = PlannedFault("kill_tree", "worker-1", 0.8, 0.2)
    chaos(workload, Schedule.of(cut, kill), slo=Slo())
"""


@pytest.fixture(scope="module")
def soaked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a soak that has time for one case: the first is run whatever the time."""
    out = tmp_path_factory.mktemp("soak") / "run"
    done = taskchaos("soak", "--minutes", "0.1", "--seed", "7", "-n", "1", "--out", str(out))
    assert done.code == 0, done.out + done.err
    assert "as many of 2 cases as fit in 0.1 min" in done.out
    return out


def test_a_soak_ends_by_itself_with_as_many_cases_as_fit(soaked: Path) -> None:
    found = verdict(soaked)
    stream = list(events.read(soaked / "events.jsonl"))
    [collected] = [e for e in stream if isinstance(e, events.CasesCollected)]
    withdrawn = {e.case for e in stream if isinstance(e, events.CaseWithdrawn)}
    cases = {case["id"] for case in found["cases"]}
    assert cases == {"soak.seed-7.locked_retry"}
    assert cases | withdrawn == set(collected.cases) and not cases & withdrawn and withdrawn
    assert found["left_out"] == found["doubts"] == [] and found["outcome"] == "pass"


def test_each_case_of_a_soak_has_its_own_seed_and_plan(soaked: Path) -> None:
    plans = [json.loads(path.read_text()) for path in soaked.glob("cases/*/plan.json")]
    assert all(plan["scenario"] == f"seed-{plan['seed']}" for plan in plans)
    assert all(plan["schedule"]["faults"] for plan in plans)
    assert all(case["faults"] and case["replay"].startswith("taskchaos replay ") for case in verdict(soaked)["cases"])


def test_the_evidence_of_a_soak_is_summed_up(soaked: Path) -> None:
    done = taskchaos("evidence", str(soaked), "--json")
    assert done.code == 0, done.err
    rows = json.loads(done.out)["rows"]
    faults = [fault for case in verdict(soaked)["cases"] for fault in case["faults"]]
    assert (rows[-1]["kind"], rows[-1]["proven"]) == ("all", sum(fault["proven"] for fault in faults))
    (soaked / "verdict.json").rename(soaked / "kept.json")
    done = taskchaos("evidence", str(soaked))
    (soaked / "kept.json").rename(soaked / "verdict.json")
    assert done.code == 2 and "! " in done.out and "verdict.json cannot be read" in done.out


def test_a_case_that_passed_cannot_be_shrunk(soaked: Path) -> None:
    done = taskchaos("shrink", str(soaked / "cases" / "soak.seed-7.locked_retry"))
    assert done.error_line.endswith("soak.seed-7.locked_retry came to pass: only a case that fails can be shrunk")
    assert done.code == 4


def test_shrink_leaves_out_what_has_no_part_in_a_failure(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(SUITE)
    done = taskchaos("run", "test_mine.py", "-s", "stock_defaults", "--out", "run", cwd=tmp_path)
    assert done.code == 1, done.out + done.err
    case = "run/cases/mine.both.stock_defaults"
    done = taskchaos("shrink", case, "--runs", "1", "--fails", "1", "--most-runs", "3", "--out", "small", cwd=tmp_path)
    assert done.code == 0, done.out + done.err
    assert "mine.both.stock_defaults: 2 faults, 1.0 s; a plan is kept if 1 of 1 runs fail lost" in done.out
    assert "3 runs are used up: there may be a smaller one" in done.out
    small = tmp_path / "small" / "cases" / "mine.both.stock_defaults"
    [fault] = json.loads((small / "plan.json").read_text())["schedule"]["faults"]
    assert fault["kind"] == "kill_tree"
    assert done.out.splitlines()[-1] == f"Again:   taskchaos replay {small}"
    assert verdict(tmp_path / "small")["cases"][0]["failed_rules"] == ["lost"]
    assert len(json.loads((tmp_path / "small" / "shrink.json").read_text())["tries"]) == 3
