"""Notices when the machine stood still or had its clock set under a case.

Leases and timeouts go by the clock on the wall, so after a suspended laptop, a frozen virtual machine or a stopped run
they have all ended at once, whoever held them: what such a case shows is no finding about the subject.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from taskchaos.harness.errors import StackError

#: Well above what a busy machine keeps a thread waiting, well below the leases of a local stack.
LONGEST_GAP_S = 1.5
LARGEST_STEP_S = 0.5
EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Clocks:
    """awake_s: goes on while the machine sleeps, and is never set. wall_s: the one that people and Redis read."""

    awake_s: float
    wall_s: float

    @classmethod
    def read(cls) -> Clocks:
        """Both, now."""
        clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        return cls(time.clock_gettime(clock), time.time())


def disturbance(before: Clocks, now: Clocks) -> str:
    """What happened between two looks that should be `EVERY_S` apart; "" for nothing."""
    gap_s = now.awake_s - before.awake_s
    if gap_s > LONGEST_GAP_S:
        return f"everything stood still for {gap_s:.1f} s: the machine slept, or somebody stopped the run"
    step_s = now.wall_s - before.wall_s - gap_s
    if abs(step_s) > LARGEST_STEP_S:
        return f"the machine's clock was set {abs(step_s):.1f} s {'forward' if step_s > 0 else 'back'}"
    return ""


class StandstillError(StackError):
    """There was a disturbance: nothing that was seen can be held against anybody."""


class Standstill:
    """Watches for as long as it is entered. Leaving it raises StandstillError, in place of what went wrong, if there
    was a disturbance. `seen`: the first one in words; "" while there was none.
    """

    def __init__(self, read: Callable[[], Clocks] = Clocks.read) -> None:
        self.seen = ""
        self._read = read
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="standstill", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._over.set()
        self._thread.join()
        if self.seen and (error is None or isinstance(error, Exception)):
            raise StandstillError(self.seen) from error

    def _watch(self) -> None:
        before = self._read()
        while not self.seen:
            over = self._over.wait(EVERY_S)
            now = self._read()
            self.seen = disturbance(before, now)
            before = now
            if over:
                return
