"""How many operations were on their way while a fault was in force: one pass over the submits for all faults."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, compress

from taskchaos.harness.checker.columns import ACKED, EFFECT, UNSURE, Tally, rows_in
from taskchaos.harness.record.history import History, Submits, column


@dataclass(frozen=True, slots=True)
class Flight:
    """An operation that may have reached the broker is in flight from its first submit until its first effect, or until
    the subject rightly gave it up.

    sent: how many such operations had been submitted by each of the times that were asked for.
    Times in order: effects, the first ones of all operations; others, those of operations that were never sent, or
    refused; given_up, of operations without an effect.
    """

    sent: dict[int, int] = field(default_factory=dict)
    effects: array[int] = field(default_factory=column)
    others: list[int] = field(default_factory=list)
    given_up: list[int] = field(default_factory=list)

    def between(self, begin_ns: int, end_ns: int) -> int:
        """How many were in flight at some time of this stretch; its end has to have been asked for."""
        done = bisect_left(self.effects, begin_ns) - bisect_left(self.others, begin_ns)
        return self.sent[end_ns] - done - bisect_left(self.given_up, begin_ns)


def flight(history: History, tally: Tally, given_up: Iterable[int], ends: Iterable[int]) -> Flight:
    """What was in flight when. ends: the times that stretches may end at."""
    others = tally.mask(lambda flags: flags & EFFECT and not flags & (ACKED | UNSURE))
    return Flight(
        sent=_sent(history.submits, tally, sorted(set(ends))),
        effects=tally.effect_times,
        others=sorted(compress(tally.first_effect, others)),
        given_up=sorted(given_up),
    )


def _sent(submits: Submits, tally: Tally, ends: list[int]) -> dict[int, int]:
    if not ends:
        return {}  # nobody will ask
    sent = tally.mask(lambda flags: flags & (ACKED | UNSURE))
    first_end = partial(bisect_left, ends)
    begun = Counter(map(first_end, compress(submits.begun_ns, map(sent.__getitem__, submits.op))))
    if begun.total() > sent.count(1):
        begun.subtract(map(first_end, _again(submits, sent)))
    return dict(zip(ends, accumulate(begun[at] for at in range(len(ends))), strict=True))


def _again(submits: Submits, sent: bytes) -> list[int]:
    """The times of submits of operations that had been submitted before."""
    begun: dict[int, list[int]] = {}
    for row in rows_in(submits.op, sent):
        begun.setdefault(submits.op[row], []).append(submits.begun_ns[row])
    return [at_ns for times in begun.values() for at_ns in sorted(times)[1:]]
