"""Whatever makes the exit code of a run other than 0 is named in every view; one reason at a time, and none hidden."""

from __future__ import annotations

import html as markup
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import report_samples as samples

from taskchaos.harness.errors import ExitCode
from taskchaos.harness.record import events
from taskchaos.harness.record.events import (
    CasesCollected,
    Event,
    NotCollected,
    Problem,
    RunEnded,
    RunStarted,
    ShardsMerged,
)
from taskchaos.harness.record.result import CaseResult, Missing, RunResult, Trouble
from taskchaos.harness.report import html, json_file, junit, markdown
from taskchaos.harness.report.run import Collector, collect
from taskchaos.harness.report.terminal import Terminal

GOOD = samples.cases()[0]
BY_ID = {c.id: c for c in samples.cases()}
STANDINGS = samples.by_standing()


def terminal(result: RunResult) -> str:
    stream = io.StringIO()
    Terminal(stream, width=100).summary(result, Path("report.html"))
    return " ".join(stream.getvalue().split())  # reasons are wrapped


def page(result: RunResult) -> str:
    text = html.render(result, {})
    shown = text[text.index("<body>") : text.index("<script>")]
    return " ".join(markup.unescape(re.sub("<[^>]+>", " ", shown.replace("<wbr>", ""))).split())


VIEWS: Mapping[str, Callable[[RunResult], str]] = {
    "terminal": terminal,
    "verdict.json": lambda result: json_file.dumps(result).replace("\\n", " "),
    "junit.xml": lambda result: markup.unescape(junit.dumps(result)),
    "summary.md": lambda result: markdown.dumps(result).replace("\\", ""),
    "report.html": page,
}


@dataclass(frozen=True)
class Reason:
    """A run that is not green for one reason. names: what every view has to say; shown: what all but JSON say too."""

    code: ExitCode
    names: Sequence[str]
    found: Sequence[Event]
    shown: Sequence[str] = ()


def judged(case: CaseResult) -> list[Event]:
    return samples.judged(GOOD, case)


def with_event(*found: Event) -> list[Event]:
    """A green run and something besides."""
    return [*samples.judged(GOOD)[:-1], *found, RunEnded(at_ns=samples.T0, wall_s=2.0, status=1)]


def failed(*, case: str = "", assertion: bool, when: str = "call") -> events.TestFailed:
    return events.TestFailed(
        case=case, test="suites/test_own.py::test_sums", when=when, assertion=assertion, reason="it broke badly"
    )


def trouble(kind: Trouble) -> Reason:
    case = replace(GOOD, id="a.b.broken", rules=(), as_expected=False, error="the cause of it all", trouble=kind)
    said = {Trouble.STACK: "the stack failed", Trouble.SUBJECT: "the subject's own code failed"}
    code = ExitCode.STACK if kind is Trouble.STACK else ExitCode.UNKNOWN
    shown = [said.get(kind, "the test's own code failed")]
    return Reason(code, ["a.b.broken", "the cause of it all"], judged(case), shown)


MISSED = BY_ID["partition.black_hole.interview_inside"]
LOST = BY_ID["worker_kill.tree.stock_best"]
UNPROVEN = BY_ID["partition.black_hole.locked_retry"]
PLANNED = CasesCollected(at_ns=samples.T0, count=2, cases=(GOOD.id, "a.b.never"))
FILE = "suites/test_partition.py"
UNEXPLAINED = "pytest ended with exit code 1, which no case and no test explains"
REASONS: Mapping[str, Reason] = {
    "unexpected fail": Reason(ExitCode.FAIL, [LOST.id, "lost", "3 acknowledged tasks left"], judged(LOST)),
    "missed control": Reason(ExitCode.FAIL, [MISSED.id], judged(MISSED), ["the suite cannot see what it is for"]),
    "unknown rule": Reason(ExitCode.UNKNOWN, [UNPROVEN.id, "0 of 1 faults proven"], judged(UNPROVEN)),
    **{f"trouble {kind}": trouble(kind) for kind in (Trouble.STACK, Trouble.SUBJECT, Trouble.SUITE)},
    "never started": Reason(
        ExitCode.UNKNOWN, ["a", "b.never", "was never started"], [e if not isinstance(e, CasesCollected) else PLANNED
                                                              for e in samples.judged(GOOD)]
    ),
    "assertion": Reason(
        ExitCode.FAIL,
        [GOOD.id, "it broke badly"],
        with_event(failed(case=GOOD.id, assertion=True)),
        ["the verdict was pass, but an assertion of the suite failed"],
    ),
    "failed test without a case": Reason(
        ExitCode.FAIL, ["suites/test_own.py", "test_sums", "it broke badly"], with_event(failed(assertion=True))
    ),
    "test without a case in error": Reason(
        ExitCode.UNKNOWN,
        ["suites/test_own.py", "test_sums", "it broke badly (in its setup)"],
        with_event(failed(assertion=False, when="setup")),
        ["failed with an error"],
    ),
    "error of the test after an unexpected verdict": Reason(
        ExitCode.FAIL,
        [LOST.id, "test_sums", "it broke badly (in its teardown)"],
        [*judged(LOST)[:-1], failed(case=LOST.id, assertion=False, when="teardown"), RunEnded(wall_s=1.0)],
    ),
    "not collected": Reason(
        ExitCode.UNKNOWN,
        [FILE, "No module named 'nosuchmodule'"],
        [*samples.stream((GOOD,)), NotCollected(where=FILE, reason="No module named 'nosuchmodule'")],
        ["could not be collected"],
    ),
    "nothing collected": Reason(
        ExitCode.USAGE,
        [FILE, "No module named 'nosuchmodule'"],
        samples.frame(NotCollected(where=FILE, reason="No module named 'nosuchmodule'")),
        ["could not be collected"],
    ),
    "doubt": Reason(ExitCode.UNKNOWN, ["half is gone"], with_event(Problem(text="half is gone", doubt=True))),
    "usage problem": Reason(ExitCode.USAGE, ["no such thing"], with_event(Problem(text="no such thing", usage=True))),
    "stack problem": Reason(ExitCode.STACK, ["no room left"], with_event(Problem(text="no room left", stack=True))),
    "incomplete merge": Reason(
        ExitCode.UNKNOWN,
        ["shard 2/3", "no run folder of it was given"],
        with_event(ShardsMerged(count=3, missing=(Missing("shard 2/3", "no run folder of it was given"),))),
    ),
    "interrupted": Reason(
        ExitCode.INTERRUPTED,
        [samples.interrupted()[1].cases[2], "was never started"],  # type: ignore[attr-defined]
        samples.interrupted(),
        ["12.3s: 2 of 5 cases were judged"],
    ),
    "unreadable lines": Reason(
        ExitCode.UNKNOWN, ["3 lines of events.jsonl cannot be read"], with_event(events.Unreadable(at_ns=0, lines=3))
    ),
    "status of pytest": Reason(ExitCode.UNKNOWN, [UNEXPLAINED], with_event()),
    "no beginning": Reason(
        ExitCode.UNKNOWN,
        ["the record of the run has no beginning"],
        [e for e in samples.judged(GOOD) if not isinstance(e, RunStarted)],
    ),
    "no end": Reason(
        ExitCode.UNKNOWN,
        ["the run was cut off: its end is not recorded"],
        [e for e in samples.judged(GOOD) if not isinstance(e, RunEnded)],
    ),
    "cases that are not in the record": Reason(
        ExitCode.UNKNOWN,
        ["4 of the cases that were collected are not in the record"],
        [replace(e, count=5) if isinstance(e, CasesCollected) else e for e in samples.judged(GOOD)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", REASONS)
def test_every_reason_is_named_in_every_view(name: str, view: str) -> None:
    reason = REASONS[name]
    result = collect(reason.found)
    assert result.exit_code == reason.code
    text = VIEWS[view](result)
    # An interrupted run's rest is counted on a terminal and in a summary, and listed where there is room.
    listed = reason.code is not ExitCode.INTERRUPTED or view in ("verdict.json", "junit.xml", "report.html")
    missing = [words for words in reason.names if listed and words not in text]
    missing += [words for words in reason.shown if view != "verdict.json" and words not in text]
    assert not missing, f"not in {view}: {missing}\n{text}"


@pytest.mark.parametrize("name", REASONS)
def test_a_run_that_is_not_green_is_red_in_junit(name: str) -> None:
    root = ET.fromstring(junit.dumps(collect(REASONS[name].found)).encode())
    red = [e for tag in ("failure", "error") for e in root.iter(tag)]
    assert red and all(e.get("message") and e.get("type") for e in red)
    for suite in (root, *root):
        for key, tag in (("failures", "failure"), ("errors", "error")):
            assert suite.get(key) == str(len(list(suite.iter(tag))))
    assert all(suite.get("skipped") == str(len(list(suite.iter("skipped")))) for suite in root)


@pytest.mark.parametrize("name", REASONS)
def test_the_meaning_of_the_exit_code_fits_the_reason(name: str) -> None:
    reason = REASONS[name]
    last = terminal(collect(reason.found)).rpartition("Again:")[2]
    assert f"(exit code {reason.code.value})" in last
    stack = "stack" in name
    assert ("the stack failed" in last) == stack
    assert ("assertion of a suite" in last) == (name in ("assertion", "failed test without a case"))


def test_a_green_run_names_no_reason() -> None:
    result = collect(samples.judged(GOOD))
    assert result.exit_code == 0
    assert ET.fromstring(junit.dumps(result).encode()).find(".//testcase[@name='run']") is None
    assert "The run as a whole" not in page(result) + markdown.dumps(result)


def test_a_mere_notice_is_in_every_view_and_red_in_none() -> None:
    result = collect([*samples.judged(GOOD), Problem(text="a producer was late")])
    assert result.exit_code == 0
    assert all("a producer was late" in view(result) for view in VIEWS.values())
    root = ET.fromstring(junit.dumps(result).encode())
    assert (root.get("failures"), root.get("errors"), root.get("tests")) == ("0", "0", "2")


def test_an_interrupted_run_says_what_it_came_to_and_how_to_go_on() -> None:
    text = terminal(collect(samples.interrupted()))
    assert text.endswith("INTERRUPTED after 12.3s: 2 of 5 cases were judged (exit code 130)")
    assert "STACK" not in text and "No control was run, 2 subject cases passed, 0 surprises." in text
    assert "Exit code 130: interrupted after 12.3s: 2 of 5 cases were judged." in page(collect(samples.interrupted()))
    again = "Again: taskchaos replay 20261123-0231-7/worker_kill.tree.interview_inside Again: taskchaos run worker_kill"
    assert again in text, "what began, by its plan; what did not, by the command of the run"


def test_a_run_interrupted_at_once_says_so() -> None:
    start, *_ = samples.stream(())
    text = terminal(collect([start, RunEnded(at_ns=samples.T0 + 400 * samples.MS, wall_s=0.4, interrupted=True)]))
    assert text.startswith("No case was judged.")
    assert text.endswith("INTERRUPTED after 0.4s: no case was judged (exit code 130)")


def test_the_replay_of_a_case_without_a_verdict_names_the_run_folder(tmp_path: Path) -> None:
    collector = Collector(tmp_path / "my run")
    for event in samples.interrupted():
        collector.handle(event)
    [begun] = [c for c in collector.result().cases if c.replay and c.trouble]
    assert begun.replay == f"taskchaos replay '{tmp_path}/my run/cases/{begun.id}'"
