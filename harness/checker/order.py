"""Order: the body of a chord begins when all its members have taken effect, and never if one of them cannot."""

from __future__ import annotations

from taskchaos.harness.checker.chords import bodies, members
from taskchaos.harness.checker.columns import mask_of, rows_in
from taskchaos.harness.checker.evidence import CaseEvidence
from taskchaos.harness.checker.results import counted, if_claimed, unless_torn, with_samples
from taskchaos.harness.clock import NS_PER_MS
from taskchaos.harness.contract import Claim
from taskchaos.harness.record.history import NEVER, History
from taskchaos.harness.record.verdict import Outcome, Rule, RuleResult

_EXPRESSION = "begun too early = 0"


def order(evidence: CaseEvidence) -> RuleResult:
    """No body may begin before every member has taken effect. That one that could begin never did is a loss."""
    history = evidence.history
    if not history.chord_of:
        return RuleResult(Rule.ORDER, Outcome.NOT_CLAIMED, _EXPRESSION, None, "the case has no chords")
    begun = _begun(history)
    called_off = evidence.letters.called_off
    notes = {op: note for op, begun_ns in begun.items() if (note := _too_early(evidence, op, begun_ns))}
    outcome = Outcome.PASS
    reason = f"{counted(len(begun), 'body', 'bodies')} began, each when all its members had taken effect"
    if called_off:
        reason += f"; {len(called_off)} did not, because a member failed for good"
    if notes:
        outcome = Outcome.FAIL
        reason = f"{len(notes)} of {counted(len(begun), 'body', 'bodies')} began before all members had taken effect"
        if len(notes) <= history.torn_records:
            outcome, reason = Outcome.UNKNOWN, reason + unless_torn("their effects", history.torn_records)
    elif not begun and not called_off:
        outcome, reason = Outcome.UNKNOWN, "no body of a chord began: see what became of their members"
    result = RuleResult(Rule.ORDER, outcome, _EXPRESSION, len(notes), reason)
    return if_claimed(evidence.contract, Claim.ORDER, with_samples(result, notes, notes.__getitem__))


def _begun(history: History) -> dict[int, int]:
    """When each body began for the first time, of those that did."""
    attempts, begun = history.attempts, dict[int, int]()
    for row in rows_in(attempts.op, mask_of(bodies(history), history.planned)):
        op, at_ns = attempts.op[row], attempts.begun_ns[row]
        begun[op] = min(begun.get(op, at_ns), at_ns)
    return begun


def _too_early(evidence: CaseEvidence, body: int, begun_ns: int) -> str:
    """What to say about the member that the body should have waited for, the last of all; empty if it did."""
    effects = evidence.tally.first_effect
    never = [op for op in members(evidence.history, body) if effects[op] == NEVER]
    if never:
        failed = never[0] in evidence.letters.due
        return f"began although member {never[0]} " + ("failed for good" if failed else "never took effect")
    last_ns, last = max((effects[op], op) for op in members(evidence.history, body))
    if last_ns <= begun_ns:
        return ""
    return f"began {(last_ns - begun_ns) / NS_PER_MS:.1f} ms before member {last} took effect"
