"""How rules build their results: capped samples beside the whole count, one-line reasons, "not claimed"."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from heapq import nsmallest

from taskchaos.harness.contract import Claim, Contract
from taskchaos.harness.record.verdict import MAX_SAMPLES, Outcome, RuleResult, Sample


def with_samples(result: RuleResult, ops: Collection[int], note: Callable[[int], str]) -> RuleResult:
    """The result with samples of the lowest operations; notes are written for these alone."""
    samples = tuple(Sample(op, note(op)) for op in nsmallest(MAX_SAMPLES, ops))
    return replace(result, samples=samples, found=len(ops))


def with_texts(result: RuleResult, notes: Collection[str]) -> RuleResult:
    """The result with samples that are not about an operation."""
    samples = tuple(Sample(None, note) for note in nsmallest(MAX_SAMPLES, notes))
    return replace(result, samples=samples, found=len(notes))


def if_claimed(contract: Contract, claim: Claim, result: RuleResult) -> RuleResult:
    """The result, or "not claimed" with the same figure when the subject does not promise this."""
    if contract.has(claim):
        return result
    reason = f"the subject does not claim {claim}; seen: {result.reason}"
    return replace(result, outcome=Outcome.NOT_CLAIMED, reason=reason, samples=(), found=0)


def unless_torn(what: str, torn: int) -> str:
    """The doubt that a finding is under when what it misses may be among so many records that could not be read."""
    return f", unless {what} are among the {counted(torn, 'torn record')}; see why the ledger was cut"


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: "1 operation", "2 operations"."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"
