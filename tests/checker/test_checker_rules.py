"""Every rule on known histories: the whole result, in any order of rows, and nothing else blamed."""

from __future__ import annotations

import copy

import pytest
from checker_catalogue import KNOWN, Known
from checker_histories import ALL, shuffled

from harness.checker import check
from harness.verdict import Outcome, Rule

EACH = pytest.mark.parametrize("case", KNOWN, ids=lambda case: f"{case.result.rule}: {case.name}")


@EACH
def test_the_rule_says_exactly_this(case: Known) -> None:
    assert check(case.history, case.contract).rule(case.result.rule) == case.result


@EACH
def test_no_other_rule_is_dragged_in(case: Known) -> None:
    verdict = check(case.history, case.contract)
    blamed = {r.rule for r in verdict.rules if r.outcome in (Outcome.FAIL, Outcome.UNKNOWN)}
    assert blamed - {case.result.rule} <= case.others


@EACH
def test_the_order_of_rows_does_not_matter_and_nothing_is_changed(case: Known) -> None:
    before = copy.deepcopy(case.history)
    verdict = check(case.history, case.contract)
    assert case.history == before
    for seed in range(2):
        assert check(shuffled(case.history, seed), case.contract) == verdict


@EACH
def test_every_result_is_one_line_and_in_order(case: Known) -> None:
    verdict = check(case.history, case.contract)
    assert [result.rule for result in verdict.rules] == list(Rule)
    assert all(r.reason and "\n" not in r.reason + r.expression for r in verdict.rules)


@pytest.mark.parametrize("rule", list(Rule))
def test_every_rule_has_a_clean_history_and_a_bad_one(rule: Rule) -> None:
    outcomes = {case.result.outcome for case in KNOWN if case.result.rule is rule}
    assert Outcome.PASS in outcomes
    never_fails = rule in (Rule.EVIDENCE, Rule.FAULTS, Rule.CONVERGED)
    assert (Outcome.UNKNOWN if never_fails else Outcome.FAIL) in outcomes
    assert ALL.claims
