"""Whole verdicts, the sample cap, and the series for charts."""

from __future__ import annotations

import checker_series
import pytest
from checker_histories import ALL, HistoryBuilder, load

from taskchaos.harness.checker import check, series
from taskchaos.harness.contract import Claim, Contract, PhaseName
from taskchaos.harness.record.history import AttemptOutcome, ClaimKind, History, SubmitOutcome
from taskchaos.harness.record.result import Window
from taskchaos.harness.record.verdict import (
    MAX_SAMPLES,
    OperationCounts,
    Outcome,
    Rule,
    RuleResult,
    Throughput,
    Verdict,
)

PASS, UNKNOWN, NOT_CLAIMED = Outcome.PASS, Outcome.UNKNOWN, Outcome.NOT_CLAIMED


def test_a_clean_case_passes() -> None:
    history = HistoryBuilder().done(0, 1).fault(40, 60).build()
    bound = "nothing is missing; 95 % bound: at most 95.0 % per fault (1 fault)"
    silent = RuleResult(Rule.RECOVERY, NOT_CLAIMED, "no limit", None, "no limit set")
    assert check(history, ALL) == Verdict(
        PASS,
        (
            RuleResult(Rule.LOST, PASS, "lost = 0", 0, bound),
            RuleResult(Rule.DURABILITY, PASS, "forgotten by Redis = 0", 0, "no fault made Redis forget anything"),
            RuleResult(Rule.DEAD_LETTER, PASS, "undue dead letters = 0", 0, "no dead letter"),
            RuleResult(Rule.STUCK, PASS, "stuck = 0", 0, "nothing is left on the broker"),
            RuleResult(Rule.DUPLICATE, PASS, "effects per task <= 1", 0, "0 tasks took effect more than once"),
            RuleResult(Rule.OVERLAP, PASS, "overlapping attempts = 0", 0, "0 tasks ran twice at the same time"),
            RuleResult(Rule.KEY_OVERLAP, NOT_CLAIMED, "keys held twice = 0", None, "the case has no business keys"),
            RuleResult(
                Rule.FENCE,
                PASS,
                "fences rise",
                0,
                "0 tasks ran with a fence that was missing or not above those before",
            ),
            RuleResult(Rule.UNEXPECTED, PASS, "unexpected = 0", 0, "everything that ran was submitted"),
            RuleResult(Rule.RESURRECTED, PASS, "resurrected = 0", 0, "0 refused submits took effect"),
            RuleResult(
                Rule.FALSE_SUCCESS, PASS, "false successes = 0", 0, "every success that was claimed took effect"
            ),
            RuleResult(
                Rule.FALSE_FAILURE,
                PASS,
                "false failures = 0",
                0,
                "0 tasks took effect although the subject's last word is failure",
            ),
            RuleResult(
                Rule.ZOMBIE, PASS, "zombie effects = 0", 0, "0 tasks took effect after the subject's final word"
            ),
            RuleResult(Rule.RESULTS, NOT_CLAIMED, "results missing = 0", None, "the case does not ask for results"),
            RuleResult(Rule.ORDER, NOT_CLAIMED, "begun too early = 0", None, "the case has no chords"),
            RuleResult(Rule.LEAK, PASS, "keys left = 0", 0, "0 keys left although nothing is pending"),
            RuleResult(Rule.GROWTH, NOT_CLAIMED, "back to baseline", None, "the case does not count what grows"),
            RuleResult(
                Rule.RETRIES,
                PASS,
                "attempts per task <= 3",
                1,
                "0 tasks over the limit; the most attempts are 1",
            ),
            RuleResult(Rule.UNIQUE, NOT_CLAIMED, "taken for two = 0", None, "the case submits nothing twice"),
            RuleResult(
                Rule.EARLY,
                NOT_CLAIMED,
                "begun before they were due = 0",
                None,
                "the case sends nothing to be run later",
            ),
            RuleResult(
                Rule.PRIORITY, NOT_CLAIMED, "left behind a less urgent one = 0", None, "the case has no priorities"
            ),
            RuleResult(Rule.REVOKED, NOT_CLAIMED, "begun although revoked = 0", None, "the case revokes nothing"),
            RuleResult(
                Rule.BACKOFF,
                NOT_CLAIMED,
                "waits: exponential, 0.2 s up to 0.4 s, full jitter",
                None,
                "the case is not about waits: 0 waits that no fault met; 30 after the same number of retries, "
                "while the queue is short, can be judged",
            ),
            RuleResult(
                Rule.RETRY_STORM,
                NOT_CLAIMED,
                "retries while it is down as claimed",
                None,
                "nothing that the tasks depend on was down",
            ),
            RuleResult(
                Rule.DURATION,
                PASS,
                "waits beyond 0 s explained",
                0,
                "0 tasks waited for longer; the longest wait of all was 0.1 s",
            ),
            RuleResult(Rule.EVIDENCE, PASS, "gaps in the evidence = 0", 0, "2 tasks submitted, records whole"),
            RuleResult(Rule.FAULTS, PASS, "planned faults proven and healed", 1, "1 fault proven and healed"),
            RuleResult(Rule.CONVERGED, PASS, "converged", 1, "at rest over 3 readings"),
            RuleResult(Rule.WORKERS, PASS, "unexplained worker deaths = 0", 0, "no worker ended by itself"),
            RuleResult(Rule.THROUGHPUT, NOT_CLAIMED, "no target", None, "no target set"),
            silent,
        ),
        OperationCounts(submitted=2, acknowledged=2, effects=2, planned=2),
        Throughput(),
    )


def test_an_empty_history_is_unknown() -> None:
    verdict = check(History(), ALL)
    assert verdict.outcome is UNKNOWN
    assert not verdict.failed
    assert verdict.operations == OperationCounts()


def test_without_claims_only_what_always_holds_is_judged() -> None:
    history = HistoryBuilder().done(0, 2).ack(1).attempt(0, 105).build()
    verdict = check(history, Contract(frozenset()))
    not_claimed = {result.rule for result in verdict.rules if result.outcome is NOT_CLAIMED}
    promises = {
        Rule.LOST,
        Rule.DURABILITY,
        Rule.DEAD_LETTER,
        Rule.STUCK,
        Rule.OVERLAP,
        Rule.KEY_OVERLAP,
        Rule.FENCE,
        Rule.RESULTS,
        Rule.ORDER,
        Rule.GROWTH,
        Rule.RETRIES,
        Rule.UNIQUE,
        Rule.EARLY,
        Rule.PRIORITY,
        Rule.REVOKED,
        Rule.BACKOFF,
        Rule.RETRY_STORM,
        Rule.DURATION,
        Rule.THROUGHPUT,
        Rule.RECOVERY,
    }
    assert not_claimed == promises
    assert verdict.outcome is PASS
    assert verdict.rule(Rule.LOST).observed == 1
    assert verdict.rule(Rule.LOST).reason.startswith("the subject does not claim no_loss; seen: 1 of 3 acknowledged")


@pytest.mark.parametrize(
    ("claim", "rule"),
    [
        (Claim.NO_LOSS, Rule.LOST),
        (Claim.EXCLUSIVE, Rule.OVERLAP),
        (Claim.FENCED, Rule.FENCE),
    ],
)
def test_a_claim_switches_its_rule_on(claim: Claim, rule: Rule) -> None:
    history = HistoryBuilder().done(0, 2).ack(1).attempt(0, 105, fence=1).build()
    assert check(history, Contract(frozenset({claim}))).failed == {rule}


def test_samples_are_capped_and_counted_whole() -> None:
    history = HistoryBuilder().done(100).ack(*range(100)).build()
    result = check(history, ALL).rule(Rule.LOST)
    assert result.observed == result.found == 100
    assert [sample.op for sample in result.samples] == list(range(MAX_SAMPLES))


def test_operations_are_counted_by_what_became_of_them() -> None:
    builder = HistoryBuilder().done(0, 1).effect(1, 300).ack(2, at=500, due=300).attempt(2, 510)
    builder.submit(3, SubmitOutcome.REFUSED, 3).submit(4, SubmitOutcome.UNKNOWN, 4).effect(4)
    builder.submit(5, SubmitOutcome.PENDING, 5).said(2, ClaimKind.FAILURE, 600).drop(6, 7)
    builder.ack(9).attempt(9, outcome=AttemptOutcome.PERMANENT).said(9, ClaimKind.FAILURE).set(permanent=frozenset({9}))
    history = builder.final(dead=frozenset({0, 2, 99})).planned(11).build()
    assert check(history, ALL).operations == OperationCounts(
        submitted=7,
        acknowledged=4,
        refused=1,
        unknown=2,
        effects=3,
        dead=3,  # 9 is given up without a dead letter
        recovered=1,
        duplicates=1,
        late_sends=1,
        dropped_sends=2,
        planned=11,
        undue=1,  # 0 took effect: a false failure
    )


def test_figures_are_given_though_nothing_is_judged() -> None:
    builder = HistoryBuilder().fault(1000, 1500).phase(PhaseName.BASELINE, 0, 1000, 100)
    builder.phase(PhaseName.FAULT, 1000, 1500, 50).phase(PhaseName.HEALED, 1500, 3000, 150)
    load(builder, 1500, 3000, 100, first_op=load(builder, 1000, 1500, 50, first_op=load(builder, 0, 1000, 100)))
    assert check(builder.build(), ALL).throughput == Throughput(100.0, 50.0, 100.0, 0.0, None)


def test_the_series_cuts_the_case_into_windows() -> None:
    assert series(checker_series.cut(), 0.5) == (
        Window(0.0, 0.5, 1, 2, 2.0, 20.0, 20.0),
        Window(0.5, 1.1, 2, 1, 3.333, 100.0, 450.0),
    )


def test_the_series_reaches_to_the_last_effect() -> None:
    windows = series(checker_series.late(), 1.0)
    assert [window.effects for window in windows] == [0, 1]
    assert windows[0] == Window(0.0, 1.0, 0, 1, 0.0, None, None)


def test_the_series_of_no_phase_is_empty() -> None:
    assert series(HistoryBuilder().done(0).build(), 1.0) == ()


def test_the_series_leaves_out_what_was_run_again() -> None:
    assert [window.effects for window in series(checker_series.again(), 1.0)] == [1]


def test_the_series_takes_what_lies_on_an_edge_into_the_later_window() -> None:
    assert series(checker_series.edges(), 0.5) == (
        Window(0.0, 0.5, 2, 2, 4.0, 0.0, 0.0),
        Window(0.5, 1.0, 1, 1, 2.0, 0.0, 0.0),
        Window(1.0, 1.5, 0, 0, 0.0, None, None),
        Window(1.5, 2.0, 1, 1, 2.0, 0.0, 0.0),
        Window(2.0, 2.25, 2, 2, 8.0, 0.0, 0.0),
    )


def test_the_last_window_of_the_series_takes_a_short_rest() -> None:
    windows = series(checker_series.rest(), 0.5)
    assert [(window.begun_s, window.effects, window.submits) for window in windows] == [(0.0, 1, 1), (0.5, 1, 1)]
    assert windows[-1].ended_s == pytest.approx(1.1)


def test_the_series_has_no_window_shorter_than_a_nanosecond() -> None:
    assert len(series(checker_series.smallest(), 4e-10)) == 3


def test_the_series_of_a_phase_of_no_length_is_one_empty_window() -> None:
    assert series(checker_series.nothing(), 0.5) == (Window(0.0, 0.0, 0, 0, 0.0, None, None),)


def test_the_series_refuses_a_window_of_no_length() -> None:
    with pytest.raises(ValueError, match="window_s must be above 0"):
        series(History(), 0)
