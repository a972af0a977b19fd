"""How rules build their results: capped samples, one-line reasons, "not claimed"."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from heapq import nsmallest

from harness.contract import Claim, Contract
from harness.verdict import MAX_SAMPLES, Outcome, RuleResult, Sample


def samples_of(ops: Iterable[int], note: Callable[[int], str]) -> tuple[Sample, ...]:
    """The samples of the lowest operations; notes are written for these alone."""
    return tuple(Sample(op, note(op)) for op in nsmallest(MAX_SAMPLES, ops))


def texts(notes: Iterable[str]) -> tuple[Sample, ...]:
    """Samples that are not about an operation."""
    return tuple(Sample(None, note) for note in nsmallest(MAX_SAMPLES, notes))


def if_claimed(contract: Contract, claim: Claim, result: RuleResult) -> RuleResult:
    """The result, or "not claimed" with the same figure when the subject does not promise this."""
    if contract.has(claim):
        return result
    reason = f"the subject does not claim {claim}; seen: {result.reason}"
    return replace(result, outcome=Outcome.NOT_CLAIMED, reason=reason, samples=())


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: "1 operation", "2 operations"."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"
