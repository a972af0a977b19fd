"""Follows the ledger of a case while it grows: who holds what, what got how far, and when anything last did."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from taskchaos.harness.clock import now_ns
from taskchaos.harness.record.history import AttemptOutcome, ClaimKind
from taskchaos.harness.record.layout import LEDGER, SUFFIX
from taskchaos.harness.record.ledger import Record, RecordKind, parse

#: Attempts with these ends are bounded in number by the plan: each brings its operation further.
_STEPS = (AttemptOutcome.OK, AttemptOutcome.TRANSIENT)


@dataclass(slots=True)
class LedgerTail:
    """Reads what is appended to the files of a ledger's folder.

    alive: whether the process with a pid of the ledger still runs. most_crashes: how often the subject lets an
    operation end its process; so many bring it further. moved_at_s: when anything was last written; progress_at_s: when
    an operation last got further (a submit, a revoke, an attempt that ended by itself, a first effect, a first failure
    that was told). Both on CLOCK_MONOTONIC.
    """

    folder: Path
    alive: Callable[[int], bool]
    most_crashes: int = 0
    acknowledged: set[int] = field(default_factory=set)
    effects: set[int] = field(default_factory=set)
    effect_count: int = 0
    failed: set[int] = field(default_factory=set)
    revoked: set[int] = field(default_factory=set)
    submits: int = 0
    moved_at_s: float = field(default_factory=time.monotonic)
    progress_at_s: float = field(default_factory=time.monotonic)
    last_effect_ns: dict[int, int] = field(default_factory=dict)
    _offsets: dict[Path, int] = field(default_factory=dict)
    _crashes: Counter[int] = field(default_factory=Counter)
    _running: dict[int, int] = field(default_factory=dict)  # the pid of an attempt that has not ended
    _alive_ns: dict[int, int] = field(default_factory=dict)
    _held: dict[tuple[int, int], int] = field(default_factory=dict)  # (pid, op) -> how often

    def follow(self) -> None:
        """Read what was appended since the last call."""
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            seen = self._offsets.get(path, 0)
            if path.stat().st_size == seen:
                continue
            with path.open("rb") as records:
                records.seek(seen)
                data = records.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._offsets[path] = seen + len(whole)
            if whole:
                self.moved_at_s = time.monotonic()
                for line in whole.splitlines():
                    self._take(line)

    def _take(self, line: bytes) -> None:
        record = parse(line)
        if record is None:
            return  # torn: the checker counts it
        if self._step(record):
            self.progress_at_s = self.moved_at_s

    def _step(self, record: Record) -> bool:
        """Take a record; whether its operation got further by it."""
        op = record.op
        match record.kind:
            case RecordKind.EFFECT:
                first = op not in self.effects
                self.effects.add(op)
                self.effect_count += 1
                self.last_effect_ns[op] = record.at_ns
                return first
            case RecordKind.SUBMIT:
                self.submits += 1
                return True
            case RecordKind.ACKNOWLEDGED:
                self.acknowledged.add(op)
                return True
            case RecordKind.REVOKE:
                self.revoked.add(op)
                return True
            case RecordKind.CLAIM if record.a == ClaimKind.FAILURE:
                first = op not in self.failed
                self.failed.add(op)
                return first
            case RecordKind.BEGIN:
                self._running[record.a] = record.b
            case RecordKind.END if record.b == AttemptOutcome.CRASHED:
                self._running.pop(record.a, None)
                self._crashes[op] += 1
                return self._crashes[op] <= self.most_crashes
            case RecordKind.END:
                self._running.pop(record.a, None)
                return record.b in _STEPS and op not in self.effects
            case RecordKind.HELD | RecordKind.RELEASED:
                change = 1 if record.kind is RecordKind.HELD else -1
                self._held[record.a, op] = self._held.get((record.a, op), 0) + change
        return False

    def holding(self) -> int:
        """Tasks that a live worker process holds right now."""
        held = Counter[int]()
        for (pid, _), count in self._held.items():
            if count > 0:
                held[pid] += count
        return sum(count for pid, count in held.items() if self.alive(pid))

    def gone(self) -> list[tuple[int, int]]:
        """Processes that are gone in the middle of an attempt, each once; and when it was last seen alive, or 0."""
        found = []
        for pid in sorted(set(self._running.values())):
            asked_ns = now_ns()
            if self.alive(pid):
                self._alive_ns[pid] = asked_ns
            else:
                found.append((pid, self._alive_ns.get(pid, 0)))
                self._running = {token: other for token, other in self._running.items() if other != pid}
        return found

    def missing(self) -> int:
        """Acknowledged operations that neither took effect nor were declared failed, nor have been revoked."""
        return len(self.acknowledged - self.effects - self.failed - self.revoked)


def ledger_tail(case_folder: Path, alive: Callable[[int], bool], most_crashes: int = 0) -> LedgerTail:
    """A tail on the ledger of a case folder; for what it is told see LedgerTail."""
    return LedgerTail(case_folder / LEDGER, alive, most_crashes)
