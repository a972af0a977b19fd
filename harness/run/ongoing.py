"""Whether a run is going on: every process that runs a part of it holds a lock, which the kernel drops when it ends."""

from __future__ import annotations

import fcntl
import os
import random
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from taskchaos.harness.files import open_file

#: Locked, shared, by each process of a run.
LOCK = ".running"
#: Locked while a case runs; a run of an older release has no other.
_LOCKS = (LOCK, ".floor")
#: How often a lock is asked for until it is taken for a run's.
_ASKED = 5
_held: dict[str, IO[bytes]] = {}


def hold(folder: Path) -> None:
    """Say, until this process ends or `release` is called, that the run of this folder goes on. Idempotent."""
    name = str(folder)
    with suppress(OSError):  # a full disk is told by what the run itself writes
        if name in _held and os.path.samestat(os.fstat(_held[name].fileno()), (folder / LOCK).stat()):
            return
        lock = (folder / LOCK).open("ab")
        fcntl.flock(lock, fcntl.LOCK_SH)
        release(folder)
        _held[name] = lock


def release(folder: Path) -> None:
    """This process is done with the run of this folder. Idempotent."""
    held = _held.pop(str(folder), None)
    if held is not None:
        held.close()


def going_on(folder: Path) -> bool:
    """Whether any process runs a part of the run of this folder; also where that cannot be told."""
    return any(_locked(folder / name) for name in _LOCKS)


def _locked(path: Path) -> bool:
    """Asking takes the lock for a moment: who meets another one that asks does it again."""
    for last in (False,) * (_ASKED - 1) + (True,):
        try:
            with open_file(path) as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
        except FileNotFoundError:
            return False
        except BlockingIOError:
            if last:
                return True
            time.sleep(random.uniform(0.0005, 0.003))
        except OSError:
            return not path.exists() or path.is_file()  # what is no file is nobody's lock
    return True
