"""What can stop a run, and the exit codes automation may rely on."""

from __future__ import annotations

import sys
import traceback
from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """Exit codes of `taskchaos` (docs/reference/commands.md)."""

    PASS = 0
    FAIL = 1
    UNKNOWN = 2
    STACK = 3
    USAGE = 4
    INTERRUPTED = 130


class TaskchaosError(Exception):
    """Base of the errors that are printed as one line, never as a traceback."""

    exit_code = ExitCode.STACK


class UsageError(TaskchaosError):
    """What the person gave cannot be used: an option, a subject, a plan file, a binary."""

    exit_code = ExitCode.USAGE


class SubjectError(TaskchaosError):
    """Code of the subject that the harness calls failed: no verdict about its tasks can be reached."""

    exit_code = ExitCode.UNKNOWN


class StackError(TaskchaosError):
    """The stack did not start, died under the case, or could not be healed."""

    exit_code = ExitCode.STACK


def complain(text: str) -> None:
    """Say on standard error, in one line, what went wrong."""
    text = " ".join(text.split()).replace("##[", "# #[")  # which GitHub's runner would take for a command
    shown = f"taskchaos: {text}".encode("utf-8", "replace").decode()
    print(shown, file=sys.stderr, flush=True)  # noqa: T201


def unforeseen(error: BaseException) -> str:
    """An error that nobody foresaw, and where it came up."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(frame.filename).name}:{frame.lineno})"
