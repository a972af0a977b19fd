"""What every rule is given: the history, the contract and the tally; and how to read faults and attempts in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import compress, groupby
from operator import gt

from harness.checker.tally import FAILED, SUBMITTED, Outside, Tally, both, mask_of, ops_in, split_plan, tally
from harness.contract import Contract
from harness.history import NEVER, AttemptOutcome, ClaimKind, FaultInterval, History

#: Later than every recorded time.
FOREVER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class LateEffect:
    """A zombie: an effect after the subject's final word on its operation."""

    kind: ClaimKind
    after_ns: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a rule may look at.

    history: only rows of operations inside the plan. outside: the operations of the other rows.
    dead: operations that are terminal by policy: dead letters, and permanent failures that the subject admitted.
    zombies: by operation. killed_at: times at which a fault ended a process, by pid, in order.
    spans: begin and end of every fault that is proven to have bitten.
    """

    history: History
    contract: Contract
    outside: Outside
    tally: Tally
    dead: frozenset[int]
    zombies: dict[int, LateEffect]
    killed_at: dict[int, list[int]]
    spans: tuple[tuple[int, int], ...]

    @property
    def workers_recorded(self) -> bool:
        """Whether any worker wrote anything; if not, a missing effect may only be missing from the ledger."""
        history, outside = self.history, self.outside
        inside = history.deliveries.op or history.attempts.op or history.effects.op
        return bool(inside or outside.attempts or outside.effects)

    def role(self, number: int) -> str:
        """The name of a role."""
        roles = self.history.roles
        return roles[number] if 0 <= number < len(roles) else f"role {number}"

    def was_killed(self, row: int) -> bool:
        """Whether a fault ended the process of this open attempt."""
        attempts = self.history.attempts
        return attempts.outcome[row] == AttemptOutcome.OPEN and attempts.pid[row] in self.killed_at

    def attempt_end(self, row: int) -> int:
        """When an attempt ended: an open one at the kill of its process, else it ran at the final read still."""
        attempts = self.history.attempts
        begun_ns = attempts.begun_ns[row]
        if attempts.outcome[row] != AttemptOutcome.OPEN:
            return attempts.ended_ns[row]
        if self.was_killed(row):
            # No kill after its begin: a kill loop that goes by the time of its first kill. It ran for a moment.
            return next((at for at in self.killed_at[attempts.pid[row]] if at >= begun_ns), begun_ns)
        read_at_ns = self.history.final.read_at_ns
        return FOREVER if read_at_ns == NEVER else max(read_at_ns, begun_ns)

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

    def bitten(self, begin_ns: int, end_ns: int) -> bool:
        """Whether a proven fault was in force at some time of this stretch."""
        return any(crosses(begin_ns, end_ns, *span) for span in self.spans)


def crosses(begin_ns: int, end_ns: int, other_begin_ns: int, other_end_ns: int) -> bool:
    """Whether two stretches have an instant in common, ends included."""
    return begin_ns <= other_end_ns and other_begin_ns <= end_ns


def happened(fault: FaultInterval) -> bool:
    """Whether the fault was injected and is proven to have bitten."""
    return fault.proven and fault.injected_ns != NEVER


def ended_ns(fault: FaultInterval) -> int:
    """When it was healed; FOREVER if it was not."""
    return FOREVER if fault.healed_ns == NEVER else fault.healed_ns


def attempts_of_retried(evidence: Evidence) -> Iterator[tuple[int, list[int]]]:
    """Operations with several attempts, each with its rows in order of begin."""
    for op, rows in groupby(evidence.tally.retried, key=evidence.history.attempts.op.__getitem__):
        yield op, list(rows)


def gather(history: History, contract: Contract) -> Evidence:
    """The evidence in a history."""
    inside, outside = split_plan(history)
    counted = tally(inside)
    return Evidence(
        history=inside,
        contract=contract,
        outside=outside,
        tally=counted,
        dead=_dead(inside, counted),
        zombies=_zombies(inside, counted),
        killed_at=_kills(inside.faults),
        spans=tuple((fault.injected_ns, ended_ns(fault)) for fault in inside.faults if happened(fault)),
    )


def _dead(history: History, counted: Tally) -> frozenset[int]:
    dead = frozenset(op for op in history.final.dead if 0 <= op < history.planned)
    permanent = [op for op in history.permanent if 0 <= op < history.planned and counted.said[op] & FAILED]
    if not permanent:
        return dead
    attempts = history.attempts
    gave_up = mask_of(
        (op for op, end in zip(attempts.op, attempts.outcome, strict=True) if end == AttemptOutcome.PERMANENT),
        history.planned,
    )
    return dead.union(ops_in(both(gave_up, mask_of(permanent, history.planned))))


def _kills(faults: tuple[FaultInterval, ...]) -> dict[int, list[int]]:
    kills: dict[int, list[int]] = {}
    for fault in sorted((f for f in faults if f.injected_ns != NEVER), key=lambda f: f.injected_ns):
        for pid in fault.killed_pids:
            kills.setdefault(pid, []).append(fault.injected_ns)
    return kills


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
