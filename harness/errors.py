"""What can stop a run, and the exit codes automation may rely on."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of `taskchaos` (DESIGN section 6)."""

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
