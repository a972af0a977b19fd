"""The checker: a pure function from a history and a contract to a verdict.

    gather (columns.py, chords.py, letters.py, flight.py, faults.py, evidence.py)  one pass over the rows, and rare ones
    loss, durability, execution, exclusion, order, revoked, reports, kept   rules about tasks
    waits, early, priority, back_off, storm, duration    rules about waiting
    growth                                         the rule about what is kept
    conditions (offered.py)          rules about whether the case can be judged
    pace, throughput                 rules about figures
    windows                          the case over time, for charts

Every rule gives exactly one result, in the order of `Rule`. A rule passes only on evidence: where the history
leaves room for another explanation the outcome is unknown, and its reason says what to do. Each defect is reported
once, under its most specific rule, except a success that was claimed for a lost operation: that breaks two
promises, so `lost` and `false_success` both name it. A rule that breaks down itself is unknown, with its error.

No clock, no I/O, and the history is not changed: the same history gives the same verdict, in any order of its rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from taskchaos.harness.checker import (
    back_off,
    durability,
    duration,
    early,
    exclusion,
    execution,
    growth,
    kept,
    loss,
    order,
    preconditions,
    priority,
    reports,
    revoked,
    storm,
    throughput,
    unique,
)
from taskchaos.harness.checker.columns import ACKED, EFFECT, REFUSED, REPEATED, SUBMITTED, UNSURE
from taskchaos.harness.checker.evidence import CaseEvidence, gather
from taskchaos.harness.checker.faults import doubtful, label
from taskchaos.harness.checker.rates import Paces
from taskchaos.harness.checker.windows import series
from taskchaos.harness.contract import Contract
from taskchaos.harness.record.history import History
from taskchaos.harness.record.verdict import OperationCounts, Outcome, Rule, RuleResult, Throughput, Verdict, merge

__all__ = ["check", "series"]

_TASK_RULES: dict[Rule, Callable[[CaseEvidence], RuleResult]] = {
    Rule.LOST: loss.lost,
    Rule.DURABILITY: durability.durability,
    Rule.DEAD_LETTER: loss.dead_letter,
    Rule.STUCK: loss.stuck,
    Rule.DUPLICATE: execution.duplicate,
    Rule.OVERLAP: exclusion.overlap,
    Rule.KEY_OVERLAP: exclusion.key_overlap,
    Rule.FENCE: exclusion.fence,
    Rule.UNEXPECTED: execution.unexpected,
    Rule.RESURRECTED: execution.resurrected,
    Rule.FALSE_SUCCESS: reports.false_success,
    Rule.FALSE_FAILURE: reports.false_failure,
    Rule.ZOMBIE: reports.zombie,
    Rule.RESULTS: kept.results,
    Rule.ORDER: order.order,
    Rule.LEAK: preconditions.leak,
    Rule.GROWTH: growth.growth,
    Rule.RETRIES: execution.retries,
    Rule.UNIQUE: unique.unique,
    Rule.EARLY: early.early,
    Rule.PRIORITY: priority.priority,
    Rule.REVOKED: revoked.revoked,
    Rule.BACKOFF: back_off.backoff,
    Rule.RETRY_STORM: storm.retry_storm,
    Rule.DURATION: duration.duration,
    Rule.EVIDENCE: preconditions.evidence_complete,
    Rule.FAULTS: preconditions.faults,
    Rule.CONVERGED: preconditions.converged,
    Rule.WORKERS: preconditions.workers,
}
_FIGURE_RULES: dict[Rule, Callable[[CaseEvidence, Paces], RuleResult]] = {
    Rule.THROUGHPUT: throughput.throughput,
    Rule.RECOVERY: throughput.recovery,
}


def check(history: History, contract: Contract) -> Verdict:
    """Judges a case. Never raises: what breaks down is unknown, with the error."""
    try:
        evidence = gather(history, contract)
        operations = _counts(evidence)
    except Exception as error:
        return _verdict([_broken(rule, error, "reading the history") for rule in Rule], OperationCounts(), Throughput())
    tasks = {rule: _doubted(rule, evidence) for rule in _TASK_RULES}
    figures, throughputs = _figures(evidence)
    results = tasks | figures
    return _verdict([results[rule] for rule in Rule], operations, throughputs)


def _verdict(results: list[RuleResult], operations: OperationCounts, figures: Throughput) -> Verdict:
    return Verdict(merge(result.outcome for result in results), tuple(results), operations, figures)


def _broken(rule: Rule, error: Exception, what: str = "this rule") -> RuleResult:
    """The result of a rule that raised: the others are judged anyway."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    reason = f"{what} failed with {text} (a defect of taskchaos)"
    return RuleResult(rule, Outcome.UNKNOWN, "can be judged", None, reason)


def _safe(rule: Rule, judge: Callable[[], RuleResult]) -> RuleResult:
    try:
        return judge()
    except Exception as error:
        return _broken(rule, error)


def _doubted(rule: Rule, evidence: CaseEvidence) -> RuleResult:
    """A failure that would be none if a fault without evidence had bitten is unknown: that fault may explain it."""
    result = _safe(rule, partial(_TASK_RULES[rule], evidence))
    suspects = [label(fault) for fault in evidence.history.faults if doubtful(fault)]
    if result.outcome is not Outcome.FAIL or not suspects:
        return result
    if _safe(rule, lambda: _TASK_RULES[rule](evidence.believing())).outcome is Outcome.FAIL:
        return result
    names = " or ".join(sorted(suspects)[:3]) + (" or ..." if len(suspects) > 3 else "")
    reason = f"{result.reason}, unless {names} explains it, of which there is no evidence"
    return replace(result, outcome=Outcome.UNKNOWN, reason=reason)


def _figures(evidence: CaseEvidence) -> tuple[dict[Rule, RuleResult], Throughput]:
    """The rules about figures, and the figures; what cannot be measured at all is told by these rules."""
    try:
        paces = Paces(evidence)
        figures = throughput.figures(evidence, paces)
    except Exception as error:
        return {rule: _broken(rule, error, "measuring") for rule in _FIGURE_RULES}, Throughput()
    results = {rule: _safe(rule, partial(judge, evidence, paces)) for rule, judge in _FIGURE_RULES.items()}
    return results, figures


def _counts(evidence: CaseEvidence) -> OperationCounts:
    tally = evidence.tally
    return OperationCounts(
        submitted=tally.count(lambda flags: flags & SUBMITTED),
        acknowledged=tally.count(lambda flags: flags & ACKED),
        refused=tally.count(lambda flags: flags & SUBMITTED == REFUSED),
        unknown=tally.count(lambda flags: flags & UNSURE and not flags & ACKED),
        effects=tally.count(lambda flags: flags & EFFECT),
        dead=len(evidence.letters.all | evidence.letters.due),
        recovered=tally.count(lambda flags: flags & UNSURE and not flags & ACKED and flags & EFFECT),
        duplicates=tally.count(lambda flags: flags & REPEATED),
        late_sends=len(tally.late_due),
        dropped_sends=len(evidence.history.drops.op),
        planned=evidence.history.planned,
        undue=len(evidence.letters.undue),
    )
