"""A run on a real terminal: its window is resized, its user presses Ctrl-C; what is left when it has ended."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from cli_support import COMMAND, on_terminal, set_size
from screen import Screen

RUN = [COMMAND, "run", "partition", "-s", "locked_retry", "-s", "interview_inside", "-n", "2"]


def test_a_run_leaves_a_line_for_each_case_and_its_verdict(linux: None, tmp_path: Path) -> None:
    """The window becomes narrower and wider again meanwhile."""
    widths = [50, 90]
    seen: list[str] = []

    def resize(screen: Screen, fd: int, pid: int) -> None:
        seen.append(screen.text)
        if widths and "of 2, about" in screen.text:
            screen.resize(widths[0])
            set_size(fd, widths.pop(0))

    screen = on_terminal(RUN, 80, tmp_path, resize)
    lines = screen.text.splitlines()
    assert not widths and screen.code == 0
    assert any("  partition.replies_lost.interview_inside  fault" in text for text in seen)
    marked = [line.split()[1] for line in lines if line.startswith(("✓", "⊗"))]
    assert sorted(marked) == ["partition.replies_lost.interview_inside", "partition.replies_lost.locked_retry"]
    assert "━" not in screen.text and "about" not in screen.text
    assert lines[-1].startswith("PASS in ") and screen.column == 0


def test_after_ctrl_c_the_terminal_is_whole(linux: None, tmp_path: Path) -> None:
    pressed: list[bool] = []
    seen: list[str] = []

    def press(screen: Screen, fd: int, pid: int) -> None:
        seen.append(screen.text)
        if not pressed and "fault" in screen.text:
            pressed.append(True)
            os.write(fd, b"\x03")

    screen = on_terminal(RUN, 80, tmp_path, press)
    assert screen.code == 130
    assert any("ending: faults are healed" in text for text in seen)
    assert "━" not in screen.text and "about" not in screen.text and "ending" not in screen.text
    assert screen.text.splitlines()[-1].startswith("INTERRUPTED after ") and screen.column == 0


def test_a_run_that_is_killed_leaves_the_cursor_on_a_line_of_its_own(linux: None, tmp_path: Path) -> None:
    def kill(screen: Screen, fd: int, pid: int) -> None:
        if "baseline" in screen.text:
            os.kill(pid, signal.SIGKILL)

    screen = on_terminal(RUN, 80, tmp_path, kill)
    assert screen.code == -signal.SIGKILL
    assert screen.lines[-1] == "" and screen.column == 0
