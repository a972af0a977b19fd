"""Lets cases run side by side, or one alone: across processes, by file locks, without starving either kind."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO


class Turn:
    """A place while a case runs. The kernel drops it when the process dies.

    waited_s: how long the case waited in the middle, to be alone.
    """

    def __init__(self, gate: IO[bytes], floor: IO[bytes]) -> None:
        self._gate = gate
        self._floor = floor
        self.waited_s = 0.0

    def enter(self, *, alone: bool) -> None:
        """Wait for a place. `alone`: until no other case runs, and let none begin."""
        # Who waits to be alone keeps the gate closed behind itself, so newcomers queue.
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        fcntl.flock(self._floor, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        if not alone:
            fcntl.flock(self._gate, fcntl.LOCK_UN)

    def leave(self) -> None:
        """Give the place up."""
        for lock in (self._floor, self._gate):
            fcntl.flock(lock, fcntl.LOCK_UN)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Be alone for a part of the case: what comes before may run beside others, and what is left is idle."""
        began_s = time.monotonic()
        self.leave()
        self.enter(alone=True)
        self.waited_s += time.monotonic() - began_s
        try:
            yield
        finally:
            self.leave()


@contextlib.contextmanager
def slot(folder: Path, *, alone: bool) -> Iterator[Turn]:
    """Hold a place while the case runs, alone or beside others."""
    with (folder / ".gate").open("ab") as gate, (folder / ".floor").open("ab") as floor:
        place = Turn(gate, floor)
        place.enter(alone=alone)
        yield place
