"""The alarm of a case: where a process that cannot write its records still can say so.

A full disk takes no new byte, but it takes other bytes in place of those that it holds. So the file is made, and
filled, before the case begins; who cannot write its ledger writes why into it, and the harness calls the case off: what
is missing from the record must not be blamed on the subject.
"""

from __future__ import annotations

import os
from pathlib import Path

ALARM = "alarm"
_BYTES = 512
#: How a process ends that cannot even raise the alarm.
EXIT_STATUS = 74


def prepare(folder: Path) -> None:
    """Make the file, its place on the disk taken. Raises OSError."""
    fd = os.open(folder / ALARM, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        os.fchmod(fd, 0o666)  # the roles of a container are another user
        os.write(fd, b" " * _BYTES)
        os.fsync(fd)
    finally:
        os.close(fd)


def sound(folder: Path, text: str) -> None:
    """Say why records are missing. Ends the process when that is not possible: silence would be a lie."""
    line = text.encode("utf-8", "replace").replace(b"\n", b" ")[:_BYTES]
    try:
        fd = os.open(folder / ALARM, os.O_RDWR | os.O_CLOEXEC)
        try:
            if not os.pread(fd, _BYTES, 0).strip():  # the first reason is the cause of most that follow
                os.pwrite(fd, line.ljust(_BYTES), 0)
        finally:
            os.close(fd)
    except OSError:
        os._exit(EXIT_STATUS)


def raised(folder: Path) -> str:
    """Why records are missing; "" when nobody said so. A file that is gone or cannot be read is an alarm too."""
    try:
        return (folder / ALARM).read_bytes().decode("utf-8", "replace").strip()
    except OSError as error:
        return f"the alarm file cannot be read: {error.strerror}"
