"""The library that is loaded before libc: one process sees another wall clock, and everything else is as it was."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from taskchaos.faults.base import FaultError
from taskchaos.faults.preload import page as preload
from taskchaos.faults.preload.page import VARIABLE, ProcessPage, Word, compiler, library

pytestmark = pytest.mark.usefixtures("linux")

_COMPILER = compiler()
_ASKED = (
    "import os, time; os.fork() and os.wait(); "
    "print(time.time(), time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME))"
)


def _clocks(page: ProcessPage) -> list[list[float]]:
    """What a process and its child see: the wall clock, CLOCK_MONOTONIC, CLOCK_BOOTTIME."""
    env = {**os.environ, "LD_PRELOAD": str(library()), VARIABLE: str(page.path)}
    done = subprocess.run([sys.executable, "-c", _ASKED], env=env, capture_output=True, text=True, check=True)
    return [[float(word) for word in line.split()] for line in done.stdout.splitlines()]


def test_only_the_wall_clock_is_another(tmp_path: Path, require: Callable[[str, bool, str], None]) -> None:
    """The ledger goes by CLOCK_MONOTONIC, leases of locked_retry by CLOCK_BOOTTIME: a fault of clocks moves neither."""
    require("preload", compiler() is not None, "there is no C compiler")
    page = ProcessPage(tmp_path / "process.page")
    for offset_s in (0, 3600, -3600):
        page[Word.CLOCK_OFFSET_NS], page[Word.CLOCK_READS] = offset_s * 10**9, 0
        before = time.time(), time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME)
        seen = _clocks(page)
        after = time.time(), time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME)
        assert len(seen) == 2, "the process and its child"
        assert (page[Word.CLOCK_READS] > 0) == (offset_s != 0), "reads are counted while it is wrong"
        for wall_s, monotonic_s, boot_s in seen:
            assert before[0] <= wall_s - offset_s <= after[0]
            assert before[1] <= monotonic_s <= after[1] and before[2] <= boot_s <= after[2]


def test_a_library_that_cannot_be_had_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preload, "compiler", lambda: None)
    with pytest.raises(FaultError, match="no C compiler: install one"):
        library.__wrapped__()
    broken = tmp_path / "shim.c"
    broken.write_text("no C\n")
    monkeypatch.setattr(preload, "compiler", lambda: _COMPILER)
    monkeypatch.setattr(preload, "SOURCE", broken)
    if _COMPILER:
        with pytest.raises(FaultError, match=r"could not compile shim\.c"):
            library.__wrapped__()
