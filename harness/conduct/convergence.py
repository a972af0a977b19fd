"""Convergence: when a case may be judged, and what was left then.

One empty poll proves nothing. A case has settled when nothing is pending on the broker, no worker process holds a
task, and neither the ledger nor the broker moved for a quiet period; or when everything that is pending is overdue,
so that it will not move any more; or when things move but no operation gets further (a livelock). The final state is
then read several times, past the proxy, and must not change.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from redis import Redis
from redis.exceptions import RedisError

from taskchaos.harness.clock import NS_PER_S, now_ns
from taskchaos.harness.record.history import NEVER, ClaimKind, FinalState
from taskchaos.harness.record.ledger_tail import LedgerTail
from taskchaos.harness.subject import Pending
from taskchaos.harness.workload import operation_number

POLL_S = 0.05
#: Quiet time that ends the wait when every acknowledged operation is accounted for, and when some are missing.
QUIET_S = 0.3
QUIET_MISSING_S = 1.5
#: And when results are missing that the case has asked for: storing them shows nowhere else.
QUIET_RESULTS_S = 5.0
FINAL_READS = 3

_RESULTS = {b"SUCCESS": ClaimKind.SUCCESS, b"FAILURE": ClaimKind.FAILURE, b"REVOKED": ClaimKind.REVOKED}


class Reader(Protocol):
    """The subject's own eyes on Redis. Everything raises SubjectError when the subject's code fails."""

    def pending(self) -> Pending:
        """What is still queued, reserved or scheduled."""

    def dead_letters(self) -> frozenset[int]:
        """Operations given up by policy and kept."""

    def leftovers(self) -> tuple[str, ...]:
        """Keys that should be gone when nothing is pending."""


@dataclass(frozen=True, slots=True)
class Settled:
    """How the wait ended. stalled_since_ns: see `FinalState`."""

    converged: bool
    quiet: bool
    overdue: bool
    reason: str
    stalled_since_ns: int = NEVER


class Convergence:
    """Waits for a case to settle, then reads what is left.

    overdue_s: after this long without any movement nothing that is pending will be offered again, and after this long
    without an operation that gets further nothing ever will. keep_results: wait for the results of what took effect.
    """

    def __init__(
        self, reader: Reader, redis: Redis, tail: LedgerTail, overdue_s: float, *, keep_results: bool = False
    ) -> None:
        self._reader = reader
        self._redis = redis
        self._tail = tail
        self._overdue_s = overdue_s
        self._keep_results = keep_results
        self._pending = Pending()
        self._fewest: int | None = None
        self._changed_at_s = self._fewer_at_s = time.monotonic()

    def wait(self, deadline_s: float, tick: Callable[[], None]) -> Settled:
        """Poll until settled or `deadline_s` passed; `tick` runs each round (it revives workers, shows progress).

        When nothing gets further at the deadline, it is waited out whether anything ever will: at most `overdue_s`
        more.
        """
        began = time.monotonic()
        progress_at_deadline_s: float | None = None
        while True:
            tick()
            self._tail.follow()
            self._look()
            now = time.monotonic()
            still_s = now - max(self._tail.moved_at_s, self._changed_at_s, began)
            progress_s = max(self._tail.progress_at_s, self._fewer_at_s, began)
            settled = self._settled(still_s) or self._stalled(now - progress_s)
            if settled is not None:
                return settled
            if now - began > deadline_s:
                progress_at_deadline_s = progress_at_deadline_s or progress_s
                if progress_s > progress_at_deadline_s or now - progress_s < POLL_S:
                    reason = f"not settled within {deadline_s:g} s: {self._left()}"
                    return Settled(False, still_s > QUIET_MISSING_S, False, reason)
            time.sleep(POLL_S)

    def _look(self) -> None:
        pending = self._reader.pending()
        now = time.monotonic()
        if pending != self._pending:
            self._pending = pending
            self._changed_at_s = now
        number = len(pending.operations) + pending.opaque
        if self._fewest is None or number < self._fewest:
            self._fewest, self._fewer_at_s = number, now

    def _settled(self, still_s: float) -> Settled | None:
        if self._pending.empty and not self._tail.holding():
            enough = still_s >= (QUIET_MISSING_S if self._tail.missing() else QUIET_S)
            if enough and (still_s >= QUIET_RESULTS_S or not self._lacks_results()):
                return Settled(True, True, False, "")
        elif still_s >= self._overdue_s and not self._tail.holding():
            return Settled(False, True, True, f"nothing moved for {still_s:.1f} s although {self._left()}")
        return None

    def _lacks_results(self) -> bool:
        return self._keep_results and not self._tail.effects <= _results(self._redis).keys()

    def _stalled(self, stalled_s: float) -> Settled | None:
        if stalled_s < self._overdue_s:
            return None
        since_ns = now_ns() - int(stalled_s * NS_PER_S)
        return Settled(False, False, False, f"no task got further for {stalled_s:.1f} s: {self._left()}", since_ns)

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
            stalled_since_ns=settled.stalled_since_ns,
        )

    def _read_once(self, settled: Settled) -> FinalState:
        pending = self._reader.pending()
        return FinalState(
            pending=pending.operations,
            opaque_pending=pending.opaque,
            dead=self._reader.dead_letters(),
            results=_results(self._redis),
            leaks=self._reader.leftovers() if settled.converged else (),
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
