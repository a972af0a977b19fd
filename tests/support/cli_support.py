"""Runs the `taskchaos` command as a person does: as a process of its own."""

from __future__ import annotations

import codecs
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from screen import Screen

COMMAND = str(Path(sys.executable).with_name("taskchaos"))
TIMEOUT_S = 150


@dataclass(frozen=True)
class Done:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def error_line(self) -> str:
        """The only line on standard error; fails when there are more, or a traceback."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.out + self.err
        return lines[0]


def taskchaos(*arguments: str, cwd: Path | None = None, timeout_s: float = TIMEOUT_S) -> Done:
    """Run the command to its end."""
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    done = subprocess.run(
        [COMMAND, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=timeout_s,
        env=environment,
        stdin=subprocess.DEVNULL,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def on_terminal(
    command: Sequence[str],
    width: int,
    cwd: Path | None = None,
    then: Callable[[Screen, int, int], None] = lambda screen, fd, pid: None,
) -> Screen:
    """Run a command on a terminal of this width to its end, and return the screen.

    then: what the user does, called with each thing that is written: given the screen, the terminal and the process.
    """
    pid, fd = pty.fork()
    if pid == 0:
        # As from a terminal: whoever runs the tests in the background has SIGINT ignored, and children inherit that.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.environ.update(TERM="xterm-256color", PYTHONIOENCODING="utf-8")
        for name in ("COLUMNS", "LINES", "NO_COLOR", "GITHUB_ACTIONS"):
            os.environ.pop(name, None)
        os.chdir(cwd or ".")
        set_size(0, width)
        os.execv(command[0], command)
    screen, decoder, text = Screen(width), codecs.getincrementaldecoder("utf-8")(), ""
    try:
        while data := _read(fd):
            text += decoder.decode(data).replace("\r\n", "\n")
            whole = text[: text.rfind("\n") + 1]
            text = text[len(whole) :]
            screen.feed(whole)
            then(screen, fd, pid)
        screen.feed(text)
    finally:
        os.close(fd)
        _, status = os.waitpid(pid, 0)
    screen.code = os.waitstatus_to_exitcode(status)
    return screen


def set_size(fd: int, width: int, rows: int = 24) -> None:
    """Make a terminal as wide and as high."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, width, 0, 0))


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 1 << 16)
    except OSError:  # nobody has the terminal open any more
        return b""


def verdict(folder: Path) -> dict[str, Any]:
    """verdict.json of a run."""
    loaded: dict[str, Any] = json.loads((folder / "verdict.json").read_text())
    return loaded


def rule(case: dict[str, Any], name: str) -> dict[str, Any]:
    """One rule of a case."""
    found: dict[str, Any] = next(r for r in case["rules"] if r["rule"] == name)
    return found


def run_mine(folder: Path, suite: str, subject: str) -> tuple[Done, dict[str, Any]]:
    """Run a suite against a subject, whose class is `Mine`: how it ended, and verdict.json."""
    (folder / "test_mine.py").write_text(suite)
    (folder / "mine.py").write_text(subject)
    out = folder / "run"
    done = taskchaos("run", "test_mine.py", "-s", "mine.py:Mine", "-n", "1", "--out", str(out), cwd=folder)
    return done, verdict(out)
