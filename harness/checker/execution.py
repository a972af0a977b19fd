"""How often and for whom bodies ran: duplicate, unexpected, resurrected, retries."""

from __future__ import annotations

from collections.abc import Iterator

from harness.checker.evidence import FOREVER, Evidence, attempts_of_retried, ended_ns, happened
from harness.checker.results import counted, if_claimed, samples_of
from harness.checker.tally import (
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
from harness.clock import NS_PER_MS
from harness.contract import Claim
from harness.verdict import Outcome, Rule, RuleResult


def duplicate(evidence: Evidence) -> RuleResult:
    """Effectively once: no second effect. At least once: none that no fault explains.

    Second effects of operations that should have none at all, and zombies, are reported by those rules.
    """
    repeated = evidence.tally.mask(lambda flags: flags & REPEATED and flags & (ACKED | UNSURE))
    ops = [op for op in ops_in(repeated) if op not in evidence.zombies]
    if evidence.contract.has(Claim.EFFECTIVELY_ONCE):
        return _duplicates(evidence, ops, "effects per operation <= 1", "took effect more than once")
    explained = _explained(evidence, ops)
    left = [op for op in ops if op not in explained]
    told = "without a fault to explain it" if left else "unexplained"
    reason = f"took effect more than once {told}; {len(explained)} explained by faults or unsure submits"
    return _duplicates(evidence, left, "unexplained duplicates = 0", reason)


def _duplicates(evidence: Evidence, ops: list[int], expression: str, told: str) -> RuleResult:
    outcome = Outcome.FAIL if ops else Outcome.PASS
    reason = f"{counted(len(ops), 'operation')} {told}"

    def note(op: int) -> str:
        times = evidence.tally.repeats[op]
        return f"{len(times)} effects within {(times[-1] - times[0]) / NS_PER_MS:.0f} ms"

    return RuleResult(Rule.DUPLICATE, outcome, expression, len(ops), reason, samples_of(ops, note))


def _explained(evidence: Evidence, ops: list[int]) -> set[int]:
    """Duplicates that at-least-once delivery allows.

    A proven fault must have been in force during a submit (the publisher may have sent twice), between the first
    sight of the operation at a worker and its last effect, or at that worker while the message was on its way there.
    Without delivery records the first sight may have been any time after the submit.
    """
    history, tally = evidence.history, evidence.tally
    explained = {op for op in ops if tally.flags[op] & UNSURE}
    if not evidence.spans or len(explained) == len(ops):
        return explained
    wanted = mask_of(ops, history.planned)
    seen = dict.fromkeys(ops, FOREVER)
    for row in rows_in(history.deliveries.op, wanted):
        op = history.deliveries.op[row]
        seen[op] = min(seen[op], history.deliveries.at_ns[row])
    unseen = {op for op in ops if seen[op] == FOREVER}
    for row in rows_in(history.attempts.op, wanted):
        op = history.attempts.op[row]
        seen[op] = min(seen[op], history.attempts.begun_ns[row])
    submits = history.submits
    for row in rows_in(submits.op, wanted):
        op, begun_ns = submits.op[row], submits.begun_ns[row]
        if op in unseen:
            seen[op] = min(seen[op], begun_ns)
        if evidence.bitten(begun_ns, max(begun_ns, submits.done_ns[row])):
            explained.add(op)
    explained.update(op for op in ops if evidence.bitten(seen[op], tally.last_effect[op]))
    if left := [op for op in ops if op not in explained]:
        explained.update(_held_up(evidence, mask_of(left, history.planned)))
    return explained


def _held_up(evidence: Evidence, wanted: bytearray) -> Iterator[int]:
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
            if target == role and sent[op] <= healed_ns and begun_ns <= at_ns <= 2 * healed_ns - begun_ns:
                yield op


def unexpected(evidence: Evidence) -> RuleResult:
    """Nothing may run that was never submitted."""
    inside = ops_in(evidence.tally.mask(lambda flags: flags & (EFFECT | TRIED) and not flags & SUBMITTED))
    outside = evidence.outside.effects | evidence.outside.attempts
    total, torn = len(inside) + len(outside), evidence.history.torn_records
    outcome, reason = Outcome.PASS, "everything that ran was submitted"
    if total:
        outcome, reason = Outcome.FAIL, f"{counted(total, 'operation')} ran without ever being submitted"
    if total and not outside and total <= torn:
        outcome = Outcome.UNKNOWN
        reason += f", unless their submits are among the {counted(torn, 'torn record')}; see why the ledger was cut"

    def note(op: int) -> str:
        return "not in the plan" if op in outside else "in the plan, never submitted"

    samples = samples_of([*inside, *outside], note)
    return RuleResult(Rule.UNEXPECTED, outcome, "unexpected = 0", total, reason, samples)


def resurrected(evidence: Evidence) -> RuleResult:
    """A submit that was refused for certain must not take effect."""
    ops = ops_in(evidence.tally.mask(lambda flags: flags & EFFECT and flags & SUBMITTED == REFUSED))
    outcome = Outcome.FAIL if ops else Outcome.PASS
    reason = f"{counted(len(ops), 'refused submit')} took effect"
    samples = samples_of(ops, lambda op: "its submit was refused, yet it took effect")
    return RuleResult(Rule.RESURRECTED, outcome, "resurrected = 0", len(ops), reason, samples)


def retries(evidence: Evidence) -> RuleResult:
    """Attempts per operation stay within the contract. What a fault ended or met is not held against it."""
    limit, worst = evidence.contract.max_attempts, 0
    over: dict[int, int] = {}
    for op, rows in attempts_of_retried(evidence):
        number = sum(1 for row in rows if _counts(evidence, row))
        worst = max(worst, number)
        if number > limit:
            over[op] = number
    if not worst and evidence.tally.count(lambda flags: flags & TRIED):
        worst = 1
    outcome = Outcome.FAIL if over else Outcome.PASS
    reason = f"{counted(len(over), 'operation')} over the limit; the most attempts are {worst}"
    samples = samples_of(over, lambda op: f"{over[op]} attempts that no fault met")
    expression = f"attempts per operation <= {limit}"
    result = RuleResult(Rule.RETRIES, outcome, expression, worst, reason, samples)
    return if_claimed(evidence.contract, Claim.RETRIES_BOUNDED, result)


def _counts(evidence: Evidence, row: int) -> bool:
    if evidence.was_killed(row):
        return False
    return not evidence.bitten(evidence.history.attempts.begun_ns[row], evidence.attempt_end(row))
