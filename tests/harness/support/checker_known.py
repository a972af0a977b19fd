"""The list of known histories, each with the whole result that is expected of one rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from checker_histories import ALL, HistoryBuilder

from taskchaos.harness.contract import Contract
from taskchaos.harness.record.history import AttemptOutcome, ClaimKind, History
from taskchaos.harness.record.verdict import SLO_RULES, Outcome, Rule, RuleResult, Sample

PASS, FAIL, UNKNOWN, NOT_CLAIMED = Outcome.PASS, Outcome.FAIL, Outcome.UNKNOWN, Outcome.NOT_CLAIMED
OPEN, TRANSIENT, PERMANENT = AttemptOutcome.OPEN, AttemptOutcome.TRANSIENT, AttemptOutcome.PERMANENT
SUCCESS, FAILURE, RETRY = ClaimKind.SUCCESS, ClaimKind.FAILURE, ClaimKind.RETRY
REJECTED, REVOKED = ClaimKind.REJECTED, ClaimKind.REVOKED


@dataclass(frozen=True)
class Known:
    """A history with the result that one rule must give; `others` are the further rules that may not pass."""

    name: str
    history: History
    result: RuleResult
    contract: Contract = ALL
    others: frozenset[Rule] = frozenset()


KNOWN: list[Known] = []


def known(
    name: str,
    rule: Rule,
    outcome: Outcome,
    observed: float | None,
    reason: str,
    *samples: tuple[int | None, str],
    contract: Contract = ALL,
    others: tuple[Rule, ...] = (),
    expression: str = "",
    found: int | None = None,
) -> Callable[[Callable[[], HistoryBuilder]], None]:
    """Registers the history that the decorated function builds. found: when it is more than the samples."""

    def register(build: Callable[[], HistoryBuilder]) -> None:
        told = tuple(Sample(*sample) for sample in samples)
        whole = len(told) if found is None else found
        result = RuleResult(rule, outcome, expression or EXPRESSIONS[rule], observed, reason, told, whole)
        history = build().build()
        # Without an attempt there is no step to be judged, and what is about figures is slow on purpose.
        no_matter = frozenset(
            {Rule.DURATION}
            if rule in SLO_RULES or not any(0 <= op < history.planned for op in history.attempts.op)
            else ()
        )
        KNOWN.append(Known(name, history, result, contract, frozenset(others) | no_matter))

    return register


EXPRESSIONS = {
    Rule.LOST: "lost = 0",
    Rule.DURABILITY: "forgotten by Redis = 0",
    Rule.UNIQUE: "taken for two = 0",
    Rule.EARLY: "begun before they were due = 0",
    Rule.REVOKED: "begun although revoked = 0",
    Rule.PRIORITY: "left behind a less urgent one = 0",
    Rule.KEY_OVERLAP: "keys held twice = 0",
    Rule.DEAD_LETTER: "undue dead letters = 0",
    Rule.STUCK: "stuck = 0",
    Rule.DUPLICATE: "effects per task <= 1",
    Rule.OVERLAP: "overlapping attempts = 0",
    Rule.FENCE: "fences rise",
    Rule.UNEXPECTED: "unexpected = 0",
    Rule.RESURRECTED: "resurrected = 0",
    Rule.FALSE_SUCCESS: "false successes = 0",
    Rule.FALSE_FAILURE: "false failures = 0",
    Rule.ZOMBIE: "zombie effects = 0",
    Rule.RESULTS: "results missing = 0",
    Rule.ORDER: "begun too early = 0",
    Rule.LEAK: "keys left = 0",
    Rule.GROWTH: "back to baseline",
    Rule.RETRIES: "attempts per task <= 3",
    Rule.BACKOFF: "waits: exponential, 0.2 s up to 0.4 s, full jitter",
    Rule.RETRY_STORM: "retries while it is down as claimed",
    Rule.DURATION: "waits beyond 1 s explained",
    Rule.EVIDENCE: "gaps in the evidence = 0",
    Rule.FAULTS: "planned faults proven and healed",
    Rule.CONVERGED: "converged",
    Rule.WORKERS: "unexplained worker deaths = 0",
    Rule.THROUGHPUT: "effects/s >= 100, or 95 % of the offered rate",
    Rule.RECOVERY: "back at 95 % of baseline within 1 s",
}
H = HistoryBuilder
