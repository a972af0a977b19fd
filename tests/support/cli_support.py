"""Runs the `taskchaos` command as a person does: as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
