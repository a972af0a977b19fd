"""Two runs beside each other: what a regression is, and what is only told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import report_samples as samples

from taskchaos.harness.errors import ExitCode
from taskchaos.harness.judge.compare import CaseSide, ChangeKind, StoredRun, compare
from taskchaos.harness.record.result import (
    Band,
    CaseDetail,
    CaseResult,
    Cause,
    CauseKind,
    Expectation,
    RunResult,
    ServerInfo,
    Trouble,
    Window,
)
from taskchaos.harness.record.verdict import Outcome, Rule, Throughput
from taskchaos.harness.report import comparison

PASSED = replace(
    samples.cases()[0], id="a.b.c", outcome=Outcome.PASS, as_expected=True, failed_rules=(), expected=Expectation(),
    trouble=None, assertion="", error="", causes=(),
)  # fmt: skip
MUST, MAY = Expectation(must=frozenset({Rule.LOST})), Expectation(may=frozenset({Rule.LOST}))


def came_to(outcome: str, expected: Expectation = Expectation(), *rules: Rule) -> CaseResult:  # noqa: B008
    found = Outcome(outcome)
    met = expected.met(found, frozenset(rules))
    return replace(PASSED, outcome=found, failed_rules=rules, expected=expected, as_expected=met)


PASS, UNKNOWN = came_to("pass"), came_to("unknown")
LOST, LOST_AND_STUCK = came_to("fail", Expectation(), Rule.LOST), came_to("fail", Expectation(), Rule.LOST, Rule.STUCK)
CAUGHT, MISSED = came_to("fail", MUST, Rule.LOST), came_to("pass", MUST)
TOLERATED, LUCKY = came_to("fail", MAY, Rule.LOST), came_to("pass", MAY)
ASSERTION = replace(PASS, assertion="1 == 2", as_expected=False)
TROUBLE = replace(PASS, trouble=Trouble.STACK, error="no room", as_expected=False, outcome=Outcome.UNKNOWN)


def stored(cases: Sequence[CaseResult] = (PASS,), **changes: object) -> StoredRun:
    of_run = {name: changes.pop(name) for name in list(changes) if name not in ("details", "plans", "sources")}
    versions = {"celery": "5.5"}
    run = RunResult("run", 1, "local", "quick", ServerInfo("valkey", "9"), versions, Outcome.PASS, 0, 1.0, tuple(cases))
    return StoredRun(replace(run, **of_run), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "after", "kind", "code"),
    [
        (PASS, PASS, ChangeKind.SAME, 0),
        (PASS, LOST, ChangeKind.REGRESSION, 1),
        (LOST, PASS, ChangeKind.FIXED, 0),
        (LOST, LOST, ChangeKind.SAME, 0),
        (LOST, LOST_AND_STUCK, ChangeKind.REGRESSION, 1),
        (LOST_AND_STUCK, LOST, ChangeKind.CHANGED, 0),
        (CAUGHT, MISSED, ChangeKind.REGRESSION, 1),
        (MISSED, CAUGHT, ChangeKind.FIXED, 0),
        (LUCKY, TOLERATED, ChangeKind.CHANGED, 0),
        (TOLERATED, LUCKY, ChangeKind.CHANGED, 0),
        (PASS, ASSERTION, ChangeKind.REGRESSION, 1),
        (PASS, UNKNOWN, ChangeKind.UNDECIDED, 2),
        (UNKNOWN, PASS, ChangeKind.UNDECIDED, 2),
        (UNKNOWN, LOST, ChangeKind.UNDECIDED, 2),
        (PASS, TROUBLE, ChangeKind.UNDECIDED, 2),
    ],
)
def test_what_became_of_a_case(before: CaseResult, after: CaseResult, kind: ChangeKind, code: int) -> None:
    found = compare(stored([before]), stored([after]))
    assert ([case.kind for case in found.cases], found.exit_code) == ([kind], code)


@pytest.mark.parametrize("now", [UNKNOWN, TROUBLE])
def test_a_verdict_that_is_gone_is_no_pass_whatever_is_beside_it(now: CaseResult) -> None:
    """A subject that breaks so thoroughly that nothing can be judged has not become better; nor is it a regression."""
    other = replace(PASS, id="x.y.z")
    found = compare(stored([PASS, other]), stored([now, other]))
    assert found.exit_code is ExitCode.UNKNOWN and [case.id for case in found.undone] == ["a.b.c"]
    assert comparison.conclusion(found).startswith("IN DOUBT")
    assert compare(stored([now, other]), stored([PASS, other])).exit_code is ExitCode.PASS


def test_nothing_in_common_is_no_pass() -> None:
    found = compare(stored([PASS]), stored([replace(PASS, id="x.y.z")]))
    assert (found.exit_code, found.only_before, found.only_after) == (ExitCode.UNKNOWN, ("a.b.c",), ("x.y.z",))
    assert compare(stored([]), stored([])).exit_code is ExitCode.UNKNOWN


@pytest.mark.parametrize("side", [0, 1])
def test_a_run_in_doubt_gives_no_pass_and_hides_no_regression(side: int) -> None:
    doubted = {"doubts": ("the run was cut off",)}
    runs = [stored([PASS], **(doubted if n == side else {})) for n in (0, 1)]
    assert compare(*runs).exit_code is ExitCode.UNKNOWN
    runs[1] = stored([LOST], **(doubted if side else {}))
    assert compare(*runs).exit_code is ExitCode.FAIL


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seed": 2}, "seed: 1 before, 2 after"),
        ({"profile": "nightly"}, "profile: quick before, nightly after"),
        ({"stack": "compose"}, "stack: local before, compose after"),
        ({"versions": {"celery": "5.6"}}, "celery: 5.5 before, 5.6 after"),
        ({"versions": {"celery": "5.5", "kombu": "5.5"}}, "kombu: none before, 5.5 after"),
        ({"server": ServerInfo("redis", "8")}, "server: valkey 9 before, redis 8 after"),
        ({"chosen": ("--pool", "threads")}, "options: none before, --pool threads after"),
        ({"plans": {"a.b.c": "2"}}, "other plans of a.b.c"),
        ({"sources": {"a.b.c": "2"}}, "other files of the user of a.b.c"),
        ({"interrupted": True}, "interrupted: the run after"),
    ],
)
def test_whatever_else_differs_is_told(changes: dict[str, object], says: str) -> None:
    before = stored(plans={"a.b.c": "1"}, sources={"a.b.c": "1"})
    after = stored(**{"plans": {"a.b.c": "1"}, "sources": {"a.b.c": "1"}, **changes})
    assert compare(before, after).differences == (says,)
    assert compare(before, before).differences == ()


def cause(kind: CauseKind) -> Cause:
    return Cause(Rule.LOST, kind, (1,), "text")


def test_kinds_of_findings_that_were_not_there_are_told() -> None:
    """By subject, not by case: a loss elsewhere is no new kind. What has no known cause is none."""
    before = stored([replace(LOST, causes=(cause(CauseKind.KILLED),)), replace(PASS, id="x.y.z")])
    after = stored(
        [
            replace(LOST_AND_STUCK, causes=(cause(CauseKind.RETRY_CUT), cause(CauseKind.NOT_KNOWN))),
            replace(LOST, id="x.y.z", causes=(cause(CauseKind.KILLED), cause(CauseKind.RETRY_CUT))),
        ]
    )
    found = {(new.rule, new.cause): new.cases for new in compare(before, after).new_findings}
    assert found == {(Rule.STUCK, None): ("a.b.c",), (Rule.LOST, CauseKind.RETRY_CUT): ("a.b.c", "x.y.z")}


def test_what_a_control_fails_hides_nothing_of_the_others() -> None:
    control = replace(CAUGHT, id="a.b.control", subject="control")
    (new,) = compare(stored([PASS, control]), stored([LOST, control])).new_findings
    assert (new.subject, new.rule, new.cases) == (PASS.subject, Rule.LOST, ("a.b.c",))


def detail(rates: Sequence[float]) -> CaseDetail:
    """A baseline with these rates a window, and a fault phase behind it."""
    end_s = 0.25 * len(rates)
    windows = tuple(
        Window(0.25 * n, 0.25 * (n + 1), 1, 1, rate, None, None) for n, rate in enumerate([*rates, 999.0, 999.0])
    )
    return CaseDetail(phases=(Band("baseline", 0.0, end_s), Band("fault", end_s, end_s + 1)), windows=windows)


def test_a_ratio_has_an_interval_where_the_windows_give_one() -> None:
    rated = replace(PASS, throughput=Throughput(baseline_tps=10.0, fault_tps=None, healed_tps=0.0, recovery_s=1.5))
    faster = replace(rated, throughput=Throughput(baseline_tps=20.0, fault_tps=5.0, healed_tps=3.0, recovery_s=None))
    enough = compare(
        stored([rated], details={"a.b.c": detail([10.0, 9.0, 11.0] * 6)}),
        stored([faster], details={"a.b.c": detail([20.0, 19.0, 21.0] * 6)}),
    ).cases[0]
    (rate,) = enough.rates
    assert (rate.phase, rate.ratio) == ("baseline", 2.0), "what was not measured, or was nothing, has no ratio"
    assert rate.interval is not None and 1.5 < rate.interval.low <= 2.0 <= rate.interval.high < 2.5
    assert (enough.before.recovery_s, enough.after.recovery_s) == (1.5, None)
    few = {"details": {"a.b.c": detail([10.0] * 4)}}
    for one, other in ((few, few), (few, {}), ({}, {})):
        assert compare(stored([rated], **one), stored([faster], **other)).cases[0].rates[0].interval is None


@pytest.mark.parametrize("kind", Trouble)
def test_whatever_kept_a_case_from_a_verdict_it_is_undecided(kind: Trouble) -> None:
    assert not CaseSide.of(replace(PASS, trouble=kind)).decided
