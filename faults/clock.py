"""The clock on the wall of one role is wrong: a worker's, a producer's, or Redis's own.

Only CLOCK_REALTIME is: what a process measures durations by (CLOCK_MONOTONIC) goes on as it was, as it does when NTP or
a person sets a clock. The ledger is kept by that one, and so are the harness's own clocks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Protocol

from taskchaos.faults.base import Ability, Evidence, Fault, FaultError, On, Undo
from taskchaos.faults.bounds import Whole
from taskchaos.faults.draw import Draw
from taskchaos.faults.preload.page import ProcessPage, Word

#: Ten years: so far a clock may be wrong.
MOST_MS = 10 * 365 * 86_400_000
_NS_PER_MS = 1_000_000


class Clocked(Protocol):
    """Whose clock can be set."""

    @property
    def name(self) -> str:
        """The role."""

    def page(self) -> ProcessPage:
        """What its process is made to see. Raises FaultError when it was not started for that."""


@dataclass
class ClockWrong(Fault):
    """The clock of a role is set, forward or back, and set right again when healed. Jumps are several of these."""

    kind: ClassVar[str] = "clock"
    on: ClassVar[On] = On.CLOCK
    summary: ClassVar[str] = "the wall clock of a worker, a producer or Redis is wrong by `offset_ms`, and no other"
    drawn: ClassVar[Draw] = Draw((0.5, 3.0), {"offset_ms": (-3_600_000, -5000, 5000, 3_600_000)}, starves=False)
    needs: ClassVar[frozenset[Ability]] = frozenset({Ability.PRELOAD})
    role: Clocked
    offset_ms: Annotated[int, Whole(-MOST_MS, MOST_MS, never=(0,))] = 3_600_000
    _before: int | None = field(default=None, init=False)
    _there: bool = field(default=False, init=False)

    @property
    def target(self) -> str:
        return self.role.name

    def undo(self) -> Undo:
        return Undo("nothing: only the process sees that clock", self.target)

    def inject(self) -> None:
        page = self.role.page()
        if page[Word.CLOCK_OFFSET_NS]:
            raise FaultError(f"clock: that of {self.target} is wrong already")
        self._before = page[Word.CLOCK_READS]
        page[Word.CLOCK_OFFSET_NS] = self.offset_ms * _NS_PER_MS

    def prove(self) -> Evidence | None:
        if self._before is None:
            return None
        self._there = self.holds()
        reads = self.role.page()[Word.CLOCK_READS] - self._before if self._there else 0
        if reads <= 0:
            return None
        return Evidence(f"{self.target} read a clock that is wrong by {self.offset_ms / 1000:+g} s {reads} times")

    @property
    def in_force(self) -> bool:
        return self._there

    def missing(self) -> str:
        return f"{self.target} did not look at its wall clock" if self._there else super().missing()

    def holds(self) -> bool:
        return self._before is not None and self.role.page()[Word.CLOCK_OFFSET_NS] == self.offset_ms * _NS_PER_MS

    def heal(self) -> None:
        if self._before is not None:
            self.role.page()[Word.CLOCK_OFFSET_NS] = 0

    def healed(self) -> bool:
        return self._before is None or not self.role.page()[Word.CLOCK_OFFSET_NS]
