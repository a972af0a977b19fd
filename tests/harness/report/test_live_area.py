"""The live area as a user sees it: on a screen that is as narrow, as resized and as interrupted as theirs."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import report_samples as samples
from screen import Screen

from taskchaos.harness.contract import PhaseName
from taskchaos.harness.fitting import columns_of
from taskchaos.harness.record.events import (
    CaseDisturbed,
    CaseJudged,
    CasesCollected,
    Event,
    PhaseBegan,
    Problem,
    RunEnded,
    RunStarted,
)
from taskchaos.harness.report import terminal as terminal_module
from taskchaos.harness.report.ansi import Paint
from taskchaos.harness.report.progress import Progress
from taskchaos.harness.report.run import collect
from taskchaos.harness.report.terminal import Terminal
from taskchaos.harness.verbosity import Verbosity

Snapshot = Callable[[str, str], None]
GOOD = samples.cases()[0]


class Tty(io.StringIO):
    """A terminal; what is written can be taken out."""

    def isatty(self) -> bool:
        return True

    def taken(self) -> str:
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return text


def shown(found: list[Event], width: int, **options: Any) -> str:
    """What is on the screen after these events."""
    stream, screen = Tty(), Screen(width)
    terminal = Terminal(stream, width=width, **options)
    for event in found:
        terminal.handle(event)
        screen.feed(stream.taken())
    return screen.text


def plan(*costs_s: float) -> list[Event]:
    """A run of as many cases, before any has begun."""
    head = samples.stream(())[0]
    assert isinstance(head, RunStarted)
    names = tuple(f"partition.replies_lost_number_{n}.locked_retry" for n in range(len(costs_s)))
    return [
        replace(head, workers=5),
        CasesCollected(at_ns=samples.T0, count=len(names), cases=names, costs_s=costs_s),
    ]


def running(count: int) -> list[Event]:
    """A run of 12 cases in which so many run."""
    found = plan(*[8.0] * 12)
    assert isinstance(found[1], CasesCollected)
    for name in found[1].cases[:count]:
        found += samples.case_events(replace(GOOD, id=name), samples.T0)[:4]
    return found


def halfway() -> list[Event]:
    """The events of the samples, in which three cases are done and a fourth runs."""
    found = samples.stream()
    judged = [i for i, event in enumerate(found) if isinstance(event, CaseJudged)]
    return found[: judged[3]]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_screen_of_each_width_equals_the_snapshot(snapshot: Snapshot, width: int) -> None:
    snapshot(f"screen_{width}_columns.txt", shown(halfway(), width) + "\n")


@pytest.mark.parametrize("width", [10, 20, 40, 60, 80, 120, 200])
@pytest.mark.parametrize("rows", [2, 9, 24, 60])
def test_no_line_of_the_area_is_ever_wrapped(width: int, rows: int) -> None:
    progress = Progress()
    for event in running(12):
        progress.handle(event)
        lines = progress.lines(samples.T0 + 3_000_000_000, Paint(), os.terminal_size((width, rows)))
        screen = Screen(width).feed("".join(f"{text}\n" for _, text in lines))
        assert screen.wrapped == 0 and len(lines) < max(rows / 2, 2)
        assert [needed for needed, _ in lines] == [columns_of(line) for line in screen.lines[:-1]]
        assert all(needed < width for needed, _ in lines)
    assert screen.lines[0] if width < 20 else "0 of 12" in screen.text


def test_cases_that_run_have_a_line_each_as_far_as_a_third_of_the_rows_will_do() -> None:
    few, many = shown(running(5), 80).splitlines(), shown(running(12), 80).splitlines()
    assert sum("baseline" in line for line in few) == 5
    assert sum("baseline" in line for line in many) == 6
    assert many[-1] == "  … 6 more"


def test_what_has_a_wide_letter_is_not_wrapped_either() -> None:
    found = [replace(e, case="日" * 60) if isinstance(e, PhaseBegan) else e for e in running(1)]
    assert "日日" in shown(found, 40, live=True)


def test_nothing_of_the_area_is_left_at_the_end() -> None:
    for end in (RunEnded(wall_s=1.0), RunEnded(wall_s=1.0, interrupted=True)):
        stream, screen = Tty(), Screen(80)
        terminal = Terminal(stream, width=80)
        found = [*running(5), end]
        for event in found:
            terminal.handle(event)
        terminal.summary(collect(found), Path("report.html"))
        screen.feed(stream.getvalue())
        assert "━" not in screen.text and "about" not in screen.text
        assert (screen.row, screen.column) == (len(screen.lines) - 1, 0)


def test_nothing_hides_the_cursor_so_nothing_has_to_bring_it_back() -> None:
    stream = Tty()
    terminal = Terminal(stream, width=80)
    for event in running(5):
        terminal.handle(event)
    assert "\x1b[?" not in stream.getvalue()
    assert stream.getvalue().endswith("\n"), (
        "whoever writes next begins a line of their own, whatever ends this process"
    )


@pytest.mark.parametrize("widths", [(80, 50), (80, 33), (120, 40), (50, 110)])
def test_nothing_of_the_area_is_left_when_the_window_is_resized(
    monkeypatch: pytest.MonkeyPatch, widths: tuple[int, int]
) -> None:
    sizes = [widths[0]]
    monkeypatch.setattr(terminal_module, "size_of", lambda *_: os.terminal_size((sizes[-1], 24)))
    stream, screen = Tty(), Screen(widths[0])
    terminal = Terminal(stream, colour=False)
    for event in running(5):
        terminal.handle(event)
    screen.feed(stream.taken())
    before = screen.text.count("0 of 12")
    screen.resize(widths[1])
    sizes.append(widths[1])
    terminal.handle(Problem(at_ns=samples.T0, text="hello"))
    screen.feed(stream.taken())
    assert before == screen.text.count("0 of 12") == 1
    assert screen.text.count("baseline") <= 5
    assert "! hello" in screen.text and "5 at a time" in screen.text, "and nothing else is erased"


def test_after_the_shell_has_written_the_area_is_drawn_below() -> None:
    stream, screen = Tty(), Screen(80)
    terminal = Terminal(stream, width=80)
    for event in running(2):
        terminal.handle(event)
    screen.feed(stream.taken()).feed("[1]+ Stopped\n$ fg\n")
    terminal.redraw()
    terminal.tick()
    screen.feed(stream.taken())
    assert "$ fg" in screen.text
    assert screen.text.rindex("of 12") > screen.text.index("$ fg")


def test_a_wish_to_end_is_said() -> None:
    stream, screen = Tty(), Screen(100)
    terminal = Terminal(stream, width=100)
    for event in running(2):
        terminal.handle(event)
    terminal.tick(ending=True)
    screen.feed(stream.taken())
    assert "ending: faults are healed, what has finished is judged; Ctrl-C again ends it at once" in screen.text


def disturbed() -> tuple[list[Event], list[Event]]:
    """A case up to its first verdict, which is no finding, and its second try."""
    first = samples.cases()[4]
    name = first.id
    one, two = samples.case_events(first, samples.T0), samples.case_events(replace(GOOD, id=name, tries=2), samples.T0)
    again = CaseDisturbed(at_ns=samples.T0, case=name, reason="the machine was too busy to offer the load")
    head = [*samples.stream(())[:1], CasesCollected(at_ns=samples.T0, count=1, cases=(name,), costs_s=(7.0,))]
    return [*head, *one[:-1], again, one[-1]], two


def test_a_disturbed_case_is_tried_again_and_told_once() -> None:
    first, second = disturbed()
    assert isinstance(first[-1], CaseJudged)
    at_first = shown(first, 100)
    assert "0 of 1" in at_first and "disturbed, trying again" in at_first
    assert "unknown" not in at_first and "surprise" not in at_first
    assert "disturbed, trying again: baseline" in shown([*first, *second[:3]], 100)
    whole = shown([*first, *second], 100)
    assert whole.count(GOOD.id.split(".")[0]) == 0
    assert whole.count("partition.black_hole.locked_retry") == 1
    assert "✓ partition.black_hole.locked_retry  pass, at try 2" in whole


def test_a_log_tells_a_disturbed_case_once_too() -> None:
    first, second = disturbed()
    for verbosity, times in ((Verbosity.USUAL, 0), (Verbosity.ALL, 1)):
        stream = io.StringIO()
        terminal = Terminal(stream, width=100, verbosity=verbosity)
        for event in [*first, *second]:
            terminal.handle(event)
        assert stream.getvalue().count("disturbed, trying again: the machine was too busy") == times
        assert stream.getvalue().count("✓ partition.black_hole.locked_retry") == 1
        assert "?" not in stream.getvalue()


def test_a_log_says_now_and_then_how_far_the_run_is() -> None:
    stream = io.StringIO()
    terminal = Terminal(stream, width=100)
    for event in running(2):
        terminal.handle(event)
    assert "of 12" not in stream.getvalue()
    second_ns = 1_000_000_000
    begun = PhaseBegan(at_ns=samples.T0, case="partition.x.y", phase=PhaseName.DRAIN, planned_s=None)
    for seconds in (10, 29, 31, 45, 59, 62):
        terminal.handle(replace(begun, at_ns=samples.T0 + seconds * second_ns))
    lines = [line for line in stream.getvalue().splitlines() if "of 12" in line]
    assert len(lines) == 2
    assert lines[0].startswith("- 0 of 12, about ") and lines[0].endswith(", partition.x.y: drain")


def test_a_terminal_that_lacks_the_letters_gets_ascii() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    terminal = Terminal(stream, width=60, live=True, colour=False)
    for event in [*running(5), replace(samples.stream()[-2], at_ns=samples.T0 + 20_000_000_000)]:
        terminal.handle(event)
    screen = Screen(60).feed(raw.getvalue().decode("ascii"))
    assert "####" in screen.text and "----" in screen.text
    assert screen.wrapped <= 1, "the problem is longer than the line"


@pytest.mark.parametrize("width", [50, 80, 89])
def test_all_rules_of_a_case_are_paragraphs_on_a_narrow_terminal(width: int) -> None:
    found = samples.stream(samples.cases()[:1])
    shown_rules = shown(found, width, verbosity=Verbosity.ALL)
    rules = samples.cases()[0].rules
    assert "demanded" not in shown_rules and "INVARIANTS" not in shown_rules
    assert all(rule.rule.value in shown_rules for rule in rules)
    assert shown_rules.count("not claimed: ") == 1
    assert all(columns_of(line) <= width for line in shown_rules.splitlines() if not line.startswith("Again"))
    assert "demanded" in shown(found, 90, verbosity=Verbosity.ALL)
