"""What the subject says against what happened: false success, false failure, zombie."""

from __future__ import annotations

from taskchaos.harness.checker.columns import (
    EFFECT,
    FAILED,
    RESULT_SUCCESS,
    SUBMITTED,
    SUCCEEDED,
    both,
    mask_of,
    ops_in,
    rows_in,
    select,
)
from taskchaos.harness.checker.evidence import CaseEvidence
from taskchaos.harness.checker.results import counted, unless_torn, with_samples
from taskchaos.harness.clock import NS_PER_MS
from taskchaos.harness.record.history import NEVER, ClaimKind
from taskchaos.harness.record.verdict import Outcome, Rule, RuleResult

_SILENT = "the subject says nothing about results"


def false_success(evidence: CaseEvidence) -> RuleResult:
    """Success may be claimed only for what took effect."""
    expression = "false successes = 0"
    if not evidence.tally.spoke:
        return RuleResult(Rule.FALSE_SUCCESS, Outcome.NOT_CLAIMED, expression, None, _SILENT)
    claimed = select(evidence.tally.said, lambda said: said & SUCCEEDED)
    ops = ops_in(both(claimed, evidence.tally.mask(lambda flags: not flags & EFFECT)))
    outcome, reason = Outcome.PASS, "every success that was claimed took effect"
    if ops:
        outcome, reason = Outcome.FAIL, f"{counted(len(ops), 'success', 'successes')} claimed without an effect"
    torn = evidence.history.torn_records
    if ops and len(ops) <= torn:
        outcome = Outcome.UNKNOWN
        reason += unless_torn("the effects", torn)
    if ops and not evidence.workers_recorded:
        outcome = Outcome.UNKNOWN
        reason += ", but no worker wrote to the ledger; see why"
    result = RuleResult(Rule.FALSE_SUCCESS, outcome, expression, len(ops), reason)
    return with_samples(result, ops, lambda op: "success claimed, no effect recorded")


def false_failure(evidence: CaseEvidence) -> RuleResult:
    """The last word on an operation that took effect must not be failure; a dead letter is such a word.

    Zombies are reported as such.
    """
    expression, dead = "false failures = 0", evidence.letters.all
    if not evidence.tally.spoke and not dead:
        return RuleResult(Rule.FALSE_FAILURE, Outcome.NOT_CLAIMED, expression, None, _SILENT)
    failed = select(evidence.tally.said, lambda said: said & FAILED)
    effective = evidence.tally.mask(lambda flags: flags & EFFECT and flags & SUBMITTED)
    suspects = [op for op in ops_in(both(failed, effective)) if op not in evidence.zombies]
    ops = set(_last_word_failure(evidence, suspects))
    ops.update(op for op in dead if effective[op] and op not in evidence.zombies)
    outcome = Outcome.FAIL if ops else Outcome.PASS
    reason = f"{counted(len(ops), 'task')} took effect although the subject's last word is failure"
    result = RuleResult(Rule.FALSE_FAILURE, outcome, expression, len(ops), reason)
    return with_samples(
        result, ops, lambda op: f"{'a dead letter' if op in dead else 'failure claimed'}, but it took effect"
    )


def _last_word_failure(evidence: CaseEvidence, suspects: list[int]) -> list[int]:
    """Those without a success after (or with) their last failure. The final result is later than every claim."""
    history, said = evidence.history, evidence.tally.said
    claims, results = history.claims, history.final.results
    failure = dict.fromkeys(suspects, NEVER)
    success = dict.fromkeys(suspects, NEVER)
    for row in rows_in(claims.op, mask_of(suspects, history.planned)):
        op, at_ns, kind = claims.op[row], claims.at_ns[row], claims.kind[row]
        if kind in (ClaimKind.FAILURE, ClaimKind.REJECTED):
            failure[op] = max(failure[op], at_ns)
        elif kind == ClaimKind.SUCCESS:
            success[op] = max(success[op], at_ns)
    failing = (ClaimKind.FAILURE, ClaimKind.REJECTED)
    return [
        op
        for op in suspects
        if not said[op] & RESULT_SUCCESS and (results.get(op) in failing or success[op] < failure[op])
    ]


def zombie(evidence: CaseEvidence) -> RuleResult:
    """No effect after the subject's final word on its operation."""
    expression = "zombie effects = 0"
    if not evidence.tally.spoke:
        return RuleResult(Rule.ZOMBIE, Outcome.NOT_CLAIMED, expression, None, _SILENT)
    zombies = evidence.zombies
    outcome = Outcome.FAIL if zombies else Outcome.PASS
    reason = f"{counted(len(zombies), 'task')} took effect after the subject's final word"

    def note(op: int) -> str:
        late = zombies[op]
        return f"effect {late.after_ns / NS_PER_MS:.1f} ms after {late.kind.name.lower()} was claimed"

    return with_samples(RuleResult(Rule.ZOMBIE, outcome, expression, len(zombies), reason), zombies, note)
