"""Who may run beside whom: overlap, key_overlap, fence."""

from __future__ import annotations

from itertools import compress, islice

from taskchaos.harness.checker.evidence import CaseEvidence, attempts_of_retried
from taskchaos.harness.checker.faults import FOREVER
from taskchaos.harness.checker.results import counted, if_claimed, with_samples, with_texts
from taskchaos.harness.clock import NS_PER_MS
from taskchaos.harness.contract import Claim
from taskchaos.harness.record.history import UNFENCED
from taskchaos.harness.record.verdict import Outcome, Rule, RuleResult


def overlap(evidence: CaseEvidence) -> RuleResult:
    """No two attempts of one operation at the same time; of a fenced subject, except those that were overtaken.

    What was submitted twice is two tasks, unless the subject claims otherwise.
    """
    notes: dict[int, str] = {}
    overtaken, two_tasks = 0, evidence.two_tasks
    for op, rows in attempts_of_retried(evidence):
        note, excused = _first_overlap(evidence, rows)
        if note and op not in two_tasks:
            notes[op] = note
        overtaken += excused and not note
    outcome = Outcome.FAIL if notes else Outcome.PASS
    reason = f"{counted(len(notes), 'task')} ran twice at the same time"
    if overtaken:
        reason += f"; {overtaken} beside an attempt that had been stopped for longer than its lease, with a lower fence"
    result = RuleResult(Rule.OVERLAP, outcome, "overlapping attempts = 0", len(notes), reason)
    return if_claimed(evidence.contract, Claim.EXCLUSIVE, with_samples(result, notes, notes.__getitem__))


def key_overlap(evidence: CaseEvidence) -> RuleResult:
    """No two operations of one business key at the same time, where the case has such keys; excused as `overlap` is."""
    keys, attempts = evidence.history.keys, evidence.history.attempts
    expression = "keys held twice = 0"
    if not keys:
        return RuleResult(Rule.KEY_OVERLAP, Outcome.NOT_CLAIMED, expression, None, "the case has no business keys")
    rows: dict[int, list[int]] = {}
    for row, op in enumerate(attempts.op):
        rows.setdefault(op % keys, []).append(row)
    notes, overtaken = [], 0
    for key, mine in rows.items():
        note, excused = _first_overlap(evidence, mine, of_one=False)
        if note:
            notes.append(f"key-{key}: {note}")
        overtaken += excused and not note
    outcome, reason = Outcome.PASS, f"of {counted(len(rows), 'business key')}, no two tasks ran at the same time"
    if notes:
        outcome, reason = Outcome.FAIL, f"of {counted(len(notes), 'business key')}, two tasks ran at the same time"
    elif all(len(mine) < 2 for mine in rows.values()):
        outcome, reason = Outcome.UNKNOWN, "no key had two tasks that ran: offer more"
    if overtaken:
        reason += f"; {overtaken} beside an attempt that had been stopped for longer than its lease, with a lower fence"
    result = RuleResult(Rule.KEY_OVERLAP, outcome, expression, len(notes), reason)
    return if_claimed(evidence.contract, Claim.EXCLUSIVE_KEYS, with_texts(result, notes))


def _first_overlap(evidence: CaseEvidence, rows: list[int], *, of_one: bool = True) -> tuple[str, bool]:
    """What to say about the first two attempts that intersect, empty when none do; and whether some were excused.

    of_one: two of one operation; else two of different ones.
    """
    attempts, excused = evidence.history.attempts, False
    ends = {row: evidence.attempt_end(row) for row in rows}
    running: list[int] = []
    for row in sorted(rows, key=lambda row: (attempts.begun_ns[row], ends[row], attempts.role[row], row)):
        begun_ns = attempts.begun_ns[row]
        running = [other for other in running if ends[other] > begun_ns]
        met = [other for other in running if (attempts.op[other] == attempts.op[row]) is of_one]
        held = [other for other in met if not _refusable(evidence, other, row)]
        if held:
            return _told(evidence, row, max(held, key=lambda other: (ends[other], other))), excused
        excused = excused or bool(met)
        running.append(row)
    return "", excused


def _told(evidence: CaseEvidence, row: int, holder: int) -> str:
    attempts = evidence.history.attempts
    what = f"{evidence.role(attempts.role[row])} began while {evidence.role(attempts.role[holder])}"
    if evidence.attempt_end(holder) == FOREVER:
        return f"{what} had an attempt that never ended"
    return f"{what} still had {(evidence.attempt_end(holder) - attempts.begun_ns[row]) / NS_PER_MS:.1f} ms to run"


def _refusable(evidence: CaseEvidence, one: int, other: int) -> bool:
    """Whether a resource can tell the two apart, and the one with the lower fence could not know that it was over."""
    if not evidence.contract.has(Claim.FENCED):
        return False
    fence = evidence.history.attempts.fence
    lower, higher = sorted((one, other), key=fence.__getitem__)
    return UNFENCED < fence[lower] < fence[higher] and evidence.overtaken(lower, higher)


def fence(evidence: CaseEvidence) -> RuleResult:
    """Every attempt carries a fence, and within an operation a later attempt a higher one than all before it.

    Lower only when its process was stopped before it began, for longer than the lease: a resource refuses it.
    """
    attempts = evidence.history.attempts
    unnamed = compress(attempts.op, map(UNFENCED.__eq__, attempts.fence))
    notes = dict.fromkeys(unnamed, "an attempt without a fence")
    two_tasks = evidence.two_tasks
    for op, rows in attempts_of_retried(evidence):
        if op not in two_tasks and (above := _not_below(evidence, rows)) is not None:
            notes.setdefault(op, above)
    outcome = Outcome.FAIL if notes else Outcome.PASS
    reason = f"{counted(len(notes), 'task')} ran with a fence that was missing or not above those before"
    if attempts.fence and attempts.fence.count(UNFENCED) == len(attempts.fence):
        reason = "no attempt carried a fence"
    result = RuleResult(Rule.FENCE, outcome, "fences rise", len(notes), reason)
    return if_claimed(evidence.contract, Claim.FENCED, with_samples(result, notes, notes.__getitem__))


def _not_below(evidence: CaseEvidence, rows: list[int]) -> str | None:
    """What to say about the first attempt whose fence is not above that of an earlier one; None when all rise."""
    fences = evidence.history.attempts.fence
    highest = UNFENCED
    for number, row in enumerate(rows):
        if fences[row] > highest:
            highest = fences[row]
            continue
        for before in islice(rows, number):
            if fences[before] >= fences[row] and not _refusable(evidence, row, before):
                return f"fence {fences[row]} after {fences[before]}"
    return None
