"""Folding events into a result, whole streams and cut ones."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest
import report_samples as samples

from taskchaos.harness.errors import ExitCode
from taskchaos.harness.record import events
from taskchaos.harness.record.events import (
    CaseJudged,
    CaseLeftOut,
    CasesCollected,
    CaseStarted,
    CaseWithdrawn,
    Event,
    FaultChanged,
    NotCollected,
    Problem,
    RunEnded,
    RunStarted,
)
from taskchaos.harness.record.result import (
    FailedTest,
    FaultSummary,
    LeftOut,
    RunProblem,
    RunResult,
    ServerInfo,
    Trouble,
)
from taskchaos.harness.record.verdict import Outcome, Throughput
from taskchaos.harness.report import junit
from taskchaos.harness.report.overall import counts_sentence
from taskchaos.harness.report.run import NOT_JUDGED, NOT_STARTED, collect

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
        suites=tuple(dict.fromkeys(c.suite for c in samples.cases())),
        subjects=tuple(dict.fromkeys(c.subject for c in samples.cases())),
        problems=(RunProblem("1 producer was late: 3 of 15,000 sends more than 50 ms after they were due"),),
    )


def test_expected_verdicts_alone_pass() -> None:
    result = collect(samples.stream(GOOD))
    assert (result.outcome, result.exit_code) == (Outcome.PASS, 0)


def test_a_case_that_was_cut_off_is_unknown_and_keeps_what_was_seen() -> None:
    found = samples.stream(GOOD[:2])
    last = max(i for i, e in enumerate(found) if isinstance(e, CaseJudged))
    result = collect(found[:last])
    whole, cut = result.cases
    assert whole == GOOD[0]
    assert (cut.outcome, cut.as_expected, cut.error) == (Outcome.UNKNOWN, False, NOT_JUDGED)
    assert (cut.trouble, cut.replay) == (Trouble.MISSING, f"taskchaos replay 20261123-0231-7/{GOOD[1].id}")
    assert (cut.suite, cut.scenario, cut.subject) == (GOOD[1].suite, GOOD[1].scenario, GOOD[1].subject)
    assert cut.faults == (FaultSummary("process.kill_child", "worker-2", 1, 1, 1),)
    assert cut.throughput == Throughput(99.8, 61.3, 99.4)
    assert (result.exit_code, result.doubts) == (ExitCode.UNKNOWN, ("the run was cut off: its end is not recorded",))


def test_a_planned_case_that_never_started_does_not_pass() -> None:
    found = [e for e in samples.stream(GOOD[:2]) if getattr(e, "case", "") != GOOD[1].id]
    result = collect(found)
    assert [c.error for c in result.cases] == ["", NOT_STARTED]
    assert (result.cases[1].suite, result.cases[1].subject) == (GOOD[1].suite, GOOD[1].subject)
    assert result.cases[1].replay == "", "without a plan nothing can be run again"
    assert (result.exit_code, result.doubts) == (ExitCode.UNKNOWN, ())


def test_fewer_cases_than_collected_prove_nothing() -> None:
    found: list[Event] = [replace(e, cases=()) if isinstance(e, CasesCollected) else e for e in samples.stream(GOOD)]
    found.insert(1, CasesCollected(count=len(GOOD) + 1))
    result = collect(found)
    assert (result.exit_code, len(result.doubts)) == (ExitCode.UNKNOWN, 1)


@pytest.mark.parametrize(
    ("lacks", "doubt"),
    [
        (RunStarted, "the record of the run has no beginning"),
        (CasesCollected, "which cases were to run is not recorded"),
        (RunEnded, "the run was cut off: its end is not recorded"),
    ],
)
def test_without_a_beginning_a_plan_and_an_end_nothing_is_proven(lacks: type[Event], doubt: str) -> None:
    whole = samples.judged(*GOOD)
    assert collect(whole).exit_code == ExitCode.PASS
    result = collect(e for e in whole if not isinstance(e, lacks))
    assert (result.exit_code, result.doubts) == (ExitCode.UNKNOWN, (doubt,))


def test_a_case_that_did_not_begin_in_time_is_no_part_of_the_plan() -> None:
    ids = tuple(c.id for c in GOOD[:2])
    found = samples.frame(
        CaseJudged(case=ids[0], result=GOOD[0]),
        CaseWithdrawn(case=ids[1]),
        collected=CasesCollected(count=2, cases=ids),
    )
    result = collect(found)
    assert (result.cases, result.left_out, result.doubts, result.exit_code) == ((GOOD[0],), (), (), ExitCode.PASS)


def test_a_case_that_began_cannot_be_withdrawn() -> None:
    began = samples.case_events(GOOD[0], samples.T0)[:-1]
    result = collect([*samples.frame(*began)[:-1], CaseWithdrawn(case=GOOD[0].id), RunEnded(wall_s=1.0)])
    assert [c.error for c in result.cases] == [NOT_JUDGED] and result.exit_code == ExitCode.UNKNOWN


def test_the_latest_verdict_of_a_case_counts() -> None:
    first, again = GOOD[0], replace(GOOD[0], wall_s=3.0)
    found = samples.frame(CaseJudged(case=first.id, result=first), CaseJudged(case=first.id, result=again))
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
        (Problem(text="no room on the disk", stack=True), ExitCode.STACK),
        (Problem(text="a shard ended early", doubt=True), ExitCode.UNKNOWN),
        (events.Unreadable(lines=3), ExitCode.UNKNOWN),
        (RunEnded(wall_s=2.0, status=1), ExitCode.UNKNOWN),
        (RunEnded(wall_s=2.0, status=5), ExitCode.PASS),
        (RunEnded(wall_s=2.0, interrupted=True), ExitCode.INTERRUPTED),
    ],
)
def test_a_problem_of_the_run_decides_its_exit_code(extra: Event, code: ExitCode) -> None:
    assert collect([*samples.stream(GOOD), extra]).exit_code == code


def test_an_empty_stream_is_unknown() -> None:
    result = collect([])
    assert (result.outcome, result.exit_code, result.cases, result.wall_s) == (Outcome.UNKNOWN, 2, (), 0.0)


def test_a_case_that_does_not_apply_is_left_out() -> None:
    found = [e for e in samples.stream(GOOD[:2]) if getattr(e, "case", "") != GOOD[1].id]
    found.insert(-1, CaseLeftOut(case=GOOD[1].id, reason="no children"))
    result = collect(found)
    assert [c.id for c in result.cases] == [GOOD[0].id]
    assert result.left_out == (LeftOut(GOOD[1].id, "no children"),)
    assert result.exit_code == ExitCode.PASS
    assert counts_sentence(result).endswith("0 surprises, 1 case left out.")
    [skipped] = ElementTree.fromstring(junit.dumps(result).encode()).iter("skipped")
    assert skipped.get("message") == "no children"


def test_when_no_case_applies_nothing_is_proven() -> None:
    left_out = [CaseLeftOut(case=c.id, reason="no children") for c in GOOD[:2]]
    assert collect(samples.frame(*left_out)).exit_code == ExitCode.UNKNOWN


def test_every_kind_of_event_can_be_read_back() -> None:
    # What `read` itself makes has no type.
    assert set(events.EVENTS) == {kind.type for kind in events.Event.__subclasses__()} - {events.Unreadable.type}
    left_out = CaseLeftOut(case="a.b.c", reason="no children")
    assert events.from_line(events.to_line(left_out)) == left_out


@pytest.mark.parametrize("left_out", [0, 1])
def test_a_shard_that_has_nothing_to_run_does_not_fail_for_it(left_out: int) -> None:
    mine = tuple(c.id for c in GOOD[:left_out])
    others = tuple(c.id for c in GOOD[left_out:])
    found = samples.frame(
        *(CaseLeftOut(case=case, reason="no children") for case in mine),
        collected=CasesCollected(count=left_out, cases=mine, dealt=(mine, others)),
    )
    result = collect(found)
    assert (result.exit_code, result.selection) == (ExitCode.PASS, (*mine, *others))
    assert collect([*found, RunEnded(wall_s=1.0, interrupted=True)]).exit_code == ExitCode.INTERRUPTED


def test_a_shard_without_all_its_cases_does_not_pass() -> None:
    ids = tuple(c.id for c in GOOD)
    result = collect(samples.frame(collected=CasesCollected(count=len(ids), dealt=(ids,))))
    assert result.exit_code == ExitCode.UNKNOWN
    assert result.doubts == (f"{len(ids)} of the cases that were collected are not in the record",)


def test_an_interrupted_run_says_how_far_it_got_and_how_long_it_took() -> None:
    result = collect(samples.interrupted())
    assert (result.exit_code, result.wall_s, result.doubts) == (ExitCode.INTERRUPTED, 12.3, ())
    assert [(c.trouble, c.error) for c in result.cases] == [
        (None, ""),
        (None, ""),
        (Trouble.INTERRUPTED, NOT_JUDGED),
        (Trouble.INTERRUPTED, NOT_STARTED),
        (Trouble.INTERRUPTED, NOT_STARTED),
    ]
    *rest, end = samples.interrupted()
    unsaid = collect([*rest, replace(end, wall_s=0.0)])
    assert unsaid.wall_s == 12.3, "an end that does not know it is no reason to say 0.0s"


def test_judging_a_run_again_does_not_make_it_longer() -> None:
    found = samples.stream(GOOD[:1])[:-1]
    late = CaseJudged(at_ns=samples.T0 * 1000, case=GOOD[0].id, result=GOOD[0])
    assert collect([*found, late]).wall_s == collect(found).wall_s < 10


FAILED = next(c for c in samples.cases() if c.id == "worker_kill.tree.stock_best")
UNKNOWN = next(c for c in samples.cases() if c.id == "partition.black_hole.locked_retry")
STACK = next(c for c in samples.cases() if c.trouble is Trouble.STACK)


def broken(case: str, *, assertion: bool, when: str = "call", reason: str = "it broke") -> events.TestFailed:
    return events.TestFailed(
        at_ns=samples.T0, case=case, test="t.py::test_x", when=when, assertion=assertion, reason=reason
    )


def test_an_assertion_after_the_verdict_is_a_finding() -> None:
    case = GOOD[0]
    result = collect([*samples.judged(case)[:-1], broken(case.id, assertion=True), RunEnded(wall_s=1.0, status=1)])
    assert result.exit_code == ExitCode.FAIL
    assert result.cases == (replace(case, as_expected=False, assertion="it broke (call of t.py::test_x)"),)


def test_an_error_of_the_test_leaves_no_verdict() -> None:
    for case in (GOOD[0], UNKNOWN):
        found = [*samples.judged(case)[:-1], broken(case.id, assertion=False, when="teardown"), RunEnded(wall_s=1.0)]
        result = collect(found)
        assert result.exit_code == ExitCode.UNKNOWN
        told = (result.cases[0].trouble, result.cases[0].as_expected, result.cases[0].error)
        assert told == (Trouble.SUITE, False, "it broke (teardown of t.py::test_x)")


def test_an_error_of_the_test_does_not_hide_what_is_proven() -> None:
    found = [*samples.judged(FAILED)[:-1], broken(FAILED.id, assertion=False, when="teardown"), RunEnded(wall_s=1.0)]
    result = collect(found)
    assert (result.exit_code, result.cases) == (ExitCode.FAIL, (FAILED,))
    assert result.failed_tests == (FailedTest("t.py::test_x", False, "it broke (in its teardown)"),)


def test_an_assertion_is_not_held_against_a_subject_whose_stack_failed() -> None:
    found = [*samples.judged(STACK)[:-1], broken(STACK.id, assertion=True), RunEnded(wall_s=1.0)]
    result = collect(found)
    assert result.exit_code == ExitCode.STACK
    assert result.cases[0].error == f"{STACK.error}; besides, it broke (call of t.py::test_x)"


def test_every_failure_of_a_test_is_told() -> None:
    case = GOOD[0]
    both = [broken(case.id, assertion=False), broken(case.id, assertion=True, when="teardown", reason="so did this")]
    [told] = collect([*samples.judged(case)[:-1], *both, RunEnded(wall_s=1.0)]).cases
    assert told.assertion == "it broke (call of t.py::test_x); so did this (teardown of t.py::test_x)"


def test_a_test_that_fails_though_its_case_was_left_out_is_told() -> None:
    left_out = CaseLeftOut(case=GOOD[1].id, reason="no children")
    found = [*samples.frame(CaseJudged(case=GOOD[0].id, result=GOOD[0]), left_out)[:-1]]
    result = collect([*found, broken(GOOD[1].id, assertion=False, when="teardown"), RunEnded(wall_s=1.0, status=1)])
    assert result.exit_code == ExitCode.UNKNOWN
    assert [t.test for t in result.failed_tests] == ["t.py::test_x"]


def test_a_file_that_two_processes_cannot_collect_is_told_once() -> None:
    gone = NotCollected(where="suites/test_x.py", reason="ModuleNotFoundError: nosuchmodule")
    result = collect([*samples.judged(GOOD[0]), gone, gone])
    assert result.failed_tests == (FailedTest(gone.where, False, gone.reason, collected=False),)
    assert result.exit_code == ExitCode.USAGE, "nothing was started"
    started = [*samples.stream(GOOD[:1]), gone]
    assert collect(started).exit_code == ExitCode.UNKNOWN


def test_an_error_stored_without_its_trouble_is_the_stack_s() -> None:
    old = replace(STACK, trouble=None)
    assert collect(samples.judged(old)).cases == (STACK,)
    assert collect(samples.judged(old)).exit_code == ExitCode.STACK


def test_a_stored_verdict_that_contradicts_itself_does_not_pass() -> None:
    for odd in (replace(UNKNOWN, as_expected=True), replace(STACK, as_expected=True)):
        assert collect(samples.judged(odd)).exit_code in (ExitCode.UNKNOWN, ExitCode.STACK)


def test_a_case_without_a_verdict_tells_what_became_of_its_faults() -> None:
    name = GOOD[0].id
    states = {0: ("injected", "proven", "vanished"), 1: ("injected", "unused", "healed"), 2: ("injected", "proven")}
    found = [
        FaultChanged(case=name, fault=fault, kind="k", target="t", state=state)
        for fault, seen in states.items()
        for state in seen
    ]
    [case] = collect(samples.frame(*found, collected=CasesCollected(count=1, cases=(name,)))).cases
    assert case.faults == (FaultSummary("k", "t", 3, 2, 1, vanished=1, unused=1),)
