"""What every rule is given: the history, the contract, and what was found in them once for all rules."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import compress, groupby
from operator import gt

from taskchaos.harness.checker.chords import members
from taskchaos.harness.checker.columns import (
    ACKED,
    EFFECT,
    SUBMITTED,
    UNSURE,
    Outside,
    Tally,
    mask_of,
    rows_in,
    split_plan,
    tally,
)
from taskchaos.harness.checker.faults import FOREVER, Bites, bites, doubtful, ended_ns, happened, kills, sound
from taskchaos.harness.checker.flight import Flight, flight
from taskchaos.harness.checker.letters import Letters, sort_letters
from taskchaos.harness.clock import NS_PER_S
from taskchaos.harness.contract import Claim, Contract
from taskchaos.harness.record.history import NEVER, AttemptOutcome, ClaimKind, FaultInterval, History, SubmitOutcome

#: So late a producer may note an answer, on a busy machine.
NOTED_LATE_NS = NS_PER_S


@dataclass(frozen=True, slots=True)
class LateEffect:
    """A zombie: an effect after the subject's final word on its operation."""

    kind: ClaimKind
    after_ns: int


@dataclass(frozen=True, slots=True)
class CaseEvidence:
    """All that a rule may look at.

    history: only rows of operations inside the plan, without a redrive. outside: the operations of the other rows.
    zombies: by operation. stalled: the operations of a livelock, each with how often it came to a worker meanwhile.
    killed_at: times at which a fault ended a process, by pid, in order. bites: when faults were in force, and for whom.
    revoked: operations that need not run, since a revoke of them was begun.
    """

    history: History
    contract: Contract
    outside: Outside
    tally: Tally
    letters: Letters
    zombies: dict[int, LateEffect]
    stalled: dict[int, int]
    killed_at: dict[int, list[int]]
    flight: Flight
    bites: Bites
    revoked: frozenset[int]

    @property
    def sound(self) -> list[FaultInterval]:
        """The faults that count as evidence."""
        return sound(self.history, self.flight)

    @property
    def forgotten(self) -> frozenset[int]:
        """Operations that Redis may have forgotten, by a fault that happened, after it had acknowledged them.

        A producer may note an answer late that Redis gave before its end: what it had sent by then counts.
        """
        windows = [
            (fault.forgot_since_ns, fault.injected_ns if fault.forgot_since_ns else ended_ns(fault))
            for fault in self.history.faults
            if happened(fault) and fault.forgot_since_ns is not None
        ]
        if not windows:
            return frozenset()
        first: dict[int, tuple[int, int]] = {}
        submits = self.history.submits
        rows = zip(submits.op, submits.done_ns, submits.begun_ns, submits.outcome, strict=True)
        for op, done_ns, begun_ns, outcome in rows:
            if outcome == SubmitOutcome.ACKNOWLEDGED:
                first[op] = min(first.get(op, (done_ns, begun_ns)), (done_ns, begun_ns))
        return frozenset(
            op
            for op, (done_ns, begun_ns) in first.items()
            if any(since <= done_ns <= end + NOTED_LATE_NS and begun_ns <= end for since, end in windows)
        )

    @property
    def sent_again(self) -> frozenset[int]:
        """Operations that were submitted more than once, on purpose."""
        if not self.history.again:
            return frozenset()
        return frozenset(op for op, times in Counter(self.history.submits.op).items() if times > 1)

    @property
    def two_tasks(self) -> frozenset[int]:
        """The same, where they are two tasks: unless their subject claims that they are one.

        Nothing in a record tells which of the two an attempt was of.
        """
        return frozenset() if self.contract.has(Claim.UNIQUE) else self.sent_again

    @property
    def acknowledged(self) -> Counter[int]:
        """How many submits of each operation were acknowledged; none of those that had none."""
        submits = self.history.submits
        rows = zip(submits.op, submits.outcome, strict=True)
        return Counter(op for op, outcome in rows if outcome == SubmitOutcome.ACKNOWLEDGED)

    @property
    def queued_ns(self) -> dict[int, int]:
        """When each operation was acknowledged first, of those that were: it was in the queue then, or had been."""
        submits, queued = self.history.submits, dict[int, int]()
        for op, done_ns, outcome in zip(submits.op, submits.done_ns, submits.outcome, strict=True):
            if outcome == SubmitOutcome.ACKNOWLEDGED:
                queued[op] = min(done_ns, queued.get(op, done_ns))
        return queued

    @property
    def workers_recorded(self) -> bool:
        """Whether any worker wrote anything; if not, a missing effect may only be missing from the ledger."""
        history, outside = self.history, self.outside
        inside = history.deliveries.op or history.attempts.op or history.effects.op
        return bool(inside or outside.attempts or outside.effects)

    def role(self, number: int) -> str:
        """The name of a role."""
        return self.history.role_name(number)

    def was_killed(self, row: int) -> bool:
        """Whether a fault ended the process of this open attempt."""
        attempts = self.history.attempts
        return attempts.outcome[row] == AttemptOutcome.OPEN and attempts.pid[row] in self.killed_at

    def attempt_end(self, row: int) -> int:
        """When an attempt ended: an open one when its process was killed or last seen, else never."""
        return _attempt_end(self.history, self.killed_at, row)

    def overtaken(self, row: int, by: int) -> bool:
        """Whether this attempt's process stood still for longer than a lease, and the other began meanwhile or later.

        It could neither renew nor know. What it still does then, only a fence can refuse.
        """
        attempts = self.history.attempts
        return any(
            ended_ns(stop) - stop.injected_ns >= self.history.lease_ns
            and attempts.begun_ns[row] <= ended_ns(stop)
            and stop.injected_ns <= attempts.begun_ns[by]
            for stop in self.history.faults
            if happened(stop) and attempts.pid[row] in stop.stopped_pids
        )

    def believing(self) -> CaseEvidence:
        """The same, if every fault that was injected had bitten and held."""
        faults = tuple(replace(f, proven=True, held=True) if doubtful(f) else f for f in self.history.faults)
        history = replace(self.history, faults=faults)
        return replace(self, history=history, bites=bites(history))


def attempts_of_retried(evidence: CaseEvidence) -> Iterator[tuple[int, list[int]]]:
    """Operations with several attempts, each with its rows in order of begin."""
    for op, rows in groupby(evidence.tally.retried, key=evidence.history.attempts.op.__getitem__):
        yield op, list(rows)


def gather(history: History, contract: Contract) -> CaseEvidence:
    """The evidence in a history."""
    inside, outside = split_plan(history)
    counted = tally(inside)
    letters = sort_letters(inside, contract, counted)
    killed_at = kills(inside.faults)
    given_up = _given_up(inside, counted, letters, killed_at)
    return CaseEvidence(
        history=inside,
        contract=contract,
        outside=outside,
        tally=counted,
        letters=letters,
        zombies=_zombies(inside, counted),
        stalled=_stalled(inside, counted, letters),
        killed_at=killed_at,
        flight=flight(inside, counted, given_up.values(), map(ended_ns, inside.faults)),
        bites=bites(inside),
        revoked=frozenset(inside.revokes.op),
    )


def _attempt_end(history: History, killed_at: dict[int, list[int]], row: int) -> int:
    attempts = history.attempts
    begun_ns = attempts.begun_ns[row]
    if attempts.outcome[row] != AttemptOutcome.OPEN:
        return attempts.ended_ns[row]
    if attempts.pid[row] in killed_at:
        # No kill after its begin: a kill loop that goes by the time of its first kill. It ran for a moment.
        return next((at_ns for at_ns in killed_at[attempts.pid[row]] if at_ns >= begun_ns), begun_ns)
    if attempts.pid[row] in history.gone:
        # The subject has ended it, for example because it had lost its lease: it ran for as long as it was seen.
        return max(begun_ns, history.gone[attempts.pid[row]])
    return FOREVER


def _given_up(history: History, counted: Tally, letters: Letters, killed_at: dict[int, list[int]]) -> dict[int, int]:
    """The end of the last attempt of operations that were sent, had no effect, and were rightly given up, or revoked.

    Of the body of a chord that was called off, of those of its members. A revoke counts as such an end.
    """
    flags, revokes = counted.flags, history.revokes
    done = letters.due.union(revokes.op)
    ops = [op for op in done if flags[op] & (ACKED | UNSURE) and not flags[op] & EFFECT]
    wanted = mask_of(ops, history.planned)
    ended = {revokes.op[row]: revokes.begun_ns[row] for row in rows_in(revokes.op, wanted)}
    for row in rows_in(history.attempts.op, wanted):
        op = history.attempts.op[row]
        ended[op] = max(ended.get(op, NEVER), _attempt_end(history, killed_at, row))
    for body in ops:
        if failed := [ended[op] for op in members(history, body) if op in ended]:
            ended[body] = max(failed)
    return ended


def _stalled(history: History, counted: Tally, letters: Letters) -> dict[int, int]:
    """Acknowledged operations that kept coming to workers, or stayed on the broker, while nothing got any further.

    Only in a healed world: what a fault still keeps from its end is no livelock.
    """
    final, since_ns = history.final, history.final.stalled_since_ns
    if since_ns == NEVER or not final.healed:
        return {}
    missing = counted.missing()
    delivered = _begun_since(since_ns, history.deliveries.op, history.deliveries.at_ns, missing)
    tried = _begun_since(since_ns, history.attempts.op, history.attempts.begun_ns, missing)
    pending = {op for op in final.pending if 0 <= op < history.planned and missing[op]}
    given_up = letters.all | letters.due
    return {op: max(delivered[op], tried[op]) for op in pending | delivered.keys() | tried.keys() if op not in given_up}


def _begun_since(since_ns: int, ops: array[int], times: array[int], wanted: bytes) -> Counter[int]:
    """How many rows of each wanted operation are not older than this."""
    return Counter(op for op in compress(ops, map(since_ns.__le__, times)) if wanted[op])


def _zombies(history: History, counted: Tally) -> dict[int, LateEffect]:
    """Effects after the subject's final word.

    After FAILURE or REVOKED any effect is one. After SUCCESS only an operation's single effect is: with an earlier
    effect it is a duplicate. REJECTED is not final here (a rejected message may be queued again on purpose).
    """
    claims, last = history.claims, counted.last_effect
    found: dict[int, LateEffect] = {}
    later = map(gt, map(last.__getitem__, claims.op), claims.at_ns)
    for row in compress(range(len(claims.op)), later):
        op, kind, at_ns = claims.op[row], ClaimKind(claims.kind[row]), claims.at_ns[row]
        final = kind in (ClaimKind.FAILURE, ClaimKind.REVOKED) or (
            kind is ClaimKind.SUCCESS and op not in counted.repeats
        )
        if not final or not counted.flags[op] & SUBMITTED:
            continue
        late = LateEffect(kind, last[op] - at_ns)
        if op not in found or _earlier(late, found[op]):
            found[op] = late
    return found


def _earlier(late: LateEffect, known: LateEffect) -> bool:
    return (late.after_ns, -late.kind) > (known.after_ns, -known.kind)
