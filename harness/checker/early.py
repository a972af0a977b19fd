"""Early: an operation that was sent to be run later does not begin before that time."""

from __future__ import annotations

from taskchaos.harness.checker.evidence import CaseEvidence
from taskchaos.harness.checker.results import counted, if_claimed, with_samples
from taskchaos.harness.checker.waits import first_sent_and_tried
from taskchaos.harness.clock import NS_PER_MS, seconds
from taskchaos.harness.contract import Claim
from taskchaos.harness.record.verdict import Outcome, Rule, RuleResult

_EXPRESSION = "begun before they were due = 0"
#: What clocks may be read apart: the due time is reckoned from the wall clock of who sends.
TOLERANCE_NS = 10 * NS_PER_MS


def early(evidence: CaseEvidence) -> RuleResult:
    """No first attempt before the time that the operation was sent for."""
    delays_ns = evidence.history.delays_ns
    if not delays_ns:
        return RuleResult(Rule.EARLY, Outcome.NOT_CLAIMED, _EXPRESSION, None, "the case sends nothing to be run later")
    tried = [one for one in first_sent_and_tried(evidence) if one[0] in delays_ns]
    before = {op: sent_ns + delays_ns[op] - begun_ns for op, sent_ns, begun_ns in tried}
    over = {op: by_ns for op, by_ns in before.items() if by_ns > TOLERANCE_NS}
    outcome, reason = Outcome.PASS, f"each of {counted(len(tried), 'task')} began when it was due, or later"
    if not tried:
        outcome, reason = Outcome.UNKNOWN, "nothing that was to be run later was tried: check that workers ran"
    if over:
        outcome, reason = Outcome.FAIL, f"{counted(len(over), 'task')} of {len(tried)} began too early"
    result = RuleResult(Rule.EARLY, outcome, _EXPRESSION, len(over), reason)
    result = with_samples(result, over, lambda op: f"began {seconds(over[op]):.3f} s before it was due")
    return if_claimed(evidence.contract, Claim.ETA, result)
