"""The one pass over the rows: a byte of flags per operation, and the rare rows.

A row drives the byte of its operation through a table of 256 entries, and a rule's condition is such a table
too (`select` translates the whole column at C speed). So a million operations cost one plain loop per table of
the history; everything that rules look at in Python is rare: repeated effects, retried operations, open attempts.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import compress
from operator import gt
from typing import TypeVar

from taskchaos.harness.checker.chords import together
from taskchaos.harness.clock import NS_PER_MS
from taskchaos.harness.record.history import (
    NEVER,
    AttemptOutcome,
    Attempts,
    ClaimKind,
    Deliveries,
    Drops,
    Effects,
    History,
    Redrive,
    Reports,
    Revokes,
    SubmitOutcome,
    Submits,
)

# What is known of an operation, in `Tally.flags`.
ACKED, REFUSED, UNSURE = 1, 2, 4  # what its submitters were told; UNSURE = unknown or pending
EFFECT, REPEATED = 8, 16  # it has an effect; it has more than one
TRIED, RETRIED = 32, 64  # it has an attempt; it has more than one
DROPPED = 128  # its producer was too late for it, and never began
SUBMITTED = ACKED | REFUSED | UNSURE

# What the subject says of an operation, in `Tally.said`.
SAID_SUCCESS, SAID_FAILURE, SAID_REJECTED, SAID_REVOKED = 1, 2, 4, 8
RESULT_SUCCESS, RESULT_FAILURE, RESULT_REVOKED = 16, 32, 64  # the same, from the result backend at the final read
SUCCEEDED = SAID_SUCCESS | RESULT_SUCCESS
FAILED = SAID_FAILURE | SAID_REJECTED | RESULT_FAILURE

_SUBMIT_BIT: dict[int, int] = {
    SubmitOutcome.PENDING: UNSURE,
    SubmitOutcome.ACKNOWLEDGED: ACKED,
    SubmitOutcome.REFUSED: REFUSED,
    SubmitOutcome.UNKNOWN: UNSURE,
}
_CLAIM_BIT: dict[int, int] = {
    ClaimKind.SUCCESS: SAID_SUCCESS,
    ClaimKind.FAILURE: SAID_FAILURE,
    ClaimKind.RETRY: 0,
    ClaimKind.REJECTED: SAID_REJECTED,
    ClaimKind.REVOKED: SAID_REVOKED,
}
_RESULT_BIT: dict[int, int] = {
    ClaimKind.SUCCESS: RESULT_SUCCESS,
    ClaimKind.FAILURE: RESULT_FAILURE,
    ClaimKind.RETRY: 0,
    ClaimKind.REJECTED: RESULT_FAILURE,
    ClaimKind.REVOKED: RESULT_REVOKED,
}
#: A send that began later than this after its due time is late.
LATE_NS = 100 * NS_PER_MS

Mask = bytes | bytearray
Table = TypeVar("Table", Submits, Drops, Revokes, Deliveries, Attempts, Effects, Reports)


def _table(step: Callable[[int], int]) -> bytes:
    return bytes(step(flags) for flags in range(256))


_ON_EFFECT = _table(lambda flags: flags | (REPEATED if flags & EFFECT else EFFECT))
_ON_ATTEMPT = _table(lambda flags: flags | (RETRIED if flags & TRIED else TRIED))


def select(column: Mask, condition: Callable[[int], int | bool]) -> bytes:
    """A byte per operation: 1 where the condition holds for its flags, else 0."""
    return bytes(column.translate(_table(lambda flags: 1 if condition(flags) else 0)))


def both(left: Mask, right: Mask) -> bytes:
    """The intersection of two masks of the same length."""
    joint = int.from_bytes(left, "little") & int.from_bytes(right, "little")
    return joint.to_bytes(len(left), "little")


def mask_of(ops: Iterable[int], planned: int) -> bytearray:
    """A mask that holds the given operations."""
    mask = bytearray(planned)
    for op in ops:
        mask[op] = 1
    return mask


def ops_in(mask: Mask) -> list[int]:
    """The operations of a mask, in order."""
    return list(compress(range(len(mask)), mask))


def rows_in(ops: array[int], mask: Mask) -> Iterator[int]:
    """The numbers of the rows whose operation is in the mask. Costs nothing when the mask is empty."""
    return compress(range(len(ops)), map(mask.__getitem__, ops)) if 1 in mask else iter(())


@dataclass(frozen=True, slots=True)
class Outside:
    """Operations that the plan does not have."""

    submits: frozenset[int] = frozenset()
    drops: frozenset[int] = frozenset()
    attempts: frozenset[int] = frozenset()
    effects: frozenset[int] = frozenset()


def split_plan(history: History) -> tuple[History, Outside]:
    """The history without rows of operations outside the plan, and those operations.

    What a dead letter did when it was run again, after the case, is left out as well.
    """
    inside = replace(
        history,
        submits=_trim(history.submits, history.planned),
        drops=_trim(history.drops, history.planned),
        revokes=_trim(history.revokes, history.planned),
        deliveries=_trim(history.deliveries, history.planned),
        attempts=_trim(history.attempts, history.planned),
        effects=_trim(history.effects, history.planned),
        claims=_trim(history.claims, history.planned),
    )
    outside = Outside(
        submits=_strangers(history.submits.op, inside.submits.op, history.planned),
        drops=_strangers(history.drops.op, inside.drops.op, history.planned),
        attempts=_strangers(history.attempts.op, inside.attempts.op, history.planned),
        effects=_strangers(history.effects.op, inside.effects.op, history.planned),
    )
    redrive = history.final.redrive
    return (inside if redrive is None else _before(redrive, inside)), outside


def _trim(table: Table, planned: int) -> Table:
    ops = table.op
    if not ops or (min(ops) >= 0 and max(ops) < planned):
        return table
    return _kept(table, bytes(0 <= op < planned for op in ops))


def _kept(table: Table, keep: bytes) -> Table:
    return replace(table, **{f.name: array("q", compress(getattr(table, f.name), keep)) for f in fields(table)})


def _strangers(ops: array[int], inside: array[int], planned: int) -> frozenset[int]:
    return frozenset() if ops is inside else frozenset(op for op in ops if not 0 <= op < planned)


def _before(redrive: Redrive, history: History) -> History:
    """The history without what the operation did from this redrive on, and the chord that it belongs to."""
    size = together(history)
    chord = redrive.op // size

    def cut(table: Table, times: array[int]) -> Table:
        rows = zip(table.op, times, strict=True)
        return _kept(table, bytes(op // size != chord or at_ns < redrive.begun_ns for op, at_ns in rows))

    return replace(
        history,
        deliveries=cut(history.deliveries, history.deliveries.at_ns),
        attempts=cut(history.attempts, history.attempts.begun_ns),
        effects=cut(history.effects, history.effects.at_ns),
        claims=cut(history.claims, history.claims.at_ns),
    )


@dataclass(frozen=True, slots=True)
class Tally:
    """What one pass over the rows found, by operation number.

    flags, said: a byte per operation (see the constants above).
    first_effect, last_effect: times by operation, NEVER without one. effect_times: the first effects in time order.
    repeats: all effect times, in order, of the operations that have several.
    retried: rows of the attempts of operations that have several, by operation and begin.
    open_attempts: rows of attempts without an end. late_due: due times of late sends, in no order.
    spoke: the subject said something final about at least one operation.
    """

    flags: bytearray
    said: bytearray
    first_effect: array[int]
    last_effect: array[int]
    effect_times: array[int]
    repeats: dict[int, list[int]]
    retried: list[int]
    open_attempts: list[int]
    late_due: array[int]
    spoke: bool

    def mask(self, condition: Callable[[int], int | bool]) -> bytes:
        """The operations whose flags meet the condition."""
        return select(self.flags, condition)

    def count(self, condition: Callable[[int], int | bool]) -> int:
        """How many operations' flags meet the condition."""
        return self.mask(condition).count(1)

    def missing(self) -> bytes:
        """The acknowledged operations that have no effect."""
        return self.mask(lambda flags: flags & ACKED and not flags & EFFECT)


def tally(history: History) -> Tally:
    """One pass over a history whose rows are all inside the plan."""
    flags = bytearray(history.planned)
    for op, outcome in zip(history.submits.op, history.submits.outcome, strict=True):
        flags[op] |= _SUBMIT_BIT[outcome]
    for op in history.drops.op:
        flags[op] |= DROPPED
    first, repeats = _effects(history, flags)
    last = first
    if repeats:
        last = array("q", first)
        for op, times in repeats.items():
            last[op] = times[-1]
    for op in history.attempts.op:
        flags[op] = _ON_ATTEMPT[flags[op]]
    said = _statements(history)
    return Tally(
        flags=flags,
        said=said,
        first_effect=first,
        last_effect=last,
        effect_times=_in_time_order(first),
        repeats=repeats,
        retried=_retried(history.attempts, flags),
        open_attempts=[row for row, end in enumerate(history.attempts.outcome) if end == AttemptOutcome.OPEN],
        late_due=late_sends(history.submits),
        spoke=any(said),
    )


def first_effects(history: History) -> array[int]:
    """The time of each operation's first effect, NEVER without one."""
    return _effects(history, bytearray(history.planned))[0]


def _effects(history: History, flags: bytearray) -> tuple[array[int], dict[int, list[int]]]:
    """Marks effects in the flags; the first effect by operation, and all of those that repeat."""
    effects = history.effects
    first = array("q", [NEVER]) * history.planned
    for op, at_ns in zip(effects.op, effects.at_ns, strict=True):
        flags[op] = _ON_EFFECT[flags[op]]
        first[op] = at_ns
    repeats: dict[int, list[int]] = {}
    repeated = select(flags, lambda byte: byte & REPEATED)
    for row in rows_in(effects.op, repeated):
        repeats.setdefault(effects.op[row], []).append(effects.at_ns[row])
    for op, times in repeats.items():
        times.sort()
        first[op] = times[0]
    return first, repeats


def _in_time_order(first: array[int]) -> array[int]:
    times = array("q", sorted(first))
    del times[: times.count(NEVER)]
    return times


def _statements(history: History) -> bytearray:
    said = bytearray(history.planned)
    for op, kind in zip(history.claims.op, history.claims.kind, strict=True):
        said[op] |= _CLAIM_BIT[kind]
    for op, kind in history.final.results.items():
        if 0 <= op < history.planned:
            said[op] |= _RESULT_BIT[kind]
    return said


def _retried(attempts: Attempts, flags: bytearray) -> list[int]:
    rows = rows_in(attempts.op, select(flags, lambda byte: byte & RETRIED))
    order = (attempts.op, attempts.begun_ns, attempts.ended_ns, attempts.fence, attempts.outcome, attempts.role)
    return sorted(rows, key=lambda row: tuple(column[row] for column in order))


def late_sends(submits: Submits) -> array[int]:
    """The due times of the sends that began too late, in no order."""
    limits = map(LATE_NS.__add__, submits.due_ns)
    return array("q", compress(submits.due_ns, map(gt, submits.begun_ns, limits)))
