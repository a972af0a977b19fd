"""A case is run again only when a late load is all that keeps it undecided, or a control missed its chance."""

from __future__ import annotations

from dataclasses import replace

import pytest
from plans import plan

from taskchaos.harness.case.plan import Case
from taskchaos.harness.pytest.chaos import disturbance, load_was_late
from taskchaos.harness.record.result import CaseResult, Expectation, Trouble
from taskchaos.harness.record.verdict import OperationCounts, Outcome, Rule, RuleResult, Throughput
from taskchaos.harness.workload import LoadModel, Workload


def _rule(rule: Rule, outcome: Outcome) -> RuleResult:
    return RuleResult(rule, outcome, "", None, "")


LATE = CaseResult(
    id="c",
    suite="s",
    scenario="",
    subject="x",
    seed=1,
    expected=Expectation(),
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


def test_dropped_operations_may_be_missing_from_the_evidence() -> None:
    rules = (*LATE.rules, _rule(Rule.EVIDENCE, Outcome.UNKNOWN))
    assert load_was_late(replace(LATE, operations=OperationCounts(dropped_sends=1), rules=rules))


def test_waits_that_a_busy_machine_hides_are_measured_again() -> None:
    rules = (_rule(Rule.LOST, Outcome.PASS), _rule(Rule.BACKOFF, Outcome.UNKNOWN))
    assert load_was_late(replace(LATE, operations=OperationCounts(), rules=rules))
    assert not load_was_late(replace(LATE, rules=(*rules, _rule(Rule.RETRY_STORM, Outcome.UNKNOWN))))


@pytest.mark.parametrize(
    "changed",
    [
        replace(LATE, operations=OperationCounts(late_sends=0)),
        replace(LATE, rules=(*LATE.rules, _rule(Rule.CONVERGED, Outcome.UNKNOWN))),
        replace(LATE, outcome=Outcome.FAIL, rules=(*LATE.rules, _rule(Rule.LOST, Outcome.FAIL))),
        replace(LATE, error="redis ended", trouble=Trouble.STACK),
        replace(LATE, rules=(*LATE.rules, _rule(Rule.EVIDENCE, Outcome.UNKNOWN))),
        replace(LATE, outcome=Outcome.PASS, rules=()),
    ],
)
def test_no_other_result_is_run_again(changed: CaseResult) -> None:
    assert not load_was_late(changed)


LOSES = Expectation(must=frozenset({Rule.LOST}), may=frozenset({Rule.THROUGHPUT}))


@pytest.mark.parametrize(
    ("expectation", "outcome", "failed", "again"),
    [
        (LOSES, Outcome.PASS, set(), True),
        (LOSES, Outcome.FAIL, {Rule.THROUGHPUT}, True),
        (LOSES, Outcome.FAIL, {Rule.LOST}, False),
        (LOSES, Outcome.FAIL, {Rule.DUPLICATE}, False),
        (LOSES, Outcome.UNKNOWN, set(), False),
        (LOSES.by_chance, Outcome.PASS, set(), False),
        (Expectation(), Outcome.PASS, set(), False),
        (Expectation(), Outcome.FAIL, {Rule.LOST}, False),
    ],
)
def test_only_a_control_may_try_again_to_show_its_defect(
    expectation: Expectation, outcome: Outcome, failed: set[Rule], again: bool
) -> None:
    assert expectation.missed(outcome, frozenset(failed)) is again


OPEN = plan(workload=Workload(model=LoadModel.OPEN, rate_tps=40, baseline_s=1.0))
CONTROL = plan(expectation=Expectation(must=frozenset({Rule.LOST})))
PASSED = replace(LATE, outcome=Outcome.PASS, operations=OperationCounts(), rules=(_rule(Rule.LOST, Outcome.PASS),))


@pytest.mark.parametrize(
    ("case", "result", "reason"),
    [
        (OPEN, LATE, "the machine was too busy to offer the load"),
        (plan(), LATE, ""),
        (CONTROL, PASSED, "the control's defect met no chance to show"),
        (plan(), replace(LATE, trouble=Trouble.STANDSTILL, error="slept"), "the machine slept or stood still"),
        (plan(), replace(LATE, repairs=("proxy restarted",)), "a part of the stack had to be restarted"),
        (plan(), replace(PASSED, as_expected=True, repairs=("proxy restarted",)), ""),
        (plan(), replace(LATE, outcome=Outcome.FAIL, failed_rules=(Rule.LOST,)), ""),
    ],
)
def test_why_a_case_is_tried_again_is_said(case: Case, result: CaseResult, reason: str) -> None:
    assert disturbance(case, result) == reason
