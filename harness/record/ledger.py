"""The ledger: submits, deliveries, attempts, effects and claims, on a path that no fault touches.

One append-only file per process. A record is one line written by one `write(2)` to an O_APPEND descriptor, so it
survives SIGKILL of the writer from the moment the call returns (the page cache is the kernel's, not the process's)
and lines of forked children never interleave. Nothing here knows Redis, Celery or the proxy.

Line: `<kind> <t_ns> <op> <a> <b> [text]\n`; kinds are those of `RecordKind`, numbers are decimal.
"""

from __future__ import annotations

import itertools
import os
import threading
from enum import StrEnum, unique
from pathlib import Path
from typing import NamedTuple

from taskchaos.harness.clock import now_ns
from taskchaos.harness.record import alarm
from taskchaos.harness.record.history import AttemptOutcome, ClaimKind
from taskchaos.harness.record.layout import SUFFIX

#: What a column of a History can hold.
BOUND = 1 << 63
#: The attempts of one process that have tokens of their own; with the number of the process they have to fit a column.
TOKEN_BITS = 24


@unique
class RecordKind(StrEnum):
    """The record kinds and what `a` and `b` hold."""

    SUBMIT = "S"  # a = due_ns
    DROPPED = "N"  # a = due_ns; it was too late to begin it
    FINISHED = "Z"  # op = how many operations the producer's part has; it has gone through all of them
    ACKNOWLEDGED = "A"
    REFUSED = "F"  # text = why
    UNKNOWN = "U"  # text = why
    REVOKE = "V"
    HEARD = "W"  # the revoke was acknowledged
    UNHEARD = "Y"  # text = why it may not have been heard
    DELIVERY = "D"
    BEGIN = "B"  # a = attempt token, b = pid, text = the subject's fence, if it named one
    EFFECT = "E"  # a = attempt token
    END = "X"  # a = attempt token, b = AttemptOutcome
    CLAIM = "C"  # a = ClaimKind, text = why
    HELD = "H"  # a = pid; a worker process took the task
    RELEASED = "R"  # a = pid
    RELEASE = "I"  # text = which release this process is of, and its versions


_KINDS = {kind.value.encode(): kind for kind in RecordKind}


class Record(NamedTuple):
    """One line of a ledger. What `a`, `b` and `text` hold depends on the kind: see `RecordKind`."""

    kind: RecordKind
    at_ns: int
    op: int
    a: int
    b: int
    text: bytes


def parse(line: bytes) -> Record | None:
    """The record of a whole line; None if it is none."""
    try:
        kind, at, number, first, second, *text = line.split(None, 5)
        record = Record(_KINDS[kind], int(at), int(number), int(first), int(second), text[0] if text else b"")
    except (ValueError, KeyError):
        return None
    _, at_ns, op, a, b, _ = record
    sound = 0 <= at_ns < BOUND and 0 <= op < BOUND and -BOUND <= a < BOUND and -BOUND <= b < BOUND
    return record if sound else None


class Ledger:
    """Writes the records of one process; forked children get files of their own at their first record.

    pid_base: what pids are counted from. Containers have pids of their own; in the ledger each is to be unique.
    release: what the file begins with, in a case with two of them.
    Writing never raises, since it is the subject's code that would meet the error: a record that cannot be written
    sounds the alarm of the case.
    """

    def __init__(self, folder: Path, role: str, pid_base: int = 0, release: str = "") -> None:
        self.folder = folder
        self._role = role
        self._pid_base = pid_base
        self._release = release
        self._pid = -1
        self._fd = -1
        self._tokens = itertools.count()
        self._torn = False  # the last write was cut off: what follows begins a line of its own
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
            self._fd, self._torn, self._tokens = -1, False, itertools.count(number << TOKEN_BITS)
            try:
                path = self.folder / f"{self._role}.{number}{SUFFIX}"
                self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            except OSError as error:
                self._alarm(str(error.strerror))
            self._pid = pid
            if self._release:  # before any other thread gets to write
                self._write(RecordKind.RELEASE, 0, text=self._release)

    def _write(self, kind: RecordKind, op: int, a: int = 0, b: int = 0, text: str = "") -> None:
        if self._pid != os.getpid():
            self._open()
        if self._fd < 0:
            return  # the alarm was sounded when it could not be opened
        clean = " " + " ".join(text.split())[:200] if text else ""
        line = f"{kind.value} {now_ns()} {op} {a} {b}{clean}\n".encode("utf-8", "replace")
        if self._torn:
            line = b"\n" + line
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            self._alarm(str(error.strerror))
            return
        self._torn = written != len(line)
        if self._torn:
            self._alarm(f"{written} of {len(line)} bytes were written")

    def _alarm(self, why: str) -> None:
        alarm.sound(self.folder, f"{self._role} could not write to its ledger: {why}")

    def submit(self, op: int, due_ns: int) -> None:
        """The load is about to send `op`, which was due at `due_ns`."""
        self._write(RecordKind.SUBMIT, op, due_ns)

    def dropped(self, op: int, due_ns: int) -> None:
        """`op` was due at `due_ns`, and it is too late to begin it."""
        self._write(RecordKind.DROPPED, op, due_ns)

    def finished(self, operations: int) -> None:
        """This producer has gone through all of its operations, so many."""
        self._write(RecordKind.FINISHED, operations)

    def acknowledged(self, op: int) -> None:
        """The submit returned without an error."""
        self._write(RecordKind.ACKNOWLEDGED, op)

    def refused(self, op: int, why: str) -> None:
        """The submit failed in a way that is certain not to have sent anything."""
        self._write(RecordKind.REFUSED, op, text=why)

    def unknown(self, op: int, why: str) -> None:
        """The submit raised: it may have been sent or not."""
        self._write(RecordKind.UNKNOWN, op, text=why)

    def revoke(self, op: int) -> None:
        """The load is about to revoke `op`."""
        self._write(RecordKind.REVOKE, op)

    def heard(self, op: int) -> None:
        """The revoke returned without an error."""
        self._write(RecordKind.HEARD, op)

    def unheard(self, op: int, why: str) -> None:
        """The revoke raised: it may have been heard or not."""
        self._write(RecordKind.UNHEARD, op, text=why)

    def delivery(self, op: int) -> None:
        """`op` arrived at this worker."""
        self._write(RecordKind.DELIVERY, op)

    def begin(self, op: int, fence: int | None = None) -> int:
        """An execution of the body begins, under this fencing token. Returns its own token for `effect` and `end`."""
        if self._pid != os.getpid():
            self._open()
        token = next(self._tokens)
        self._write(RecordKind.BEGIN, op, token, self._pid_base + self._pid, "" if fence is None else str(fence))
        return token

    def effect(self, op: int, token: int) -> None:
        """The body changes the outside world."""
        self._write(RecordKind.EFFECT, op, token)

    def end(self, op: int, token: int, outcome: AttemptOutcome) -> None:
        """The execution ended."""
        self._write(RecordKind.END, op, token, outcome)

    def claim(self, op: int, kind: ClaimKind, why: str = "") -> None:
        """The subject says what became of `op`."""
        self._write(RecordKind.CLAIM, op, kind, text=why)

    def held(self, op: int) -> None:
        """A worker process took the task and may be busy with it, outside the body too."""
        self._write(RecordKind.HELD, op, self._pid_base + os.getpid())

    def released(self, op: int) -> None:
        """The worker process is done with the task."""
        self._write(RecordKind.RELEASED, op, self._pid_base + os.getpid())
