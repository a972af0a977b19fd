"""A case is run again only when a late load generator is all that keeps it from being decided."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.result import CaseResult
from harness.suite import load_was_late
from harness.verdict import OperationCounts, Outcome, Rule, RuleResult, Throughput


def _rule(rule: Rule, outcome: Outcome) -> RuleResult:
    return RuleResult(rule, outcome, "", None, "")


LATE = CaseResult(
    id="c",
    suite="s",
    scenario="",
    subject="x",
    seed=1,
    expected="pass",
    outcome=Outcome.UNKNOWN,
    as_expected=False,
    control=False,
    failed_rules=(),
    rules=(_rule(Rule.LOST, Outcome.PASS), _rule(Rule.THROUGHPUT, Outcome.UNKNOWN)),
    operations=OperationCounts(late_sends=9),
    faults=(),
    throughput=Throughput(),
    wall_s=1.0,
    replay="",
)


def test_a_late_load_is_run_again() -> None:
    assert load_was_late(LATE)


@pytest.mark.parametrize(
    "changed",
    [
        replace(LATE, operations=OperationCounts(late_sends=0)),
        replace(LATE, rules=(*LATE.rules, _rule(Rule.CONVERGED, Outcome.UNKNOWN))),
        replace(LATE, outcome=Outcome.FAIL, rules=(*LATE.rules, _rule(Rule.LOST, Outcome.FAIL))),
        replace(LATE, error="redis ended"),
        replace(LATE, outcome=Outcome.PASS, rules=()),
    ],
)
def test_nothing_else_is(changed: CaseResult) -> None:
    assert not load_was_late(changed)
