"""Results: what took effect has its result in the result backend in the end."""

from __future__ import annotations

from taskchaos.harness.checker.columns import ACKED, EFFECT, ops_in
from taskchaos.harness.checker.evidence import CaseEvidence
from taskchaos.harness.checker.loss import doubts_about
from taskchaos.harness.checker.results import counted, if_claimed, with_samples
from taskchaos.harness.contract import Claim
from taskchaos.harness.record.verdict import Outcome, Rule, RuleResult

_EXPRESSION = "results missing = 0"


def results(evidence: CaseEvidence) -> RuleResult:
    """No acknowledged operation that took effect may be without a final result, where the case has results kept.

    What is still on the broker may be given one later. One that says failure is a `false_failure`.
    """
    if not evidence.history.keep_results:
        return RuleResult(Rule.RESULTS, Outcome.NOT_CLAIMED, _EXPRESSION, None, "the case does not ask for results")
    return if_claimed(evidence.contract, Claim.RESULTS, _missing(evidence))


def _missing(evidence: CaseEvidence) -> RuleResult:
    final = evidence.history.final
    done = ops_in(evidence.tally.mask(lambda flags: flags & ACKED and flags & EFFECT))
    ops = [op for op in done if op not in final.results and op not in final.pending]
    outcome, reason = Outcome.PASS, f"each of {counted(len(done), 'task')} that took effect has one"
    if ops:
        outcome, reason = Outcome.FAIL, f"{counted(len(ops), 'task')} took effect and left no final result"
    if not done:
        outcome, reason = Outcome.UNKNOWN, "nothing took effect, so no result was due: check that workers ran"
    elif doubts := doubts_about(final):
        outcome, reason = Outcome.UNKNOWN, f"{reason}, but {', '.join(doubts)}; drain for longer"
    result = RuleResult(Rule.RESULTS, outcome, _EXPRESSION, len(ops), reason)
    return with_samples(result, ops, lambda op: "it took effect, and the result backend has no final result of it")
