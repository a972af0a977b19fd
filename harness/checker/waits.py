"""Waits between a failed attempt and the next of its operation, as far as nothing but the subject decided on them.

What is seen of a wait is longer than it by the queue in front of it, and by what a busy machine needs. How much that
is, new tasks tell: those that are tried for the first time then. A wait is left out where a fault was in force since
its operation was first tried, where a submit is unsure (there may be two messages), and after anything but plain
failures.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from taskchaos.harness.checker.chords import bodies, complete_ns
from taskchaos.harness.checker.columns import UNSURE
from taskchaos.harness.checker.evidence import CaseEvidence, attempts_of_retried
from taskchaos.harness.checker.faults import Spans, all_bites
from taskchaos.harness.clock import NS_PER_MS, seconds
from taskchaos.harness.record.history import NEVER, AttemptOutcome, History

#: First attempts so near in time tell how long the queue is.
NEAR_NS = 250 * NS_PER_MS
#: A busy machine takes so long to write down what has come.
NOTED_NS = 250 * NS_PER_MS
#: A worker may have taken so many tasks for each of its processes before others got theirs.
PREFETCH = 4


@dataclass(frozen=True, slots=True)
class Wait:
    """One wait, from `ended_ns` to `begun_ns`.

    retries: how many attempts had failed before the failed one. previous_s: how long that one was waited for.
    """

    op: int
    retries: int
    previous_s: float
    ended_ns: int
    begun_ns: int

    @property
    def wait_s(self) -> float:
        """How long it was."""
        return seconds(self.begun_ns - self.ended_ns)


def waits(evidence: CaseEvidence) -> list[Wait]:
    """All waits that can be held against the subject, by operation and in order."""
    met = all_bites(evidence.history)
    return [wait for op, rows in attempts_of_retried(evidence) for wait in _plain(evidence, met, op, rows)]


def _plain(evidence: CaseEvidence, met: Spans, op: int, rows: list[int]) -> Iterator[Wait]:
    """The waits of one operation, until something else than a plain failure comes between."""
    attempts = evidence.history.attempts
    if evidence.tally.flags[op] & UNSURE:
        return
    previous_s = 0.0
    for retries, (row, later) in enumerate(pairwise(rows)):
        ended_ns, begun_ns = attempts.ended_ns[row], attempts.begun_ns[later]
        if attempts.outcome[row] != AttemptOutcome.TRANSIENT or begun_ns < ended_ns:
            return
        if met.meet(attempts.begun_ns[rows[0]], begun_ns):
            return
        wait = Wait(op, retries, previous_s, ended_ns, begun_ns)
        yield wait
        previous_s = wait.wait_s


def first_times(evidence: CaseEvidence) -> list[tuple[int, int, int]]:
    """From when each operation could be tried, and when it was: (operation, from_ns, begun_ns), of those that were."""
    delays_ns = evidence.history.delays_ns
    return [(op, sent_ns + delays_ns.get(op, 0), begun_ns) for op, sent_ns, begun_ns in first_sent_and_tried(evidence)]


def first_sent_and_tried(evidence: CaseEvidence) -> list[tuple[int, int, int]]:
    """When each operation was first sent, and first tried: (operation, sent_ns, begun_ns), of those that were both.

    The body of a chord is sent when the last of its members takes effect. Of one that began before, `order` tells.
    """
    submits, attempts = evidence.history.submits, evidence.history.attempts
    sent = _earliest(submits.op, submits.begun_ns, evidence.history.planned)
    begun = _earliest(attempts.op, attempts.begun_ns, evidence.history.planned)
    for body in bodies(evidence.history):
        sent[body] = min(begun[body], complete_ns(evidence.history, evidence.tally.first_effect, body))
    return [(op, *both) for op, both in enumerate(zip(sent, begun, strict=True)) if NEVER not in both]


def _earliest(ops: array[int], times: array[int], planned: int) -> array[int]:
    """By operation, the first of its times; NEVER for those that have none."""
    first = array("q", [NEVER]) * planned
    for op, at_ns in zip(ops, times, strict=True):
        if first[op] == NEVER or at_ns < first[op]:
            first[op] = at_ns
    return first


def noted_ns(evidence: CaseEvidence) -> int:
    """How long a worker may take to write down what Redis has given it.

    On a busy machine, and where tasks run in its loop, after those that were fetched together with it.
    """
    attempts, met = evidence.history.attempts, all_bites(evidence.history)
    stretches = zip(attempts.begun_ns, attempts.ended_ns, strict=True)
    longest_ns = max((end - begin for begin, end in stretches if end != NEVER and not met.meet(begin, end)), default=0)
    return NOTED_NS + PREFETCH * longest_ns


def rank(history: History, op: int) -> int:
    """How many priorities are more urgent than that of an operation."""
    return op % history.priorities if history.priorities else 0


class Probes:
    """How long tasks had been on their way that were tried for the first time about a moment.

    Those of an operation's priority tell how long its queue is. Of tasks that share business keys they tell nothing:
    each waits for others than the next.
    """

    def __init__(self, evidence: CaseEvidence) -> None:
        self._history = evidence.history
        self._longest: dict[tuple[int, int], int] = {}
        if evidence.history.keys:
            return
        for op, sent_ns, begun_ns in first_times(evidence):
            at = rank(self._history, op), begun_ns // NEAR_NS
            self._longest[at] = max(self._longest.get(at, 0), begun_ns - sent_ns)

    def near_s(self, op: int, at_ns: int) -> float | None:
        """The longest that those took that began at about this time; None if none did."""
        mine, at = rank(self._history, op), at_ns // NEAR_NS
        found = [self._longest[mine, near] for near in (at - 1, at, at + 1) if (mine, near) in self._longest]
        return seconds(max(found)) if found else None

    def within_s(self, op: int, begin_ns: int, end_ns: int) -> float:
        """The longest that those took that began in this stretch, or about it; 0 if none did."""
        mine, stretch = rank(self._history, op), range(begin_ns // NEAR_NS - 1, end_ns // NEAR_NS + 2)
        return seconds(max((self._longest.get((mine, at), 0) for at in stretch), default=0))
