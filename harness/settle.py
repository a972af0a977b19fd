"""Convergence: when a case may be judged, and what was left then.

One empty poll proves nothing. A case has settled when nothing is pending on the broker, no worker process holds a
task, and neither the ledger nor the broker moved for a quiet period; or when everything that is pending is overdue,
so that it will not move any more. The final state is then read several times, past the proxy, and must not change.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from harness.clock import now_ns
from harness.history import ClaimKind, FinalState
from harness.history_io import LEDGER
from harness.ledger import SUFFIX, Kind
from harness.subject import Pending, Settings, Subject
from harness.workload import operation_number

POLL_S = 0.05
#: Quiet time that ends the wait when every acknowledged operation is accounted for, and when some are missing.
QUIET_S = 0.3
QUIET_MISSING_S = 1.5
FINAL_READS = 3

_RESULTS = {b"SUCCESS": ClaimKind.SUCCESS, b"FAILURE": ClaimKind.FAILURE, b"REVOKED": ClaimKind.REVOKED}


@dataclass(slots=True)
class LedgerTail:
    """Follows the ledger files as they grow: who holds what, and which operations are accounted for.

    alive: whether the process with a pid of the ledger still runs.
    """

    folder: Path
    alive: Callable[[int], bool]
    acknowledged: set[int] = field(default_factory=set)
    effects: set[int] = field(default_factory=set)
    effect_count: int = 0
    failed: set[int] = field(default_factory=set)
    submits: int = 0
    moved_at_s: float = field(default_factory=time.monotonic)
    _offsets: dict[Path, int] = field(default_factory=dict)
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
        kind, _, number, a, *_ = line.decode().split(" ", 4)
        op = int(number)
        if kind == Kind.EFFECT:
            self.effects.add(op)
            self.effect_count += 1
        elif kind == Kind.SUBMIT:
            self.submits += 1
        elif kind == Kind.ACKNOWLEDGED:
            self.acknowledged.add(op)
        elif kind == Kind.CLAIM and int(a) == ClaimKind.FAILURE:
            self.failed.add(op)
        elif kind == Kind.HELD:
            self._held[int(a), op] = self._held.get((int(a), op), 0) + 1
        elif kind == Kind.RELEASED:
            self._held[int(a), op] = self._held.get((int(a), op), 0) - 1

    def holding(self) -> int:
        """Tasks that a live worker process holds right now."""
        held = Counter[int]()
        for (pid, _), count in self._held.items():
            if count > 0:
                held[pid] += count
        return sum(count for pid, count in held.items() if self.alive(pid))

    def missing(self) -> int:
        """Acknowledged operations that neither took effect nor were declared failed."""
        return len(self.acknowledged - self.effects - self.failed)


@dataclass(frozen=True, slots=True)
class Settled:
    """How the wait ended."""

    converged: bool
    quiet: bool
    overdue: bool
    reason: str


class Settling:
    """Waits for a case to settle, then reads what is left."""

    def __init__(self, subject: Subject, redis: Redis, tail: LedgerTail, settings: Settings) -> None:
        self._subject = subject
        self._redis = redis
        self._tail = tail
        #: After this long without any movement, nothing that is pending will be offered again.
        self._overdue_s = settings.redelivery_s + subject.longest_wait_s + 1.0
        self._pending = Pending()
        self._changed_at_s = time.monotonic()

    def wait(self, deadline_s: float, tick: Callable[[], None]) -> Settled:
        """Poll until settled or `deadline_s` passed; `tick` runs each round (it revives workers, shows progress)."""
        began = time.monotonic()
        while True:
            tick()
            self._tail.follow()
            self._look()
            now = time.monotonic()
            still_s = now - max(self._tail.moved_at_s, self._changed_at_s, began)
            settled = self._settled(still_s)
            if settled is not None:
                return settled
            if now - began > deadline_s:
                return Settled(
                    False, still_s > QUIET_MISSING_S, False, f"not settled within {deadline_s:g} s: {self._left()}"
                )
            time.sleep(POLL_S)

    def _look(self) -> None:
        pending = self._subject.pending(self._redis)
        if pending != self._pending:
            self._pending = pending
            self._changed_at_s = time.monotonic()

    def _settled(self, still_s: float) -> Settled | None:
        if self._pending.empty and not self._tail.holding():
            if still_s >= (QUIET_MISSING_S if self._tail.missing() else QUIET_S):
                return Settled(True, True, False, "")
        elif still_s >= self._overdue_s and not self._tail.holding():
            return Settled(False, True, True, f"nothing moved for {still_s:.1f} s although {self._left()}")
        return None

    def _left(self) -> str:
        waiting = len(self._pending.operations) + self._pending.opaque
        return f"{waiting} on the broker, {self._tail.holding()} held by workers"

    def read(self, settled: Settled, healed: bool, why_not: str) -> FinalState:
        """Read the final state until it is the same FINAL_READS times in a row (or give up after twice as many)."""
        readings: list[FinalState] = []
        for _ in range(2 * FINAL_READS):
            try:
                reading = self._read_once(settled)
            except RedisError as error:
                why_not = why_not or f"the final read failed: {error}"
                break
            if readings and reading != readings[-1]:
                readings.clear()
            readings.append(reading)
            if len(readings) == FINAL_READS:
                break
            time.sleep(POLL_S)
        last = readings[-1] if readings else FinalState()
        same = len(readings) == FINAL_READS
        return FinalState(
            reads=len(readings),
            read_at_ns=now_ns(),
            pending=last.pending,
            opaque_pending=last.opaque_pending,
            dead=last.dead,
            results=last.results,
            leaks=last.leaks,
            converged=settled.converged and same and healed,
            quiet=settled.quiet and same,
            overdue=settled.overdue and same,
            healed=healed,
            reason=why_not or settled.reason or ("" if same else "the final readings differ"),
        )

    def _read_once(self, settled: Settled) -> FinalState:
        pending = self._subject.pending(self._redis)
        return FinalState(
            pending=pending.operations,
            opaque_pending=pending.opaque,
            dead=self._subject.dead_letters(self._redis),
            results=_results(self._redis),
            leaks=self._subject.leftovers(self._redis) if settled.converged else (),
        )


def _results(redis: Redis) -> dict[int, int]:
    """What the result backend says of each operation: success, failure or revoked."""
    keys = list(redis.scan_iter(match="celery-task-meta-*", count=1000, _type="string"))
    found: dict[int, int] = {}
    for begin in range(0, len(keys), 500):
        part = keys[begin : begin + 500]
        for key, value in zip(part, redis.mget(part), strict=True):
            number = operation_number(key.decode(errors="replace"))
            if number is None or value is None:
                continue
            for name, kind in _RESULTS.items():
                if b'"status": "' + name + b'"' in value:
                    found[number] = int(kind)
    return found


def ledger_tail(case_folder: Path, alive: Callable[[int], bool]) -> LedgerTail:
    """A tail on the ledger of a case folder. alive: whether the process with a pid of the ledger still runs."""
    return LedgerTail(case_folder / LEDGER, alive)
