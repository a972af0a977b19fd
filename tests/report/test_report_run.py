"""Folding events into a result, whole streams and cut ones."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest
import report_samples as samples

from harness import events
from harness.errors import ExitCode
from harness.events import CaseJudged, CaseLeftOut, CasesCollected, CaseStarted, Event, Problem, RunEnded
from harness.report import junit
from harness.report.run import NOT_JUDGED, NOT_STARTED, collect
from harness.report.wording import counts_sentence
from harness.result import FaultSummary, LeftOut, RunResult, ServerInfo
from harness.verdict import Outcome, Throughput

GOOD = tuple(c for c in samples.cases() if c.as_expected)


def test_a_whole_stream_gives_the_whole_result() -> None:
    result = collect(samples.stream())
    assert result == RunResult(
        run="20261123-0231-7",
        seed=7,
        stack="local",
        profile="quick",
        server=ServerInfo("valkey", "9.0.1"),
        versions={"taskchaos": "0.1.0", "celery": "5.7.0", "redis-py": "7.1.0", "python": "3.11.7"},
        outcome=Outcome.FAIL,
        exit_code=1,
        wall_s=43.7,
        cases=samples.cases(),
        started="2026-11-23T02:31:00+00:00",
    )


def test_expected_verdicts_alone_pass() -> None:
    result = collect(samples.stream(GOOD))
    assert (result.outcome, result.exit_code) == (Outcome.PASS, 0)


def test_a_case_cut_off_is_unknown_and_keeps_what_was_seen() -> None:
    found = samples.stream(GOOD[:2])
    last = max(i for i, e in enumerate(found) if isinstance(e, CaseJudged))
    result = collect(found[:last])
    whole, cut = result.cases
    assert whole == GOOD[0]
    assert (cut.outcome, cut.as_expected, cut.error) == (Outcome.UNKNOWN, False, NOT_JUDGED)
    assert (cut.suite, cut.scenario, cut.subject) == (GOOD[1].suite, GOOD[1].scenario, GOOD[1].subject)
    assert cut.faults == (FaultSummary("process.kill_child", "worker-2", 1, 1, 1),)
    assert cut.throughput == Throughput(99.8, 61.3, 99.4)
    assert result.exit_code == ExitCode.STACK


def test_a_planned_case_that_never_started_is_not_a_pass() -> None:
    found = [e for e in samples.stream(GOOD[:2]) if getattr(e, "case", "") != GOOD[1].id]
    result = collect(found)
    assert [c.error for c in result.cases] == ["", NOT_STARTED]
    assert (result.cases[1].suite, result.cases[1].subject) == (GOOD[1].suite, GOOD[1].subject)
    assert result.exit_code == ExitCode.STACK


def test_fewer_cases_than_collected_prove_nothing() -> None:
    found: list[Event] = [replace(e, cases=()) if isinstance(e, CasesCollected) else e for e in samples.stream(GOOD)]
    found.insert(1, CasesCollected(count=len(GOOD) + 1))
    assert collect(found).exit_code == ExitCode.UNKNOWN


def test_without_an_end_and_without_a_plan_nothing_is_proven() -> None:
    judged: list[Event] = [CaseJudged(case=c.id, result=c) for c in GOOD]
    assert collect(judged).exit_code == ExitCode.UNKNOWN
    assert collect([*judged, RunEnded(wall_s=1.0)]).exit_code == ExitCode.PASS


def test_the_latest_verdict_of_a_case_counts() -> None:
    first, again = GOOD[0], replace(GOOD[0], wall_s=3.0)
    found = [CaseJudged(case=first.id, result=first), CaseJudged(case=first.id, result=again), RunEnded(wall_s=1.0)]
    assert collect(found).cases == (again,)


def test_a_case_that_started_again_has_no_verdict_until_it_is_judged_again() -> None:
    found = samples.case_events(GOOD[0], samples.T0)
    started = next(e for e in found if isinstance(e, CaseStarted))
    assert [c.error for c in collect([*found, started]).cases] == [NOT_JUDGED]


@pytest.mark.parametrize(
    ("extra", "code"),
    [
        (Problem(text="no subject named x", usage=True), ExitCode.USAGE),
        (Problem(text="a producer was late"), ExitCode.PASS),
        (RunEnded(wall_s=2.0, interrupted=True), ExitCode.INTERRUPTED),
    ],
)
def test_what_a_run_says_besides_its_cases(extra: Event, code: ExitCode) -> None:
    assert collect([*samples.stream(GOOD), extra]).exit_code == code


def test_nothing_at_all_is_unknown() -> None:
    result = collect([])
    assert (result.outcome, result.exit_code, result.cases, result.wall_s) == (Outcome.UNKNOWN, 2, (), 0.0)


def test_a_case_that_does_not_apply_is_left_out_and_no_finding() -> None:
    found = [e for e in samples.stream(GOOD[:2]) if getattr(e, "case", "") != GOOD[1].id]
    found.insert(-1, CaseLeftOut(case=GOOD[1].id, reason="no children"))
    result = collect(found)
    assert [c.id for c in result.cases] == [GOOD[0].id]
    assert result.left_out == (LeftOut(GOOD[1].id, "no children"),)
    assert result.exit_code == ExitCode.PASS
    assert counts_sentence(result).endswith("0 surprises, 1 case left out.")
    [case] = [e for e in ElementTree.fromstring(junit.dumps(result).encode()).iter("testcase") if len(e) == 1]
    assert case[0].tag == "skipped" and case[0].get("message") == "no children"


def test_when_no_case_applies_nothing_is_proven() -> None:
    left_out = [CaseLeftOut(case=c.id, reason="no children") for c in GOOD[:2]]
    assert collect([CasesCollected(count=2), *left_out, RunEnded(wall_s=1.0)]).exit_code == ExitCode.UNKNOWN


def test_every_kind_of_event_can_be_read_back() -> None:
    assert set(events.EVENTS) == {kind.type for kind in events.Event.__subclasses__()}
    left_out = CaseLeftOut(case="a.b.c", reason="no children")
    assert events.from_line(events.to_line(left_out)) == left_out


@pytest.mark.parametrize("left_out", [0, 1])
def test_a_shard_that_has_nothing_to_run_does_not_fail_for_it(left_out: int) -> None:
    mine = tuple(c.id for c in GOOD[:left_out])
    others = tuple(c.id for c in GOOD[left_out:])
    found: list[Event] = [
        CasesCollected(count=left_out, cases=mine, dealt=(mine, others)),
        *(CaseLeftOut(case=case, reason="no children") for case in mine),
    ]
    result = collect([*found, RunEnded(wall_s=1.0)])
    assert (result.exit_code, result.selection) == (ExitCode.PASS, (*mine, *others))
    assert collect([*found, RunEnded(wall_s=1.0, interrupted=True)]).exit_code == ExitCode.INTERRUPTED


def test_a_shard_without_all_its_cases_does_not_pass() -> None:
    ids = tuple(c.id for c in GOOD)
    found: list[Event] = [CasesCollected(count=len(ids), dealt=(ids,)), RunEnded(wall_s=1.0)]
    assert collect(found).exit_code == ExitCode.UNKNOWN
