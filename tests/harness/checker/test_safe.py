"""check-safe: what breaks down inside the checker is unknown, with the error, and the rest is judged all the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
from checker_histories import ALL, HistoryBuilder
from checker_loads import open_load

from taskchaos.harness import checker
from taskchaos.harness.checker import check
from taskchaos.harness.record.history import History
from taskchaos.harness.record.verdict import OperationCounts, Outcome, Rule, RuleResult, Throughput

DEFECT = "failed with RuntimeError: over two lines (a defect of taskchaos)"


def _raise(*_: object) -> RuleResult:
    raise RuntimeError("over\n two  lines")


def _history() -> History:
    """Rules of every kind have something to say: a loss, a fault, figures."""
    return open_load().ack(1200).build()


@pytest.mark.parametrize("rule", list(Rule))
def test_a_rule_that_raises_is_unknown_and_the_others_are_judged(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    before = check(_history(), ALL)
    table = checker._TASK_RULES if rule in checker._TASK_RULES else checker._FIGURE_RULES
    monkeypatch.setitem(table, rule, _raise)
    verdict = check(_history(), ALL)
    assert verdict.rule(rule) == RuleResult(rule, Outcome.UNKNOWN, "can be judged", None, f"this rule {DEFECT}")
    assert [r for r in verdict.rules if r.rule is not rule] == [r for r in before.rules if r.rule is not rule]
    assert (verdict.operations, verdict.throughput) == (before.operations, before.throughput)


@pytest.mark.parametrize("what", ["figures", "Paces"])
def test_figures_that_cannot_be_measured_leave_the_tasks_judged(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = check(_history(), ALL)
    monkeypatch.setattr(checker.throughput if what == "figures" else checker, what, _raise)
    verdict = check(_history(), ALL)
    assert verdict.throughput == Throughput()
    for rule in (Rule.THROUGHPUT, Rule.RECOVERY):
        assert verdict.rule(rule).outcome is Outcome.UNKNOWN
        assert verdict.rule(rule).reason == f"measuring {DEFECT}"
    assert [r for r in verdict.rules if r.rule in checker._TASK_RULES] == [
        r for r in before.rules if r.rule in checker._TASK_RULES
    ]
    assert verdict.failed == {Rule.LOST}


@pytest.mark.parametrize("what", ["gather", "_counts"])
def test_a_history_that_cannot_be_read_leaves_every_rule_unknown(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checker, what, _raise)
    verdict = check(_history(), ALL)
    assert verdict.outcome is Outcome.UNKNOWN
    assert [(r.rule, r.outcome) for r in verdict.rules] == [(rule, Outcome.UNKNOWN) for rule in Rule]
    assert {r.reason for r in verdict.rules} == {f"reading the history {DEFECT}"}
    assert (verdict.operations, verdict.throughput) == (OperationCounts(), Throughput())


def test_an_unknown_code_leaves_every_rule_unknown() -> None:
    history = HistoryBuilder().done(0).build()
    history.submits.outcome[0] = 77
    verdict = check(history, ALL)
    assert verdict.outcome is Outcome.UNKNOWN
    assert verdict.rules[0].reason == "reading the history failed with KeyError: 77 (a defect of taskchaos)"


def test_a_keyboard_interrupt_ends_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> RuleResult:
        raise KeyboardInterrupt

    monkeypatch.setitem(checker._TASK_RULES, Rule.LOST, interrupted)
    with pytest.raises(KeyboardInterrupt):
        check(_history(), ALL)


def test_a_rule_that_raises_only_with_proven_faults_stays_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    real = checker._TASK_RULES[Rule.WORKERS]

    def fragile(evidence: checker.Evidence) -> RuleResult:
        if all(fault.proven for fault in evidence.history.faults):
            raise RuntimeError
        return replace(real(evidence), outcome=Outcome.FAIL)

    monkeypatch.setitem(checker._TASK_RULES, Rule.WORKERS, fragile)
    history = HistoryBuilder().done(0).fault(50, 60, proven=False).build()
    assert check(history, ALL).rule(Rule.WORKERS).outcome is Outcome.UNKNOWN
