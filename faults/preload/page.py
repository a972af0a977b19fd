"""The page of memory that tells a process what to see (shim.c has the same fields), and the library that reads it."""

from __future__ import annotations

import atexit
import mmap
import shutil
import struct
import subprocess
import sys
import tempfile
from enum import IntEnum
from functools import cache
from pathlib import Path

from taskchaos.faults.base import FaultError

SOURCE = Path(__file__).with_name("shim.c")
#: The environment variable that names the page of a process.
VARIABLE = "TASKCHAOS_PAGE"
_WORD = struct.Struct("=q")
_COMPILE_S = 60.0


class Word(IntEnum):
    """The fields of a page, in the order of shim.c."""

    CLOCK_OFFSET_NS = 0
    CLOCK_READS = 1
    SYNC_ERRNO = 2
    SYNC_GOOD = 3
    SYNC_DELAY_NS = 4
    SYNCS_FAILED = 5
    SYNCS_DELAYED = 6


class ProcessPage:
    """The page of a process and of all that it forks. It is made, or made again, with nothing in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(len(Word) * _WORD.size))
        with path.open("r+b") as file:
            self._words = mmap.mmap(file.fileno(), 0)

    def __getitem__(self, word: Word) -> int:
        found: int = _WORD.unpack_from(self._words, word * _WORD.size)[0]
        return found

    def __setitem__(self, word: Word, value: int) -> None:
        _WORD.pack_into(self._words, word * _WORD.size, value)


def compiler() -> str | None:
    """The C compiler of this machine, if the library can be used on it at all."""
    return next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None) if sys.platform == "linux" else None


@cache
def library() -> Path:
    """The library, compiled once for each harness process. Raises FaultError."""
    command = compiler()
    if command is None:
        raise FaultError("no C compiler: install one (Debian: gcc libc6-dev) for faults of clocks and of syncs")
    folder = Path(tempfile.mkdtemp(prefix="taskchaos-preload-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    built = folder / "shim.so"
    argv = [command, "-O2", "-shared", "-fPIC", "-o", str(built), str(SOURCE), "-ldl"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_COMPILE_S, check=False)
    if done.returncode:
        raise FaultError(f"{command} could not compile {SOURCE.name}: {' '.join(done.stderr.split())[:300]}")
    return built
