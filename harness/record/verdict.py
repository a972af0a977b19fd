"""The verdict of a case: one three-valued outcome per rule, each with its reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """Three-valued, plus "not claimed" for a rule that the subject's contract leaves out."""

    PASS = "pass"
    FAIL = "fail"
    UNKNOWN = "unknown"
    NOT_CLAIMED = "not_claimed"


def merge(outcomes: Iterable[Outcome]) -> Outcome:
    """The outcome of several: fail over unknown over pass. Nothing at all is unknown, never a pass."""
    seen = set(outcomes) - {Outcome.NOT_CLAIMED}
    if Outcome.FAIL in seen:
        return Outcome.FAIL
    if Outcome.UNKNOWN in seen or not seen:
        return Outcome.UNKNOWN
    return Outcome.PASS


class Rule(StrEnum):
    """The rules, in the order in which they are printed."""

    LOST = "lost"
    DURABILITY = "durability"
    DEAD_LETTER = "dead_letter"
    STUCK = "stuck"
    DUPLICATE = "duplicate"
    OVERLAP = "overlap"
    KEY_OVERLAP = "key_overlap"
    FENCE = "fence"
    UNEXPECTED = "unexpected"
    RESURRECTED = "resurrected"
    FALSE_SUCCESS = "false_success"
    FALSE_FAILURE = "false_failure"
    ZOMBIE = "zombie"
    RESULTS = "results"
    ORDER = "order"
    LEAK = "leak"
    GROWTH = "growth"
    RETRIES = "retries"
    UNIQUE = "unique"
    EARLY = "early"
    PRIORITY = "priority"
    REVOKED = "revoked"
    BACKOFF = "backoff"
    RETRY_STORM = "retry_storm"
    DURATION = "duration"
    EVIDENCE = "evidence"
    FAULTS = "faults"
    CONVERGED = "converged"
    WORKERS = "workers"
    THROUGHPUT = "throughput"
    RECOVERY = "recovery"


#: Rules about figures rather than about tasks; printed apart.
SLO_RULES = frozenset({Rule.THROUGHPUT, Rule.RECOVERY})
#: Most samples of one defect that a verdict carries; the count is always whole.
MAX_SAMPLES = 32


@dataclass(frozen=True, slots=True)
class Sample:
    """One example of a defect: the operation's number (None if it is not about one) and what was seen."""

    op: int | None
    note: str


@dataclass(frozen=True, slots=True)
class RuleResult:
    """What one rule says.

    expression: what is demanded, such as "lost = 0"; observed: the figure that was found (None = not measurable).
    found: the number of findings of which `samples` are the first ones.
    """

    rule: Rule
    outcome: Outcome
    expression: str
    observed: float | int | None
    reason: str
    samples: tuple[Sample, ...] = ()
    found: int = 0


@dataclass(frozen=True, slots=True)
class OperationCounts:
    """How many operations went which way. `recovered`: unknown submits that took effect anyway.

    submitted: those whose submit was begun. undue: dead letters that neither the plan nor the contract explains.
    """

    submitted: int = 0
    acknowledged: int = 0
    refused: int = 0
    unknown: int = 0
    effects: int = 0
    dead: int = 0
    recovered: int = 0
    duplicates: int = 0
    late_sends: int = 0
    dropped_sends: int = 0
    planned: int = 0
    undue: int = 0


@dataclass(frozen=True, slots=True)
class Throughput:
    """Effects per second by phase (None = not measured) and the time from the last heal to 95 % of baseline."""

    baseline_tps: float | None = None
    fault_tps: float | None = None
    healed_tps: float | None = None
    recovery_s: float | None = None
    target_tps: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of one case."""

    outcome: Outcome
    rules: tuple[RuleResult, ...]
    operations: OperationCounts
    throughput: Throughput

    @property
    def failed(self) -> frozenset[Rule]:
        """The rules that failed."""
        return frozenset(r.rule for r in self.rules if r.outcome is Outcome.FAIL)

    def rule(self, rule: Rule) -> RuleResult:
        """The result of one rule. Raises KeyError when the verdict does not hold it."""
        for result in self.rules:
            if result.rule is rule:
                return result
        raise KeyError(rule)
