"""How far a producer has got, as its own ledger has it: one file for each of its lives."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from taskchaos.harness.record.layout import SUFFIX
from taskchaos.harness.record.ledger import RecordKind, parse

_ANSWERS = (RecordKind.ACKNOWLEDGED, RecordKind.REFUSED, RecordKind.UNKNOWN)


@dataclass(slots=True)
class SentSoFar:
    """What the files say. gone_through: how often each operation was begun or dropped; open: submits not answered."""

    begun: int = 0
    finished: bool = False
    gone_through: Counter[int] = field(default_factory=Counter)
    open: Counter[int] = field(default_factory=Counter)

    def take(self, line: bytes) -> None:
        """One line. What is torn was never acted on: a submit is written down before it is made."""
        record = parse(line) if line.endswith(b"\n") else None
        if record is None:
            return
        if record.kind in (RecordKind.SUBMIT, RecordKind.DROPPED):
            self.gone_through[record.op] += 1
        if record.kind is RecordKind.SUBMIT:
            self.begun += 1
            self.open[record.op] += 1
        elif record.kind in _ANSWERS:
            self.open[record.op] -= 1
        elif record.kind is RecordKind.FINISHED:
            self.finished = True


def sent_so_far(ledger: Path, role: str, pid: int | None = None) -> SentSoFar:
    """What all lives of a producer have sent; pid: only this one."""
    found = SentSoFar()
    for path in ledger.glob(f"{role}.{'*' if pid is None else pid}{SUFFIX}"):
        with path.open("rb") as lines:
            for line in lines:
                found.take(line)
    return found
