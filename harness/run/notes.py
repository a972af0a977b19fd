"""What a test worker calls of a subject, written down where the process that started it can read it afterwards."""

from __future__ import annotations

import contextlib
from pathlib import Path

from taskchaos.harness.record.layout import LOGS


def note_call(folder: Path, worker: str, what: str) -> None:
    """Note what a test worker calls now; "": nothing. What cannot be written is not known later, and that is all."""
    with contextlib.suppress(OSError):
        if what:
            _place(folder, worker).write_text(what, encoding="utf-8")
        else:
            _place(folder, worker).unlink(missing_ok=True)


def noted_call(folder: Path, worker: str) -> str:
    """What it was calling when it ended; "" if nothing."""
    try:
        return _place(folder, worker).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _place(folder: Path, worker: str) -> Path:
    return folder / LOGS / f"{worker}.calls"
