"""Tasks that fail beside everything else, and what they all depend on down: planned, felt, and judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_support import rule, taskchaos, verdict

from taskchaos.harness.judge.reader import read_ledger
from taskchaos.harness.record.history import AttemptOutcome, History
from taskchaos.harness.record.layout import CASES, LEDGER

pytestmark = pytest.mark.usefixtures("linux")

SUITE = """
from taskchaos.harness.contract import Slo
from taskchaos.harness.workload import Workload

def test_plain(chaos):
    chaos(Workload(rate_tps=40, baseline_s=0.5, fault_s=0, healed_s=0), slo=Slo(target_tps=None))

def test_down(chaos):
    workload = Workload(rate_tps=100, baseline_s=0.5, fault_s=1.0, healed_s=0.5, outage_s=0.6)
    chaos(workload, slo=Slo(target_tps=None, growth=True), visibility_timeout_s=30)
"""


def test_tasks_fail_as_the_option_and_the_outage_say(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(SUITE)
    out = tmp_path / "run"
    done = taskchaos(
        "run", "test_mine.py", "-s", "locked_retry", "--failures", "25", "-n", "2", "--out", str(out), cwd=tmp_path
    )
    assert done.code == 0, done.out + done.err
    down, plain = sorted(verdict(out)["cases"], key=lambda case: str(case["scenario"]))

    workload = json.loads((out / CASES / plain["id"] / "plan.json").read_text())["workload"]
    assert (workload["failures"], workload["failing_every"]) == (1, 4)
    history = History()
    read_ledger(out / CASES / plain["id"] / LEDGER, history)
    failed = [
        op for op, end in zip(history.attempts.op, history.attempts.outcome, strict=True) if end != AttemptOutcome.OK
    ]
    assert sorted(failed) == [0, 4, 8, 12, 16]

    assert rule(down, "retry_storm")["outcome"] == rule(down, "growth")["outcome"] == "pass"
    assert "allowed" in rule(down, "retry_storm")["reason"] and "files of worker-1" in rule(down, "growth")["reason"]
    assert down["operations"]["dead"] == 0 or rule(down, "dead_letter")["outcome"] == "pass"
    assert rule(plain, "retry_storm")["outcome"] == rule(plain, "growth")["outcome"] == "not_claimed"
