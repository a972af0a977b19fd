"""Every rule on known histories: the whole result, in any order of rows, and nothing else blamed."""

from __future__ import annotations

import copy

import pytest
from checker_catalogue import KNOWN, Known
from checker_histories import shuffled

from taskchaos.harness.checker import check
from taskchaos.harness.record.verdict import Outcome, Rule

EACH = pytest.mark.parametrize("case", KNOWN, ids=lambda case: f"{case.result.rule}: {case.name}")


@EACH
def test_every_known_history_gets_exactly_its_result(case: Known) -> None:
    assert check(case.history, case.contract).rule(case.result.rule) == case.result


@EACH
def test_no_other_rule_fails(case: Known) -> None:
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


#: What these say of the rows there are, no fault could excuse and no other row could change.
NEVER_UNKNOWN = (Rule.RESURRECTED, Rule.FALSE_FAILURE, Rule.ZOMBIE, Rule.WORKERS)
NEVER_FAILS = (Rule.EVIDENCE, Rule.FAULTS, Rule.CONVERGED)


@pytest.mark.parametrize("rule", list(Rule))
def test_every_rule_has_a_history_for_each_of_its_outcomes(rule: Rule) -> None:
    outcomes = {case.result.outcome for case in KNOWN if case.result.rule is rule} - {Outcome.NOT_CLAIMED}
    possible = {Outcome.PASS, Outcome.FAIL, Outcome.UNKNOWN}
    possible -= {Outcome.UNKNOWN} if rule in NEVER_UNKNOWN else set()
    possible -= {Outcome.FAIL} if rule in NEVER_FAILS else set()
    assert outcomes == possible
