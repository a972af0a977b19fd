"""Whether the plan was carried out: every operation offered to the subject, and every submit answered.

What faults explain is no gap. They must be those of the operation's own producer, or of a server. A submit is explained
by one that was in force when it began or a second later, or had ended so shortly before that connections may not have
been up again. An operation that no producer began is explained if it was due after such a fault had begun.

A producer that a fault has ended is another matter: it is started again, with connections of its own, drops on record
what fell due meanwhile, and goes on to the end of its part. So that explains what was in its hands, and what was
dropped, until it was back; no operation of which nothing is recorded, and no part that nobody went through.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from taskchaos.harness.checker.chords import together
from taskchaos.harness.checker.columns import ACKED, DROPPED, LATE_NS, SUBMITTED, ops_in, rows_in
from taskchaos.harness.checker.evidence import CaseEvidence
from taskchaos.harness.checker.faults import bites, ended_ns, happened, of_server
from taskchaos.harness.checker.results import counted
from taskchaos.harness.clock import NS_PER_S
from taskchaos.harness.record.history import NEVER, FaultInterval, History, SubmitOutcome

#: A submit that had begun so long before a fault hung already. After its heal submits may fail for as long as it
#: lasted, and at least for this long.
REACH_NS = NS_PER_S

_NEVER_OFFERED = "never offered"
_DROPPED = "dropped: the load was too late, free the machine"
_WHY = {
    SubmitOutcome.PENDING: "never answered: submit() did not return",
    SubmitOutcome.UNKNOWN: "left unknown: submit() raised",
    SubmitOutcome.REFUSED: "refused",
}
#: What is told of an operation of which several are true is the first; and the order of the gaps.
_ORDER = (_NEVER_OFFERED, *_WHY.values(), _DROPPED)


@dataclass(frozen=True, slots=True)
class Unmet:
    """What is not known of the plan: what became of each operation that no fault excuses, and how many are excused."""

    whys: dict[int, str]
    excused: int
    errors: dict[int, str]  # what submits said, as far as that is kept

    def gaps(self) -> list[str]:
        """The operations counted, in words, with what most of them said."""
        found = []
        for why in _ORDER:
            ops = [op for op, other in self.whys.items() if other == why]
            said = Counter(self.errors[op] for op in ops if op in self.errors).most_common()
            if ops:
                found.append(f"{counted(len(ops), 'task')} {why}" + (f" ({said[0][0]})" if said else ""))
        return found

    def note(self, op: int) -> str:
        """What is to be told of one operation."""
        return f"{self.whys[op]} ({self.errors[op]})" if op in self.errors else self.whys[op]


def unmet(evidence: CaseEvidence) -> Unmet:
    """The operations of the plan that were not acknowledged."""
    whys: dict[int, str] = {}
    excused = set[int]()
    for op, why, explained in _not_acknowledged(evidence):
        if explained:
            excused.add(op)
        else:
            whys[op] = min(why, whys.get(op, why), key=_ORDER.index)
    return Unmet(whys, len(excused - whys.keys()), evidence.history.submit_errors)


def _not_acknowledged(evidence: CaseEvidence) -> Iterator[tuple[int, str, bool]]:
    """Each with what became of it, and whether a fault explains that."""
    history, flags = evidence.history, evidence.tally
    reach = bites(history, _reach)
    never = ops_in(flags.mask(lambda byte: not byte & (SUBMITTED | DROPPED)))
    if never:
        first = _first_excused(history)
        for op in never:
            yield op, _NEVER_OFFERED, op >= first[_producer(history, op)]
    submits = history.submits
    for row in rows_in(submits.op, flags.mask(lambda byte: not byte & ACKED)):
        begun_ns, done_ns = submits.begun_ns[row], submits.done_ns[row]
        until_ns = begun_ns + REACH_NS if done_ns == NEVER else min(done_ns, begun_ns + REACH_NS)
        explained = reach.of(evidence.role(submits.role[row])).meet(begun_ns, until_ns)
        yield submits.op[row], _WHY[SubmitOutcome(submits.outcome[row])], explained
    drops = history.drops
    for row in rows_in(drops.op, flags.mask(lambda byte: not byte & SUBMITTED)):
        op, due_ns = drops.op[row], drops.due_ns[row]
        yield op, _DROPPED, reach.of(_producer(history, op)).meet(due_ns, due_ns + LATE_NS)


def _reach(fault: FaultInterval) -> tuple[int, int]:
    """The times at which submits may fail because of a fault."""
    begun_ns, healed_ns = fault.since_ns, ended_ns(fault)
    if _of_process(fault):
        return begun_ns, healed_ns
    return begun_ns, healed_ns + max(healed_ns - begun_ns, REACH_NS)


def _of_process(fault: FaultInterval) -> bool:
    """Whether it ended the process of the role that it was done to."""
    return bool(fault.killed_pids) and not of_server(fault)


def _producer(history: History, op: int) -> str:
    """Who had to send it: the producers take the operations in turn, or the chords."""
    return history.producers[op // together(history) % len(history.producers)] if history.producers else ""


def _first_excused(history: History) -> dict[str, int]:
    """By producer, the first operation that was due after a fault of it, or of a server, had begun."""
    tables = (history.submits, history.drops)
    due = sorted(row for table in tables for row in zip(table.op, table.due_ns, strict=True))
    first = {}
    for producer in history.producers or ("",):
        begun = [f.since_ns for f in history.faults if happened(f) and _concerns(f, producer)]
        first[producer] = _first_due(due, min(begun), history.planned) if begun else history.planned
    return first


def _concerns(fault: FaultInterval, producer: str) -> bool:
    """Whether because of it the producer may not have gone through its part."""
    return of_server(fault) or (fault.role == producer and not _of_process(fault))


def _first_due(due: list[tuple[int, int]], at_ns: int, planned: int) -> int:
    """The first operation that was not due before this time. due: what is known, by operation.

    Operations are due in the order of their numbers; after the last that is known, at the rate of those before.
    """
    later = bisect_left(due, at_ns, key=lambda row: row[1])
    if later < len(due):
        return due[later - 1][0] + 1 if later else 0
    if not due or due[0][1] == due[-1][1]:
        return planned
    (first_op, first_ns), (last_op, last_ns) = due[0], due[-1]
    return last_op - (last_ns - at_ns) * (last_op - first_op) // (last_ns - first_ns)


def unfinished(evidence: CaseEvidence) -> list[str]:
    """The producers that did not go through their part of the plan, though no fault was done to them or a server."""
    history = evidence.history
    faults = [fault for fault in history.faults if happened(fault)]
    left = [role for role in history.producers if role not in history.finished]
    return [role for role in left if not any(_concerns(fault, role) for fault in faults)]


def cut_short(evidence: CaseEvidence) -> list[str]:
    """What the producers say that they went through, if that is not the plan."""
    history, number = evidence.history, evidence.history.gone_through
    if number is None or number == history.planned or not history.finished.issuperset(history.producers):
        return []
    return [f"the producers went through {counted(number, 'task')}, the plan has {history.planned}"]


def twice(evidence: CaseEvidence) -> list[int]:
    """Operations that were dropped and sent as well: the record contradicts itself."""
    return ops_in(evidence.tally.mask(lambda flags: flags & DROPPED and flags & SUBMITTED))
