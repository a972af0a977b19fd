"""Unique: a task that is submitted a second time under its id is the one that was submitted before."""

from __future__ import annotations

from taskchaos.harness.checker.columns import REPEATED
from taskchaos.harness.checker.evidence import CaseEvidence
from taskchaos.harness.checker.execution import explained_by_faults
from taskchaos.harness.checker.results import counted, if_claimed, with_samples
from taskchaos.harness.contract import Claim
from taskchaos.harness.record.verdict import Outcome, Rule, RuleResult

_EXPRESSION = "taken for two = 0"


def unique(evidence: CaseEvidence) -> RuleResult:
    """No operation that was acknowledged twice may take effect twice, unless a fault explains that."""
    if not evidence.history.again:
        return RuleResult(Rule.UNIQUE, Outcome.NOT_CLAIMED, _EXPRESSION, None, "the case submits nothing twice")
    acknowledged = evidence.acknowledged
    twice = [op for op, times in acknowledged.items() if times > 1]
    repeated = [op for op in twice if evidence.tally.flags[op] & REPEATED]
    explained = explained_by_faults(evidence, repeated)
    ops = [op for op in repeated if op not in explained]
    outcome, reason = Outcome.PASS, f"each of {counted(len(twice), 'task')} that were submitted twice is one task"
    if not twice:
        outcome, reason = Outcome.UNKNOWN, "no second submit was acknowledged: see why"
    if ops:
        outcome = Outcome.FAIL
        reason = f"{counted(len(ops), 'task')} of {len(twice)} that were submitted twice took effect twice"

    def note(op: int) -> str:
        return f"{acknowledged[op]} submits, {len(evidence.tally.repeats[op])} effects"

    result = with_samples(RuleResult(Rule.UNIQUE, outcome, _EXPRESSION, len(ops), reason), ops, note)
    return if_claimed(evidence.contract, Claim.UNIQUE, result)
