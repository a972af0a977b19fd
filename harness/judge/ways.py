"""Every task of a case, for its picture: when it was submitted, how long it took, and what became of it.

No rule: what is wrong with a task, and whether it is, the rules say.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection

from taskchaos.harness.checker.columns import ACKED, EFFECT, REPEATED, SUBMITTED
from taskchaos.harness.checker.evidence import CaseEvidence, gather
from taskchaos.harness.checker.loss import still_running, unaccounted
from taskchaos.harness.contract import Contract
from taskchaos.harness.record.history import NEVER, History
from taskchaos.harness.record.result import TaskEnd, TaskWays

#: Of a larger case only those tasks are given with which something is the matter, and of these no more.
MOST_TASKS = 10_000
#: A case beyond this has no such picture: its tasks are not looked at one by one.
MOST_LOOKED_AT = 300_000
_MS = 1_000_000
#: Which of them are kept, of more than there is room for.
_GRAVEST = (TaskEnd.GONE, TaskEnd.LEFT, TaskEnd.AGAIN, TaskEnd.DEAD, TaskEnd.REVOKED)


def ways(history: History, contract: Contract) -> TaskWays:
    """The tasks that were submitted, in their order; nothing of a case without phases. Never changes the history."""
    if not history.phases or history.planned > MOST_LOOKED_AT:
        return TaskWays()
    evidence = gather(history, contract)
    running = still_running(evidence)
    start_ns = min(phase.begun_ns for phase in history.phases)
    first, (submitted, due) = evidence.tally.first_effect, _submits(evidence.history)
    kept = [
        (op, _end(evidence, op, flags, running)) for op, flags in enumerate(evidence.tally.flags) if flags & SUBMITTED
    ]
    if len(kept) > MOST_TASKS:
        odd = [each for each in kept if each[1] not in (TaskEnd.DONE, TaskEnd.UNSENT)]
        kept = sorted(sorted(odd, key=lambda each: _GRAVEST.index(each[1]))[:MOST_TASKS])
    return TaskWays(
        ops=tuple(op for op, _ in kept),
        submit_ms=tuple((submitted[op] - start_ns) // _MS for op, _ in kept),
        took_ms=tuple(max(first[op] - due[op], 0) // _MS if first[op] != NEVER else -1 for op, _ in kept),
        ends="".join(end.value for _, end in kept),
    )


def _submits(history: History) -> tuple[array[int], array[int]]:
    """By operation, when its first submit began, and when it was due; NEVER for none."""
    never = [NEVER] * history.planned
    begun, due = array("q", never), array("q", never)
    table = history.submits
    for op, begun_ns, due_ns in zip(table.op, table.begun_ns, table.due_ns, strict=True):
        if begun[op] == NEVER or begun_ns < begun[op]:
            begun[op], due[op] = begun_ns, due_ns
    return begun, due


def _end(evidence: CaseEvidence, op: int, flags: int, running: Collection[int]) -> TaskEnd:
    if flags & EFFECT:
        return TaskEnd.AGAIN if flags & REPEATED and op not in evidence.two_tasks else TaskEnd.DONE
    if op in evidence.letters.all or op in evidence.letters.due:
        return TaskEnd.DEAD
    if op in evidence.history.final.pending or op in evidence.stalled:
        return TaskEnd.LEFT
    if op in evidence.revoked:
        return TaskEnd.REVOKED
    if not flags & ACKED:
        return TaskEnd.UNSENT
    return TaskEnd.GONE if unaccounted(evidence, op) and op not in running else TaskEnd.LEFT
