"""Tiny histories built by hand. All times are milliseconds; operations that are not mentioned do not exist."""

from __future__ import annotations

import random
from dataclasses import fields, replace
from functools import cache
from typing import Any, Self

from taskchaos.harness.backoff import BackoffLaw
from taskchaos.harness.clock import NS_PER_MS
from taskchaos.harness.contract import Claim, Contract, PhaseName, Slo
from taskchaos.harness.record.history import (
    NEVER,
    AttemptOutcome,
    Attempts,
    ClaimKind,
    Deliveries,
    Drops,
    Effects,
    FaultInterval,
    FinalState,
    History,
    OperationHit,
    Phase,
    Reports,
    Revokes,
    SubmitOutcome,
    Submits,
)

LAW = BackoffLaw(base_s=0.2, cap_s=0.4)
ALL = Contract(frozenset(Claim), max_attempts=3, backoff=LAW)
AT_LEAST_ONCE = replace(ALL, claims=ALL.claims - {Claim.EFFECTIVELY_ONCE})
NO_FENCES = replace(ALL, claims=ALL.claims - {Claim.FENCED})
READ_AT = 10_000
LEASE = 100
#: Indices into the roles of every history.
WORKER_1, WORKER_2, PRODUCER_1 = 0, 1, 2


@cache
def _columns(table: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(table))


def ns(ms: float) -> int:
    """Nanoseconds, with NEVER kept."""
    return NEVER if ms == NEVER else round(ms * NS_PER_MS)


class HistoryBuilder:
    """A history that is complete, healed and at rest, its producer done with its part, unless told otherwise."""

    def __init__(self) -> None:
        self._history = History(
            roles=("worker-1", "worker-2", "producer-1"),
            producers=("producer-1",),
            finished=frozenset({"producer-1"}),
            lease_ns=ns(LEASE),
            final=FinalState(reads=3, read_at_ns=ns(READ_AT), converged=True, quiet=True),
        )
        self._planned: int | None = None

    def submit(
        self,
        op: int,
        outcome: SubmitOutcome,
        at: float,
        due: float | None = None,
        *,
        done: float | None = None,
        role: int = PRODUCER_1,
    ) -> Self:
        ended = NEVER if outcome is SubmitOutcome.PENDING else at + 1 if done is None else done
        values = (op, ns(at if due is None else due), ns(at), ns(ended), outcome, role)
        return self._row(self._history.submits, *values)

    def drop(self, *ops: int, due: float | None = None) -> Self:
        for op in ops:
            self._row(self._history.drops, op, ns(op if due is None else due))
        return self

    def ack(self, *ops: int, at: float | None = None, due: float | None = None) -> Self:
        for op in ops:
            self.submit(op, SubmitOutcome.ACKNOWLEDGED, op if at is None else at, due)
        return self

    def revoke(self, op: int, at: float, heard: float = NEVER) -> Self:
        return self._row(self._history.revokes, op, ns(at), ns(heard))

    def deliver(self, op: int, at: float, role: int = 0) -> Self:
        return self._row(self._history.deliveries, op, ns(at), role)

    def attempt(
        self,
        op: int,
        at: float = 100,
        until: float = NEVER,
        outcome: AttemptOutcome = AttemptOutcome.OK,
        role: int = 0,
        pid: int = 1,
        fence: int | None = None,
    ) -> Self:
        """Without a fence named, it gets one that is above all before, in the order of begin."""
        ended = at + 10 if until == NEVER and outcome is not AttemptOutcome.OPEN else until
        named = ns(at) if fence is None else fence
        return self._row(self._history.attempts, op, ns(at), ns(ended), outcome, role, pid, named)

    def effect(self, op: int, at: float = 105) -> Self:
        return self._row(self._history.effects, op, ns(at))

    def said(self, op: int, kind: ClaimKind = ClaimKind.SUCCESS, at: float = 111) -> Self:
        return self._row(self._history.claims, op, ns(at), kind)

    def done(self, *ops: int, at: float = 100) -> Self:
        """Operations that went the plain way: acknowledged, delivered, run once, effect, success."""
        for op in ops:
            self.ack(op).deliver(op, at - 1).attempt(op, at).effect(op, at + 5).said(op, at=at + 11)
        return self

    def fault(
        self,
        at: float = 200,
        until: float = 300,
        *,
        proven: bool = True,
        held: bool = True,
        healed: bool = True,
        unused: bool = False,
        kills: tuple[int, ...] = (),
        stops: tuple[int, ...] = (),
        kind: str = "worker_kill",
        target: str = "worker-1",
        evidence: str = "",
        seen: float | None = None,
        forgot: float | None = None,
        began: float | None = None,
        hits: tuple[OperationHit, ...] = (),
    ) -> Self:
        pids = {"killed_pids": frozenset(kills), "stopped_pids": frozenset(stops)}
        fault = FaultInterval(
            kind, target, ns(at), ns(until), proven, healed, held=held, unused=unused, evidence=evidence, **pids
        )
        if seen is not None:
            fault = replace(fault, seen_ns=ns(seen))
        if forgot is not None:
            fault = replace(fault, forgot_since_ns=ns(forgot))
        if began is not None:
            fault = replace(fault, began_ns=ns(began))
        self._history.faults += (replace(fault, hits=hits),)
        self._history.planned_faults += 1
        return self

    def phase(self, name: PhaseName, begun: float, ended: float, offered: int = 0) -> Self:
        self._history.phases += (Phase(name, ns(begun), ns(ended), offered),)
        return self

    def final(self, **changes: Any) -> Self:
        self._history.final = replace(self._history.final, **changes)
        return self

    def not_converged(self, **changes: Any) -> Self:
        return self.final(**{"converged": False, "reason": "workers busy", **changes})

    def slo(self, target_tps: float | None = None, recovery_limit_s: float | None = None, **changes: Any) -> Self:
        self._history.slo = Slo(target_tps, recovery_limit_s=recovery_limit_s, **changes)
        return self

    def set(self, **changes: Any) -> Self:
        self._history = replace(self._history, **changes)
        return self

    def planned(self, number: int) -> Self:
        self._planned = number
        return self

    def build(self) -> History:
        default = max([*self._history.submits.op, *self._history.drops.op], default=-1) + 1
        return replace(self._history, planned=default if self._planned is None else self._planned)

    def _row(self, table: Submits | Drops | Revokes | Deliveries | Attempts | Effects | Reports, *values: int) -> Self:
        for name, value in zip(_columns(type(table)), values, strict=True):
            getattr(table, name).append(value)
        return self


def shuffled(history: History, seed: int) -> History:
    """The same history with the rows of every table, the faults and the deaths in another order."""
    rng = random.Random(seed)
    changes: dict[str, Any] = {}
    for name in ("submits", "drops", "revokes", "deliveries", "attempts", "effects", "claims"):
        table = getattr(history, name)
        order = rng.sample(range(len(table.op)), len(table.op))
        changes[name] = type(table)(
            **{f.name: type(table.op)("q", (getattr(table, f.name)[row] for row in order)) for f in fields(table)}
        )
    changes["faults"] = tuple(rng.sample(history.faults, len(history.faults)))
    changes["deaths"] = tuple(rng.sample(history.deaths, len(history.deaths)))
    return replace(history, **changes)


def load(builder: HistoryBuilder, begun: float, ended: float, tps: float, latency: float = 5, first_op: int = 0) -> int:
    """Open load at a constant rate with its effects; returns the next free operation."""
    step = 1000 / tps
    op, at = first_op, begun
    while at < ended - 1e-9:
        builder.ack(op, at=at).attempt(op, at, at + latency).effect(op, at + latency)
        op, at = op + 1, begun + (op + 1 - first_op) * step
    return op
