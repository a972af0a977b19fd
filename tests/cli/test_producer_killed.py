"""A case whose producer is killed on purpose, from the command to the verdict; and one whose producer just dies."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_support import rule, taskchaos, verdict

from taskchaos.harness.judge.reader import read_ledger
from taskchaos.harness.record import events
from taskchaos.harness.record.history import History
from taskchaos.harness.record.layout import CASES, EVENTS, LEDGER, UNDO

pytestmark = pytest.mark.usefixtures("linux")

SUITE = """
from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.contract import Slo
from taskchaos.harness.workload import Workload

def run(chaos, *kills, fault_s=0.6):
    faults = [PlannedFault("kill_producer", "producer-1", at_s, hold_s) for at_s, hold_s in kills]
    load = Workload(rate_tps=50, baseline_s=0.6, fault_s=fault_s, healed_s=0.6)
    chaos(load, Schedule.of(*faults), slo=Slo(target_tps=None), producers=2)

def test_in_time(chaos):
    run(chaos, (0.1, 0.3))

def test_heals_late(chaos):
    run(chaos, (0.2, 1.2))

def test_away_too_long(chaos):
    run(chaos, (0.2, 30.0))
"""

DIES = """
import os
import signal
from taskchaos.harness.subject import CelerySubject

class Dies(CelerySubject):
    name = "dies"

    def submit(self, task, operation):
        if operation.number >= {op} and operation.number % 2 == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        super().submit(task, operation)
"""


def test_a_producer_that_is_killed_comes_back_and_the_case_is_judged(tmp_path: Path) -> None:
    (tmp_path / "test_dead.py").write_text(SUITE)
    out = tmp_path / "run"
    done = taskchaos("run", "test_dead.py", "-s", "locked_retry", "-n", "2", "--out", str(out), cwd=tmp_path)
    cases = {case["scenario"]: case for case in verdict(out)["cases"]}
    for scenario in ("in_time", "heals_late"):
        case = cases[scenario]
        assert case["outcome"] == "pass", done.out
        (fault,) = case["faults"]
        assert (fault["kind"], fault["target"]) == ("kill_producer", "producer-1")
        assert fault["injected"] == fault["proven"] == fault["healed"] == 1
        history = History()
        read_ledger(out / CASES / case["id"] / LEDGER, history)
        left_out = len(set(history.drops.op)) + sum(outcome != 1 for outcome in history.submits.outcome)
        assert history.drops.op, "something fell due while it was away"
        assert f"{left_out} not acknowledged because of faults" in rule(case, "evidence")["reason"]
        assert "start the producer again" in (out / CASES / case["id"] / UNDO).read_text()
        assert [e.state for e in _changes(out, case["id"])] == ["injected", "proven", "held", "healed"]
    assert any(isinstance(e, events.LoadExtended) for e in _events(out, cases["heals_late"]["id"]))
    case = cases["away_too_long"]
    assert case["outcome"] == "unknown" and done.code == 2, done.out
    assert "producer-1 did not go through its part of the plan" in rule(case, "evidence")["reason"]


def _events(out: Path, case: str) -> list[events.Event]:
    return list(events.read(out / CASES / case / EVENTS))


def _changes(out: Path, case: str) -> list[events.FaultChanged]:
    return [event for event in _events(out, case) if isinstance(event, events.FaultChanged)]


@pytest.mark.parametrize("op", [10, 70])
def test_a_producer_that_dies_by_itself_still_ends_the_case(tmp_path: Path, op: int) -> None:
    """Before it is to be killed, or when it is back."""
    (tmp_path / "test_dead.py").write_text(SUITE)
    (tmp_path / "dies.py").write_text(DIES.format(op=op))
    out = tmp_path / "run"
    done = taskchaos("run", "test_dead.py", "-s", "dies.py:Dies", "-k", "in_time", "--out", str(out), cwd=tmp_path)
    assert done.code == 3, done.out + done.err
    assert "producer-1 ended with status -9" in done.out + done.err
