"""Runs one sabotaged project through every front end, as a user would, and says what each of them came to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

COMMAND = str(Path(sys.executable).with_name("taskchaos"))
TIMEOUT_S = 150


class Front(StrEnum):
    """The ways to a verdict. What they come to is judged again from its folder, and has to come to the same."""

    ALONE = "-n 1"
    SIDE_BY_SIDE = "-n 2"
    SHARDS = "shards and their merge"
    PYTEST = "pytest"


@dataclass(frozen=True)
class Came:
    """What a front end came to. folder: the run that its word is about, whether it is there or not."""

    code: int
    out: str
    folder: Path
    pytest: bool = False  # whose own output has tracebacks
    judged_code: int | None = None
    judged_out: str = ""

    @property
    def verdict(self) -> dict[str, Any]:
        """verdict.json; empty without one."""
        path = self.folder / "verdict.json"
        return dict(json.loads(path.read_text())) if path.is_file() else {}

    @property
    def said(self) -> str:
        """Everything a user could read: the output and the files."""
        files = (self.folder / name for name in ("verdict.json", "summary.md", "junit.xml"))
        return self.out + "".join(path.read_text() for path in files if path.is_file())


def call(*words: str, cwd: Path, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run a command to its end: exit code and everything it printed."""
    done = subprocess.run(
        words,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT_S,
        check=False,
    )
    return done.returncode, done.stdout.decode(errors="replace")


def through(front: Front, cwd: Path, tests: Iterable[str], subjects: Iterable[str], *, parallel: int = 2) -> Came:
    """Run the tests against the subjects through a front end. parallel: of those that run several cases at a time."""
    option = "--chaos-subject" if front is Front.PYTEST else "--subject"
    came = _through(front, cwd, list(tests), [word for subject in subjects for word in (option, subject)], parallel)
    if not (came.folder / "events.jsonl").is_file():
        return came  # nothing was run
    code, out = call(COMMAND, "judge", str(came.folder), cwd=cwd)
    return replace(came, judged_code=code, judged_out=out)


def _through(front: Front, cwd: Path, tests: list[str], wanted: list[str], parallel: int) -> Came:
    run = (COMMAND, "run", *tests, *wanted)
    match front:
        case Front.PYTEST:
            pytest = (
                sys.executable,
                "-m",
                "pytest",
                "-p",
                "no:cacheprovider",
                "-n",
                str(parallel if parallel > 2 else 0),
            )
            code, out = call(*pytest, *tests, *wanted, "--chaos-out", "run", cwd=cwd)
            return Came(code, out, cwd / "run", pytest=True)
        case Front.SHARDS:
            for index in (1, 2):
                call(*run, "-n", str(parallel), "--shard", f"{index}/2", "--out", f"shards/{index}", cwd=cwd)
            (cwd / "shards").mkdir(exist_ok=True)
            code, out = call(COMMAND, "merge", "shards", "--out", "run", cwd=cwd)
            if not (cwd / "run").is_dir():  # nothing to merge: what a user reads is what the shards said
                code, out = call(*run, "-n", "1", "--shard", "1/2", "--out", "again", cwd=cwd)
        case Front.ALONE:
            code, out = call(*run, "-n", "1", "--out", "run", cwd=cwd)
        case Front.SIDE_BY_SIDE:
            code, out = call(*run, "-n", str(parallel), "--out", "run", cwd=cwd)
    return Came(code, out, cwd / "run")


def assert_no_pass(came: Came) -> None:
    """Nothing of it says that the run passed, and nothing is a traceback of taskchaos's own."""
    assert came.code != 0, came.out
    assert "PASS in" not in came.out + came.judged_out, came.out + came.judged_out
    assert came.verdict.get("outcome") != "pass", came.out
    assert came.pytest or ("Traceback" not in came.out and "INTERNALERROR" not in came.out), came.out
    assert "Traceback" not in came.judged_out and came.judged_code != 0, came.judged_out
    assert came.pytest or came.judged_code in (None, came.code), came.judged_out
