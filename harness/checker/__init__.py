"""The checker: a pure function from a history and a contract to a verdict.

    gather (tally.py, evidence.py)   one pass over the rows: a byte of flags per operation, and the rare rows
    loss, execution, exclusion, statements   rules about tasks
    conditions                       rules about whether the case can be judged
    pace, throughput                 rules about figures
    windows                          the case over time, for charts

Every rule gives exactly one result, in the order of `Rule`. A rule passes only on evidence: where the history
leaves room for another explanation the outcome is unknown, and its reason says what to do. Each defect is reported
once, under its most specific rule, except a success that was claimed for a lost operation: that breaks two
promises, so `lost` and `false_success` both name it.

No clock, no I/O, and the history is not changed: the same history gives the same verdict, in any order of its rows.
"""

from __future__ import annotations

from collections.abc import Callable

from harness.checker import conditions, exclusion, execution, loss, statements, throughput
from harness.checker.evidence import Evidence, gather
from harness.checker.pace import Paces
from harness.checker.tally import ACKED, EFFECT, REFUSED, REPEATED, SUBMITTED, UNSURE
from harness.checker.windows import Window, series
from harness.contract import Contract
from harness.history import History
from harness.verdict import OperationCounts, Rule, RuleResult, Verdict, merge

__all__ = ["Window", "check", "series"]

_TASK_RULES: dict[Rule, Callable[[Evidence], RuleResult]] = {
    Rule.LOST: loss.lost,
    Rule.STUCK: loss.stuck,
    Rule.DUPLICATE: execution.duplicate,
    Rule.OVERLAP: exclusion.overlap,
    Rule.FENCE: exclusion.fence,
    Rule.UNEXPECTED: execution.unexpected,
    Rule.RESURRECTED: execution.resurrected,
    Rule.FALSE_SUCCESS: statements.false_success,
    Rule.FALSE_FAILURE: statements.false_failure,
    Rule.ZOMBIE: statements.zombie,
    Rule.LEAK: conditions.leak,
    Rule.RETRIES: execution.retries,
    Rule.EVIDENCE: conditions.evidence_complete,
    Rule.FAULTS: conditions.faults,
    Rule.CONVERGED: conditions.converged,
    Rule.WORKERS: conditions.workers,
}
_FIGURE_RULES: dict[Rule, Callable[[Evidence, Paces], RuleResult]] = {
    Rule.THROUGHPUT: throughput.throughput,
    Rule.RECOVERY: throughput.recovery,
}


def check(history: History, contract: Contract) -> Verdict:
    """Judges a case."""
    evidence = gather(history, contract)
    paces = Paces(evidence)
    rules = tuple(
        _TASK_RULES[rule](evidence) if rule in _TASK_RULES else _FIGURE_RULES[rule](evidence, paces) for rule in Rule
    )
    return Verdict(
        outcome=merge(result.outcome for result in rules),
        rules=rules,
        operations=_counts(evidence),
        throughput=throughput.figures(evidence, paces),
    )


def _counts(evidence: Evidence) -> OperationCounts:
    tally = evidence.tally
    return OperationCounts(
        submitted=tally.count(lambda flags: flags & SUBMITTED),
        acknowledged=tally.count(lambda flags: flags & ACKED),
        refused=tally.count(lambda flags: flags & SUBMITTED == REFUSED),
        unknown=tally.count(lambda flags: flags & UNSURE and not flags & ACKED),
        effects=tally.count(lambda flags: flags & EFFECT),
        dead=len(evidence.dead),
        recovered=tally.count(lambda flags: flags & UNSURE and not flags & ACKED and flags & EFFECT),
        duplicates=tally.count(lambda flags: flags & REPEATED),
        late_sends=len(tally.late_due),
        dropped_sends=evidence.history.dropped_sends,
    )
