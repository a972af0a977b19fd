"""The terminal view, locked by snapshots, and what depends on the stream."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import report_samples as samples

from harness.events import Event, Problem, RunEnded
from harness.report.run import collect
from harness.report.terminal import Terminal
from harness.result import CaseResult

REPORT = Path("chaos-runs/20261123-0231-7/report.html")
GOOD = tuple(c for c in samples.cases() if c.as_expected)
Snapshot = Callable[[str, str], None]


class Tty(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


def show(found: list[Event], stream: io.StringIO | None = None, *, width: int | None = 100, **options: bool) -> str:
    stream = stream or io.StringIO()
    terminal = Terminal(stream, width=width, **options)
    for event in found:
        terminal.handle(event)
    terminal.summary(collect(found), REPORT)
    return stream.getvalue()


def test_plain_log(snapshot: Snapshot) -> None:
    snapshot("terminal.txt", show(samples.stream()))


def test_all_as_expected(snapshot: Snapshot) -> None:
    snapshot("terminal_pass.txt", show(samples.stream(GOOD)))


def test_verbose_shows_the_rules_of_passed_cases_too(snapshot: Snapshot) -> None:
    snapshot("terminal_verbose.txt", show(samples.stream(GOOD[:1]), verbose=True))


def test_narrow(snapshot: Snapshot) -> None:
    snapshot("terminal_60_columns.txt", show(samples.stream()[-60:], width=60))


def test_a_live_terminal_with_colours(snapshot: Snapshot) -> None:
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


def test_the_status_line_never_exceeds_the_width_and_is_erased_at_the_end() -> None:
    stream = Tty()
    terminal = Terminal(stream, width=40, colour=False)
    for event in samples.stream():
        terminal.handle(event)
    terminal.tick()
    drawn = re.findall(r"\r\x1b\[2K([^\r\n\x1b]*)(?=\r|$)", stream.getvalue())
    assert max(len(line) for line in drawn) <= 39
    terminal.handle(RunEnded(wall_s=1.0))
    assert stream.getvalue().endswith("\x1b[2K")


def test_one_case_says_how_to_run_it_again() -> None:
    assert "Again:   taskchaos replay worker_kill.tree.locked_retry" in show(samples.stream(GOOD[:1]))


def test_a_table_wider_than_the_terminal_is_cut_into_several() -> None:
    wide: list[CaseResult] = [
        replace(GOOD[0], id=f"suite_with_a_long_name_{i}.x.s", suite=f"suite_with_a_long_name_{i}") for i in range(7)
    ]
    text = show(samples.stream(tuple(wide)))
    assert text.count("\n  subject ") == 3
    assert all(f"suite_with_a_long_name_{i}" in text for i in range(7))


def test_a_run_without_cases_says_so() -> None:
    text = show([Problem(text="no subject is called nobody", usage=True)])
    assert "! no subject is called nobody" in text
    assert "No case was run, so nothing is proven." in text
    assert text.endswith("UNKNOWN in 0.0s: what was given cannot be used (exit code 4)\n")
