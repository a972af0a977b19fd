"""What a worker has done, counted in its main process, and how to read it: in the process or by remote control.

The pool processes of a prefork worker count nothing: ask in the main process (a thread started by `worker_ready`), or
from anywhere with `celery -A app inspect locked_retry`.
"""

from __future__ import annotations

import weakref
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from celery.worker.control import inspect_command

from locked_retry import clock
from locked_retry.broker.turns import Answer, SettlementKind, Turn

if TYPE_CHECKING:
    from locked_retry.worker.session import Session

#: Upper bounds of the buckets, in seconds: from a turn on loopback to one that is about to be given up.
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

#: The sessions of this process: one for each channel that consumes, which is one for each worker.
sessions: weakref.WeakSet[Session] = weakref.WeakSet()


@dataclass
class Histogram:
    """How many values fell under each bound; those above the last one are in `count` alone."""

    counts: list[int] = field(default_factory=lambda: [0] * len(BOUNDS_S))
    count: int = 0
    sum: float = 0.0

    def add(self, value: float) -> None:
        """One value."""
        at = bisect_left(BOUNDS_S, value)
        if at < len(self.counts):
            self.counts[at] += 1
        self.count += 1
        self.sum += value

    def merge(self, other: Histogram) -> None:
        """All values of another one."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.count += other.count
        self.sum += other.sum

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Each bound, and how many values were not above it."""
        below = 0
        for bound, count in zip(BOUNDS_S, self.counts, strict=True):
            below += count
            yield bound, below

    def as_dict(self) -> dict[str, Any]:
        """As Prometheus shows it: cumulative counts by bound."""
        return {"count": self.count, "sum": self.sum, "buckets": {f"{b:g}": n for b, n in self.cumulative()}}


@dataclass
class Metrics:
    """Counters of this worker since it began; `turn_s` is the duration of the last answered turn.

    An end counts as settled, by its kind, when Redis has taken it; one that it refused is `stale`.
    """

    turns: int = 0
    replays: int = 0
    failures: int = 0
    claimed: int = 0
    held_back: int = 0
    dead: int = 0
    stale: int = 0
    lost: int = 0
    promoted: int = 0
    reaped: int = 0
    dropped: int = 0
    parked: int = 0
    broken: int = 0
    dead_trimmed: int = 0
    settled: dict[SettlementKind, int] = field(default_factory=lambda: dict.fromkeys(SettlementKind, 0))
    turn_s: float = 0.0
    answered_at_s: float = field(default_factory=clock.now_s)
    turn_seconds: Histogram = field(default_factory=Histogram)

    def take(self, turn: Turn, answer: Answer, turn_s: float) -> None:
        """Count a turn and its answer."""
        self.turns += 1
        self.turn_s, self.answered_at_s = turn_s, clock.now_s()
        self.turn_seconds.add(turn_s)
        self.claimed += len(answer.claims)
        for settle, code in zip(turn.settles, answer.codes, strict=False):
            if code == "s":
                self.stale += 1
                continue
            self.settled[settle.kind] += 1
            self.held_back += code == "h"
            self.dead += settle.kind is SettlementKind.DEAD
        self.dead += len(answer.buried)
        self.promoted += answer.promoted
        self.reaped += answer.reaped
        self.dropped += answer.dropped
        self.parked += answer.parked
        self.broken += len(answer.broken)
        self.dead_trimmed += answer.trimmed

    def merge(self, other: Metrics) -> None:
        """Add another session's."""
        for one in fields(self):
            if one.type == "int":
                setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))
        for kind, count in other.settled.items():
            self.settled[kind] += count
        self.turn_seconds.merge(other.turn_seconds)
        self.turn_s = max(self.turn_s, other.turn_s)
        self.answered_at_s = min(self.answered_at_s, other.answered_at_s)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers by name; `settled` by kind, `turn_seconds` with its buckets."""
        counted = {one.name: getattr(self, one.name) for one in fields(self) if one.type == "int"}
        settled = {kind.value: count for kind, count in self.settled.items()}
        return {**counted, "settled": settled, "turn_s": self.turn_s, "turn_seconds": self.turn_seconds.as_dict()}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counters and the present state of this process's sessions."""

    metrics: Metrics
    held: int
    unsettled: int
    rate_per_s: float
    answer_age_s: float

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers by name, fit for JSON."""
        now = {"held": self.held, "unsettled": self.unsettled, "rate_per_s": self.rate_per_s}
        return {**self.metrics.as_dict(), **now, "answer_age_s": self.answer_age_s}


def snapshot(*of: Session) -> Snapshot:
    """Of these sessions; of all of this process if none is named."""
    total = Metrics()
    held = unsettled = 0
    rate_per_s = 0.0
    for session in of or tuple(sessions):
        total.merge(session.metrics)
        pending = session.pending
        held += len(session.held)
        unsettled += len(session.outbox) + (len(pending.settles) if pending is not None else 0)
        rate_per_s += session.rate_per_s
    return Snapshot(total, held, unsettled, rate_per_s, clock.now_s() - total.answered_at_s)


def metrics() -> dict[str, Any]:
    """What this process's worker has done and holds. In a process without one everything is 0."""
    return snapshot().as_dict()


@inspect_command(name="locked_retry")  # type: ignore[untyped-decorator]
def inspect_locked_retry(state: Any, **_: Any) -> dict[str, Any]:
    """Counters of locked_retry: claims, ends, retries, dead letters, refusals, turn times."""
    return metrics()
