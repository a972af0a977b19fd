"""Durability: what Redis forgot of what it had acknowledged, told apart from what the subject lost.

Redis may lose what it has not yet written through, or not yet sent to a replica. A fault that makes it do so says since
when; an operation whose submit was acknowledged from then on, and that is missing, is no finding about the subject. One
that was acknowledged before is its loss as ever: what a restored state still holds, a subject has to find there.
"""

from __future__ import annotations

from taskchaos.harness.checker.columns import ops_in
from taskchaos.harness.checker.evidence import CaseEvidence
from taskchaos.harness.checker.faults import happened, label
from taskchaos.harness.checker.loss import doubts_about, unaccounted
from taskchaos.harness.checker.results import counted, if_claimed, with_samples
from taskchaos.harness.clock import seconds
from taskchaos.harness.contract import Claim
from taskchaos.harness.record.history import FaultInterval
from taskchaos.harness.record.verdict import Outcome, Rule, RuleResult

_EXPRESSION = "forgotten by Redis = 0"


def durability(evidence: CaseEvidence) -> RuleResult:
    """No acknowledged operation may be missing because Redis forgot it: claimed only by who waits for the disk."""
    memories = [fault for fault in evidence.history.faults if happened(fault) and fault.forgot_since_ns is not None]
    if not memories:
        reason = "no fault made Redis forget anything"
        nothing = RuleResult(Rule.DURABILITY, Outcome.PASS, _EXPRESSION, 0, reason)
        return if_claimed(evidence.contract, Claim.DURABLE, nothing)
    forgotten = evidence.forgotten
    gone = [op for op in ops_in(evidence.tally.missing()) if op in forgotten and unaccounted(evidence, op)]
    windows = "; ".join(_window(fault) for fault in memories)
    outcome, reason = Outcome.PASS, f"nothing that it had acknowledged is missing ({windows})"
    if gone:
        outcome = Outcome.FAIL
        reason = f"{counted(len(gone), 'acknowledged task')} missing that Redis could forget ({windows})"
    if doubts := doubts_about(evidence.history.final):
        outcome, reason = Outcome.UNKNOWN, f"{reason}, but {', '.join(doubts)}; drain for longer"
    result = RuleResult(Rule.DURABILITY, outcome, _EXPRESSION, len(gone), reason)
    result = with_samples(result, gone, lambda op: "its submit was acknowledged, and not yet written through")
    return if_claimed(evidence.contract, Claim.DURABLE, result)


def _window(fault: FaultInterval) -> str:
    if not fault.forgot_since_ns:
        return f"{label(fault)}: all that it held"
    return f"{label(fault)}: the last {seconds(fault.injected_ns - fault.forgot_since_ns):.2f} s"
