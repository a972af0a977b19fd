"""How often and for whom bodies ran: duplicate, unexpected, resurrected, retries."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

from taskchaos.harness.checker.chords import members
from taskchaos.harness.checker.columns import (
    ACKED,
    EFFECT,
    REFUSED,
    REPEATED,
    SUBMITTED,
    TRIED,
    UNSURE,
    mask_of,
    ops_in,
    rows_in,
)
from taskchaos.harness.checker.evidence import CaseEvidence, attempts_of_retried
from taskchaos.harness.checker.faults import FOREVER, ended_ns, happened
from taskchaos.harness.checker.results import counted, if_claimed, unless_torn, with_samples
from taskchaos.harness.clock import NS_PER_MS
from taskchaos.harness.contract import Claim
from taskchaos.harness.record.history import AttemptOutcome
from taskchaos.harness.record.verdict import Outcome, Rule, RuleResult


def duplicate(evidence: CaseEvidence) -> RuleResult:
    """Effectively once: no second effect. At least once: none that no fault explains.

    Second effects of operations that should have none at all, and zombies, are reported by those rules.
    """
    repeated = evidence.tally.mask(lambda flags: flags & REPEATED and flags & (ACKED | UNSURE))
    ops = [op for op in ops_in(repeated) if op not in evidence.zombies]
    if evidence.contract.has(Claim.EFFECTIVELY_ONCE):
        return _duplicates(evidence, ops, "effects per task <= 1", "took effect more than once")
    explained = _explained(evidence, ops)
    left = [op for op in ops if op not in explained]
    told = "without a fault to explain it" if left else "unexplained"
    reason = f"took effect more than once {told}; {len(explained)} explained by faults or unsure submits"
    return _duplicates(evidence, left, "unexplained duplicates = 0", reason)


def _duplicates(evidence: CaseEvidence, ops: list[int], expression: str, told: str) -> RuleResult:
    outcome = Outcome.FAIL if ops else Outcome.PASS
    reason = f"{counted(len(ops), 'task')} {told}"

    def note(op: int) -> str:
        times = evidence.tally.repeats[op]
        return f"{len(times)} effects within {(times[-1] - times[0]) / NS_PER_MS:.0f} ms"

    return with_samples(RuleResult(Rule.DUPLICATE, outcome, expression, len(ops), reason), ops, note)


def _explained(evidence: CaseEvidence, ops: list[int]) -> set[int]:
    """Duplicates that at-least-once delivery allows, and those of what was submitted twice on purpose (unique.py)."""
    return explained_by_faults(evidence, ops) | evidence.sent_again.intersection(ops)


def explained_by_faults(evidence: CaseEvidence, ops: list[int]) -> set[int]:
    """Of operations with several effects, those that a fault explains.

    A fault of the submitting producer must have been in force during a submit (it may have sent twice), or one of a
    worker that had the operation between the first sight of it there and its last effect; or one of a server at either
    time; or one at the worker while the message was on its way there. The body of a chord may have been sent twice by
    whoever had one of its members.
    """
    history, tally = evidence.history, evidence.tally
    explained = {op for op in ops if tally.flags[op] & UNSURE}
    wanted = mask_of(ops, history.planned)
    submits = history.submits
    for row in rows_in(submits.op, wanted):
        begun_ns, producer = submits.begun_ns[row], evidence.role(submits.role[row])
        if evidence.bites.of(producer).meet(begun_ns, max(begun_ns, submits.done_ns[row])):
            explained.add(submits.op[row])
    about = [(op, seen) for op in ops for seen in (op, *members(history, op))]
    sightings = _sightings(evidence, mask_of((seen for _, seen in about), history.planned))
    for op, seen in about:
        seen_ns, roles = sightings[seen]
        if any(evidence.bites.of(role).meet(seen_ns, tally.last_effect[op]) for role in roles):
            explained.add(op)
    return explained.union(_held_up(evidence, wanted))


def _sightings(evidence: CaseEvidence, wanted: bytearray) -> dict[int, tuple[int, set[str]]]:
    """By operation, when it was first seen at a worker, and the workers that had it.

    Without a record of its delivery it may have been there at any time since its first submit.
    """
    history = evidence.history
    seen = dict.fromkeys(ops_in(wanted), FOREVER)
    roles = {op: {""} for op in seen}  # nobody's: servers meet them anyway

    def look(rows: Iterable[int], ops: array[int], times: array[int], role: array[int]) -> None:
        for row in rows:
            seen[ops[row]] = min(seen[ops[row]], times[row])
            roles[ops[row]].add(evidence.role(role[row]))

    deliveries, attempts, submits = history.deliveries, history.attempts, history.submits
    look(rows_in(deliveries.op, wanted), deliveries.op, deliveries.at_ns, deliveries.role)
    unseen = mask_of((op for op in seen if seen[op] == FOREVER), history.planned)
    look(rows_in(attempts.op, wanted), attempts.op, attempts.begun_ns, attempts.role)
    for row in rows_in(submits.op, unseen):
        seen[submits.op[row]] = min(seen[submits.op[row]], submits.begun_ns[row])
    return {op: (seen[op], roles[op]) for op in seen}


def _held_up(evidence: CaseEvidence, wanted: bytearray) -> Iterator[int]:
    """Operations whose delivery a fault of the receiving worker may have held up on the way from Redis.

    TCP sends again what a cut has swallowed, doubling its pauses: after at most as long again as the cut has lasted.
    The message may have been taken from its queue at any time until the fault was healed.
    """
    history = evidence.history
    faults = [(fault.target, fault.injected_ns, ended_ns(fault)) for fault in history.faults if happened(fault)]
    sent: dict[int, int] = {}
    for row in rows_in(history.submits.op, wanted):
        op = history.submits.op[row]
        sent[op] = min(sent.get(op, FOREVER), history.submits.begun_ns[row])
    deliveries = history.deliveries
    for row in rows_in(deliveries.op, wanted):
        op, at_ns, role = deliveries.op[row], deliveries.at_ns[row], evidence.role(deliveries.role[row])
        for target, begun_ns, healed_ns in faults:
            in_time = sent[op] <= healed_ns <= at_ns <= 2 * healed_ns - begun_ns
            if target == role and in_time and at_ns <= evidence.tally.last_effect[op]:
                yield op


def unexpected(evidence: CaseEvidence) -> RuleResult:
    """Nothing may run that was never submitted."""
    inside = ops_in(evidence.tally.mask(lambda flags: flags & (EFFECT | TRIED) and not flags & SUBMITTED))
    outside = (evidence.outside.effects | evidence.outside.attempts) - evidence.outside.submits
    total, torn = len(inside) + len(outside), evidence.history.torn_records
    outcome, reason = Outcome.PASS, "everything that ran was submitted"
    if total:
        outcome, reason = Outcome.FAIL, f"{counted(total, 'task')} ran without ever being submitted"
    if total and not outside and total <= torn:
        outcome = Outcome.UNKNOWN
        reason += unless_torn("their submits", torn)

    def note(op: int) -> str:
        return "not in the plan" if op in outside else "in the plan, never submitted"

    result = RuleResult(Rule.UNEXPECTED, outcome, "unexpected = 0", total, reason)
    return with_samples(result, [*inside, *outside], note)


def resurrected(evidence: CaseEvidence) -> RuleResult:
    """A submit that was refused for certain must not take effect."""
    ops = ops_in(evidence.tally.mask(lambda flags: flags & EFFECT and flags & SUBMITTED == REFUSED))
    outcome = Outcome.FAIL if ops else Outcome.PASS
    reason = f"{counted(len(ops), 'refused submit')} took effect"
    result = RuleResult(Rule.RESURRECTED, outcome, "resurrected = 0", len(ops), reason)
    return with_samples(result, ops, lambda op: "its submit was refused, yet it took effect")


def retries(evidence: CaseEvidence) -> RuleResult:
    """Attempts per operation stay within the contract; those that ended their own process, within its crashes.

    What a fault of its own worker or of a server met, or ended with its process, is not held against an operation. Nor
    is what comes after the first that did it: that is no retry but a redelivery, which `duplicate` tells.
    """
    limit, most_crashes, worst = evidence.contract.max_attempts, evidence.contract.max_crashes, 0
    outcome = evidence.history.attempts.outcome
    over: dict[int, str] = {}
    for op, rows in attempts_of_retried(evidence):
        crashes = sum(1 for row in rows if outcome[row] == AttemptOutcome.CRASHED)
        done = next((n for n, row in enumerate(rows, start=1) if outcome[row] == AttemptOutcome.OK), None)
        number = sum(1 for row in rows[:done] if _counts(evidence, row))
        worst = max(worst, number)
        if number > limit:
            over[op] = f"{number} attempts that no fault met"
        elif most_crashes is not None and crashes > most_crashes:
            over[op] = f"{crashes} crashes of {most_crashes}"
    if not worst and evidence.tally.count(lambda flags: flags & TRIED):
        worst = 1
    found = Outcome.FAIL if over else Outcome.PASS
    reason = f"{counted(len(over), 'task')} over the limit; the most attempts are {worst}"
    result = RuleResult(Rule.RETRIES, found, f"attempts per task <= {limit}", worst, reason)
    result = with_samples(result, over, over.__getitem__)
    return if_claimed(evidence.contract, Claim.RETRIES_BOUNDED, result)


def _counts(evidence: CaseEvidence, row: int) -> bool:
    if evidence.was_killed(row):
        return False
    attempts = evidence.history.attempts
    if attempts.outcome[row] == AttemptOutcome.CRASHED:
        return False
    bites = evidence.bites.of(evidence.role(attempts.role[row]))
    return not bites.meet(attempts.begun_ns[row], evidence.attempt_end(row))
