"""The terminal view, locked by snapshots, and what depends on the stream."""

from __future__ import annotations

import errno
import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import report_samples as samples

from taskchaos.harness.contract import PhaseName
from taskchaos.harness.errors import TaskchaosError
from taskchaos.harness.record import events
from taskchaos.harness.record.events import Event, FaultChanged, NotCollected, PhaseEnded, Problem
from taskchaos.harness.record.result import CaseResult
from taskchaos.harness.record.verdict import Outcome, Rule, RuleResult
from taskchaos.harness.report.ansi import Paint
from taskchaos.harness.report.run import collect
from taskchaos.harness.report.terminal import Terminal
from taskchaos.harness.verbosity import Verbosity

REPORT = Path("chaos-runs/20261123-0231-7/report.html")
GOOD = tuple(c for c in samples.cases() if c.as_expected)
Snapshot = Callable[[str, str], None]


class Tty(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


def show(found: list[Event], stream: io.StringIO | None = None, *, width: int | None = 100, **options: Any) -> str:
    stream = stream or io.StringIO()
    terminal = Terminal(stream, width=width, **options)
    for event in found:
        terminal.handle(event)
    terminal.summary(collect(found), REPORT)
    return stream.getvalue()


def test_a_plain_log_equals_the_snapshot(snapshot: Snapshot) -> None:
    snapshot("terminal.txt", show(samples.stream()))


def test_a_run_that_passes_equals_the_snapshot(snapshot: Snapshot) -> None:
    snapshot("terminal_pass.txt", show(samples.stream(GOOD)))


def test_verbose_shows_the_rules_of_passed_cases_too(snapshot: Snapshot) -> None:
    snapshot("terminal_verbose.txt", show(samples.stream(GOOD[:1]), verbosity=Verbosity.ALL))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_terminal_of_each_width_equals_the_snapshot(snapshot: Snapshot, width: int) -> None:
    snapshot(f"terminal_{width}_columns.txt", show(samples.stream(), Tty(), width=width, colour=False, live=False))


def test_a_live_terminal_with_colours_equals_the_snapshot(snapshot: Snapshot) -> None:
    text = show(samples.stream(samples.cases()[:3]), Tty())
    snapshot("terminal_live.txt", text.replace("\x1b", "<ESC>").replace("\r", "<CR>"))


def test_summary_lines_fit_the_width() -> None:
    text = show(samples.stream())
    summary = text[text.index("VERDICTS") :]
    assert max(len(line) for line in summary.splitlines()) <= 100


def test_colour_is_decided_by_stream_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    found = samples.stream(GOOD)
    assert "\x1b[3" not in show(found)
    assert "\x1b[3" in show(found, Tty())
    assert "\x1b[3" in show(found, colour=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in show(found, Tty())
    assert "\x1b[3" in show(found, Tty(), colour=True)


def test_a_dumb_terminal_is_not_redrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in show(samples.stream(GOOD), Tty(), width=None)


def test_an_encoding_without_the_marks_gets_ascii() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    terminal = Terminal(stream, width=100)
    for event in [*samples.stream(), Problem(text="naïve – ≥ 3 ✓")]:
        terminal.handle(event)
    terminal.summary(collect(samples.stream()), REPORT)
    text = raw.getvalue().decode("ascii")
    assert "+ worker_kill.tree.locked_retry" in text
    assert "x worker_kill.tree.stock_best" in text
    assert "! na?ve - >= 3 +" in text


def test_hostile_text_cannot_drive_the_terminal() -> None:
    hostile = replace(
        samples.cases()[6],
        id="a.b.\x1b[2Jevil",
        subject="\x1b[2Jevil",
        error="line one\nline two \x1b]0;title\x07",
        replay="taskchaos replay \x1b[31m",
    )
    text = show(samples.stream((hostile,)))
    assert "\x1b" not in text and "\x07" not in text
    assert "line one line two ?]0;title?" in text


def test_one_case_says_how_to_run_it_again() -> None:
    assert "Again:   taskchaos replay worker_kill.tree.locked_retry" in show(samples.stream(GOOD[:1]))


def test_a_table_wider_than_the_terminal_is_cut_into_several() -> None:
    wide: list[CaseResult] = [
        replace(GOOD[0], id=f"suite_with_a_long_name_{i}.x.s", suite=f"suite_with_a_long_name_{i}") for i in range(7)
    ]
    text = show(samples.stream(tuple(wide)))
    assert text.count("\n  subject ") == 3
    assert all(f"suite_with_a_long_name_{i}" in text for i in range(7))


def test_an_interrupted_run_equals_the_snapshot(snapshot: Snapshot) -> None:
    snapshot("terminal_interrupted.txt", show(samples.interrupted()))


def test_a_live_terminal_shows_what_it_held_back_of_an_unfinished_case() -> None:
    text = show(samples.interrupted(), Tty(), colour=False)
    at = text.index("· worker_kill.tree.interview_inside  not judged; drain when the run ended\n")
    assert "worker-2 died although no fault ended it" in text[at:]


def test_vanished_and_unproven_faults_are_alarms_and_unused_ones_are_not() -> None:
    name = "a.b.c"
    states = [(0, "proven"), (1, "unproven"), (2, "unused"), (3, "unused"), (0, "vanished"), (1, "held")]
    found: list[Event] = [
        FaultChanged(case=name, fault=n, kind="cut", target=f"worker-{n}", state="injected") for n in range(4)
    ]
    found += [
        FaultChanged(case=name, fault=n, kind="cut", target=f"worker-{n}", state=state, evidence="seen")
        for n, state in states
    ]
    found += [PhaseEnded(case=name, phase=PhaseName.FAULT, took_s=1.0, offered_tps=None, done_tps=0.0)]
    found += [
        FaultChanged(case=name, fault=n, kind="cut", target=f"worker-{n}", state="healed" if n else "heal_failed")
        for n in range(4)
    ]
    lines = show(found, colour=True, verbosity=Verbosity.ALL).splitlines()
    alarms = [line for line in lines if "\x1b[33m" in line and "fault " in line]
    assert [re.sub("\x1b\\[[0-9;]*m", "", a).removeprefix("  a.b.c  ").strip() for a in alarms] == [
        "fault 1 cut worker-1: no evidence that it bit. seen",
        "fault 0 cut worker-0: vanished before its heal. seen",
        "fault 0 cut worker-0: could not be healed.",
    ]
    [told] = [line for line in lines if "nothing used" in line]
    assert told.endswith("4/4 injected, 1/2 proven, 3/4 healed, 2 on links that nothing used")


def test_what_fails_besides_the_cases_is_said_once_and_at_once() -> None:
    gone = NotCollected(where="suites/test_x.py", reason="ModuleNotFoundError:\n nosuchmodule")
    failed = events.TestFailed(case="a.b.c", test="t.py::test_b", when="call", assertion=True, reason="assert 1 == 2")
    error = events.TestFailed(case="", test="t.py::test_c", when="teardown", assertion=False, reason="KeyError: 'x'")
    stream = io.StringIO()
    terminal = Terminal(stream, width=100)
    for event in (gone, gone, failed, error, Problem(text="odd", doubt=True), Problem(text="full", stack=True)):
        terminal.handle(event)
    assert stream.getvalue().splitlines() == [
        "! suites/test_x.py could not be collected: ModuleNotFoundError: nosuchmodule",
        "✗ a.b.c: an assertion of the test failed: assert 1 == 2",
        "! t.py::test_c: the test failed in its teardown: KeyError: 'x'",
        "? odd",
        "! full",
    ]


def test_many_rules_that_are_unknown_for_one_reason_are_one_line() -> None:
    damaged = tuple(RuleResult(rule, Outcome.UNKNOWN, "", None, "the evidence is damaged") for rule in Rule)
    case = replace(GOOD[0], rules=damaged, outcome=Outcome.UNKNOWN, as_expected=False)
    text = show(samples.judged(case))
    assert text.count("  the evidence is damaged\n") == 3, "one line for the invariants, one for each figure"
    assert "    ? all rules" in text


class Broken(io.StringIO):
    """A stream that takes so many writes."""

    def __init__(self, error: OSError, takes: int) -> None:
        super().__init__()
        self._error, self._takes = error, takes

    def write(self, text: str) -> int:
        self._takes -= 1
        if self._takes < 0:
            raise self._error
        return super().write(text)


def test_a_reader_that_has_gone_does_not_end_the_run() -> None:
    show(samples.stream(GOOD), Broken(BrokenPipeError(errno.EPIPE, "Broken pipe"), takes=2))


def test_output_that_cannot_be_written_is_said_in_one_line() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(TaskchaosError, match="the output could not be written: No space left on device"):
        show(samples.stream(GOOD), Broken(full, takes=2))


def test_letters_that_the_encoding_lacks_are_replaced() -> None:
    """KOI8-R lacks the marks, but there are encodings that have them and not all else."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="utf-8")
    terminal = Terminal(stream, width=100)
    for event in samples.judged(replace(GOOD[0], subject="no utf-8: \udcff", id="a.b.\udcff")):
        terminal.handle(event)
    terminal.handle(Problem(text="lone \ud800"))
    assert "! lone ?" in raw.getvalue().decode()
    assert Paint(encoding="koi8-r").encodable("é да") == "? да"


def test_a_run_without_cases_says_so() -> None:
    text = show(samples.frame(Problem(text="no subject is called nobody", usage=True)))
    assert "! no subject is called nobody" in text
    assert "No case was run, so nothing is proven." in text
    assert text.endswith("UNKNOWN in 43.7s: what was given cannot be used (exit code 4)\n")


def test_quiet_tells_surprises_and_what_the_run_comes_to(snapshot: Snapshot) -> None:
    text = show(samples.stream(), verbosity=Verbosity.QUIET)
    snapshot("terminal_quiet.txt", text)
    assert not [line for line in text.splitlines() if line.startswith(("✓", "⊗"))]
    quiet = show(samples.stream(GOOD), Tty(), verbosity=Verbosity.QUIET, colour=False)
    assert [line.partition(" ")[0] for line in quiet.splitlines() if line] == ["2", "!", "Report:", "PASS"]


def test_of_a_run_of_few_cases_what_failed_as_expected_is_told_too() -> None:
    caught = samples.cases()[3]
    few, many = show(samples.judged(caught)), show(samples.judged(caught, *GOOD[:2]))
    assert "3 acknowledged tasks left no effect" in few and "rules passed" in few
    assert "3 acknowledged tasks left no effect" not in many
    assert "rules passed" not in show(samples.judged(caught), verbosity=Verbosity.QUIET)
    assert "rules passed" not in show(samples.judged(GOOD[0]))
