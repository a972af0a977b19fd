"""Lets cases run side by side, or one alone: across processes, by file locks, without starving either kind."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """Hold a place while the case runs. `alone`: wait until no other case runs and let none begin.

    Everybody passes a gate first; who waits to be alone keeps the gate closed behind itself, so newcomers queue.
    The kernel drops both locks when the process dies.
    """
    with (folder / ".gate").open("a") as gate, (folder / ".floor").open("a") as floor:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(floor, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        if not alone:
            fcntl.flock(gate, fcntl.LOCK_UN)
        yield
