"""What a schedule came to, as tests ask about it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from taskchaos.faults.base import Evidence
from taskchaos.faults.nemesis import Change, Nemesis
from taskchaos.faults.state import FaultState


@dataclass
class Course:
    """What a schedule came to: the changes of its faults, in order."""

    changes: list[Change]
    nemesis: Nemesis

    def begin(self) -> None:
        self.nemesis.start(time.monotonic())

    def states(self, index: int = 0) -> list[FaultState]:
        return [change.state for change in self.changes if change.index == index]

    def evidence(self, state: FaultState, index: int = 0) -> Evidence:
        return next(c.evidence for c in self.changes if c.index == index and c.state is state)

    def said(self, state: FaultState, index: int = 0) -> str:
        return self.evidence(state, index).seen
