"""Cases with chords, end to end: a body that runs too early or never is told, and who sends none is left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_support import rule, run_mine

pytestmark = pytest.mark.usefixtures("linux")

SUITE = """
from taskchaos.harness.contract import Slo
from taskchaos.harness.record.seen import Seen
from taskchaos.harness.workload import Workload

def test_quiet(chaos):
    chords = {"chord_of": 3, "failures": 1, "failing_every": 3, "work_ms": 20}
    workload = Workload(rate_tps=30, baseline_s=1, fault_s=0, healed_s=0, **chords)
    chaos(workload, slo=Slo(target_tps=None), must_see=[Seen.RETRIED])
"""
HEAD = """
from taskchaos.harness.contract import Claim
from taskchaos.harness.subject import CelerySubject

class Mine(CelerySubject):
    name = "mine"
    contract = CelerySubject.contract.claiming(Claim.ORDER)

    def install(self, app, settings):
        app.conf.task_ignore_result = not settings.keep_results
"""
AS_IT_IS = HEAD
ALL_AT_ONCE = (
    HEAD
    + """
    def submit_chord(self, task, members, body):
        for operation in (*members, body):
            self.submit(task, operation)
"""
)
NO_BODY = (
    HEAD
    + """
    def submit_chord(self, task, members, body):
        for operation in members:
            self.submit(task, operation)
"""
)
SENDS_NONE = HEAD + "    submit_chord = None\n"


def test_a_chord_of_celerys_keeps_its_order_and_the_results_that_it_needs(tmp_path: Path) -> None:
    done, told = run_mine(tmp_path, SUITE, AS_IT_IS)
    (case,) = told["cases"]
    assert done.code == 0, done.out + done.err
    assert rule(case, "order")["reason"] == "7 bodies began, each when all its members had taken effect"
    assert case["operations"]["planned"] == case["operations"]["effects"] == 28, "30 are 7 chords, and 2 that are none"


def test_a_body_that_does_not_wait_is_told(tmp_path: Path) -> None:
    done, told = run_mine(tmp_path, SUITE, ALL_AT_ONCE)
    (case,) = told["cases"]
    assert done.code == 1, done.out + done.err
    assert case["failed_rules"] == ["order"]
    assert "began before all members had taken effect" in rule(case, "order")["reason"]


def test_a_body_that_never_comes_is_lost(tmp_path: Path) -> None:
    done, told = run_mine(tmp_path, SUITE, NO_BODY)
    (case,) = told["cases"]
    assert done.code == 1, done.out + done.err
    assert case["failed_rules"] == ["lost"]
    lost = rule(case, "lost")
    assert lost["observed"] == 7
    assert all("the body of a chord whose members all took effect" in sample["note"] for sample in lost["samples"])
    assert rule(case, "order")["outcome"] == "unknown"


def test_who_sends_no_chords_is_left_out_and_that_is_said(tmp_path: Path) -> None:
    done, told = run_mine(tmp_path, SUITE, SENDS_NONE)
    assert told["cases"] == []
    assert "this subject has no submit_chord, so it cannot send chords" in done.out, done.out + done.err
    assert done.code != 0, "nothing that was judged is no pass"
