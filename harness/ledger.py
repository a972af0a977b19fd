"""The ledger: submits, deliveries, attempts, effects and claims, on a path that no fault touches.

One append-only file per process. A record is one line written by one `write(2)` to an O_APPEND descriptor, so it
survives SIGKILL of the writer from the moment the call returns (the page cache is the kernel's, not the process's)
and lines of forked children never interleave. Nothing here knows Redis, Celery or the proxy.

Line: `<kind> <t_ns> <op> <a> <b> [text]\n`; kinds are those of `Kind`, numbers are decimal.
"""

from __future__ import annotations

import itertools
import os
import threading
from enum import StrEnum
from pathlib import Path

from harness.clock import now_ns
from harness.history import AttemptOutcome, ClaimKind

SUFFIX = ".ledger"


class Kind(StrEnum):
    """The record kinds and what `a` and `b` hold."""

    SUBMIT = "S"  # a = due_ns
    ACKNOWLEDGED = "A"
    REFUSED = "F"  # text = why
    UNKNOWN = "U"  # text = why
    DELIVERY = "D"
    BEGIN = "B"  # a = attempt token, b = pid, text = the subject's fence, if it named one
    EFFECT = "E"  # a = attempt token
    END = "X"  # a = attempt token, b = AttemptOutcome
    CLAIM = "C"  # a = ClaimKind, text = why
    HELD = "H"  # a = pid; a worker process took the task
    RELEASED = "R"  # a = pid


class Ledger:
    """Writes the records of one process; forked children get files of their own at their first record.

    pid_base: what pids are counted from. Containers have pids of their own; in the ledger each is to be unique.
    """

    def __init__(self, folder: Path, role: str, pid_base: int = 0) -> None:
        self._folder = folder
        self._role = role
        self._pid_base = pid_base
        self._pid = -1
        self._fd = -1
        self._tokens = itertools.count()
        self._opening = threading.Lock()

    def _open(self) -> None:
        """Open this process's file. A fork inherits the descriptor but not the right to the file."""
        with self._opening:
            pid = os.getpid()
            if self._pid == pid:
                return
            if self._fd >= 0:
                os.close(self._fd)
            number = self._pid_base + pid
            path = self._folder / f"{self._role}.{number}{SUFFIX}"
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            self._tokens = itertools.count(number << 32)
            self._pid = pid

    def _write(self, kind: Kind, op: int, a: int = 0, b: int = 0, text: str = "") -> None:
        if self._pid != os.getpid():
            self._open()
        clean = " " + " ".join(text.split())[:200] if text else ""
        os.write(self._fd, f"{kind.value} {now_ns()} {op} {a} {b}{clean}\n".encode())

    def submit(self, op: int, due_ns: int) -> None:
        """The load is about to send `op`, which was due at `due_ns`."""
        self._write(Kind.SUBMIT, op, due_ns)

    def acknowledged(self, op: int) -> None:
        """The submit returned without an error."""
        self._write(Kind.ACKNOWLEDGED, op)

    def refused(self, op: int, why: str) -> None:
        """The submit failed in a way that is certain not to have sent anything."""
        self._write(Kind.REFUSED, op, text=why)

    def unknown(self, op: int, why: str) -> None:
        """The submit raised: it may have been sent or not."""
        self._write(Kind.UNKNOWN, op, text=why)

    def delivery(self, op: int) -> None:
        """`op` arrived at this worker."""
        self._write(Kind.DELIVERY, op)

    def begin(self, op: int, fence: int | None = None) -> int:
        """An execution of the body begins, under this fencing token. Returns its own token for `effect` and `end`."""
        if self._pid != os.getpid():
            self._open()
        token = next(self._tokens)
        self._write(Kind.BEGIN, op, token, self._pid_base + self._pid, "" if fence is None else str(fence))
        return token

    def effect(self, op: int, token: int) -> None:
        """The body changes the outside world."""
        self._write(Kind.EFFECT, op, token)

    def end(self, op: int, token: int, outcome: AttemptOutcome) -> None:
        """The execution ended."""
        self._write(Kind.END, op, token, outcome)

    def claim(self, op: int, kind: ClaimKind, why: str = "") -> None:
        """The subject says what became of `op`."""
        self._write(Kind.CLAIM, op, kind, text=why)

    def held(self, op: int) -> None:
        """A worker process took the task and may be busy with it, outside the body too."""
        self._write(Kind.HELD, op, self._pid_base + os.getpid())

    def released(self, op: int) -> None:
        """The worker process is done with the task."""
        self._write(Kind.RELEASED, op, self._pid_base + os.getpid())
