"""Standings, sentences and figures."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import report_samples as samples

from taskchaos.harness.record.result import RunProblem
from taskchaos.harness.record.verdict import Outcome, Rule, RuleResult, Sample
from taskchaos.harness.report import markdown
from taskchaos.harness.report import phrases as wording
from taskchaos.harness.report.ansi import Paint
from taskchaos.harness.report.phrases import Assessment
from taskchaos.harness.report.run import collect
from taskchaos.harness.report.summary import summary_lines
from taskchaos.harness.verbosity import Verbosity

BY_ID = {c.id: c for c in samples.cases()}


@pytest.mark.parametrize(
    ("name", "standing", "sentence"),
    [
        ("worker_kill.tree.locked_retry", Assessment.PASSED, "locked_retry passed worker_kill.tree"),
        (
            "worker_kill.tree.stock_best",
            Assessment.FAILED,
            "stock_best was expected to pass worker_kill.tree but failed: lost, duplicate",
        ),
        (
            "worker_kill.tree.interview_inside",
            Assessment.CAUGHT,
            "control interview_inside failed worker_kill.tree as it must: lost, stuck",
        ),
        (
            "partition.black_hole.interview_inside",
            Assessment.MISSED,
            "control interview_inside passed partition.black_hole: the suite cannot see what it is for "
            "(expected fail: lost)",
        ),
        (
            "redis_restart.lost_tail.locked_retry",
            Assessment.STACK,
            "locked_retry has no verdict in redis_restart.lost_tail, the stack failed: "
            "valkey did not answer PING within 20 s after its restart",
        ),
        (
            "redis_restart.everysec.stock_best",
            Assessment.TOLERATED,
            "stock_best failed only what redis_restart.everysec allows it to fail: duplicate",
        ),
    ],
)
def test_every_sample_has_its_standing_and_sentence(name: str, standing: Assessment, sentence: str) -> None:
    assert wording.standing(BY_ID[name]) is standing
    assert wording.explain(BY_ID[name]) == sentence


def test_a_control_that_fails_another_rule_counts_as_missed() -> None:
    control = replace(BY_ID["worker_kill.tree.interview_inside"], as_expected=False, failed_rules=(Rule.STUCK,))
    assert wording.standing(control) is Assessment.MISSED
    assert wording.explain(control).endswith("but not lost, which it must fail")
    more = replace(control, failed_rules=(Rule.LOST, Rule.OVERLAP))
    assert wording.explain(more).endswith("more than expected (fail: lost)")


def test_a_subject_that_fails_more_than_it_may_is_told_so() -> None:
    case = replace(BY_ID["redis_restart.everysec.stock_best"], as_expected=False, failed_rules=(Rule.LOST,))
    assert wording.explain(case) == (
        "stock_best was expected to pass redis_restart.everysec (or to fail only duplicate) but failed: lost"
    )


def test_a_cell_shows_the_worst_of_its_scenarios() -> None:
    good, bad = BY_ID["worker_kill.tree.locked_retry"], BY_ID["worker_kill.tree.stock_best"]
    assert wording.cell([good]) == (Assessment.PASSED, "pass")
    assert wording.cell([good, good]) == (Assessment.PASSED, "pass 2/2")
    assert wording.cell([good, bad]) == (Assessment.FAILED, "FAIL lost +1 1/2")
    assert wording.cell([BY_ID["worker_kill.tree.interview_inside"]]) == (Assessment.CAUGHT, "fail lost +1 (expected)")


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (float("nan"), "-"), (0, "0"), (27000, "27,000"), (3.0, "3"), (99.84, "99.8"), (0.98123, "0.981")],
)
def test_a_figure_is_rounded_and_grouped(value: float | None, text: str) -> None:
    assert wording.figure(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.44, "0.4s"), (99.96, "1m40s"), (221, "3m41s"), (3725, "1h02m")]
)
def test_seconds_are_written_for_people(value: float | None, text: str) -> None:
    assert wording.seconds(value) == text


def test_samples_are_listed_and_the_rest_is_counted() -> None:
    def named(*samples_of: Sample, found: int = 0, limit: int = 3) -> str:
        rule = replace(samples.passing(Rule.LOST, "why"), samples=samples_of, found=found)
        return wording.samples_phrase(rule, limit)

    ops = tuple(Sample(i, "") for i in range(5))
    assert named() == ""
    assert named(*ops[:1]) == "task 0"
    assert named(*ops) == "tasks 0, 1, 2 and 2 more"
    assert named(*ops, limit=8) == "tasks 0, 1, 2, 3 and 4"
    assert named(*ops, found=32) == "tasks 0, 1, 2 and 29 more", "findings are counted, not stored samples"
    assert named(*ops, found=1_234_567).endswith(" and 1,234,564 more")
    assert named(Sample(None, "no packet met it"), Sample(7, "")) == "task 7; no packet met it"


def test_rules_that_are_unknown_for_one_reason_are_told_as_one() -> None:
    damaged = tuple(RuleResult(rule, Outcome.UNKNOWN, "", None, "the evidence is damaged") for rule in Rule)
    [(name, told)] = wording.alike(damaged)
    assert (name, told.reason) == ("all rules", "the evidence is damaged")
    other = replace(damaged[3], samples=(Sample(1, ""),))
    names = [name for name, _ in wording.alike((*damaged[:3], other, *damaged[4:]))]
    assert names == [f"{len(Rule) - 1} rules", other.rule.value]
    assert [name for name, _ in wording.alike(damaged[:3])] == [r.rule.value for r in damaged[:3]]
    case = replace(BY_ID["worker_kill.tree.locked_retry"], rules=damaged, outcome=Outcome.UNKNOWN)
    [complaint] = wording.complaints(case)
    assert (complaint.what, complaint.reason) == ("all rules", "the evidence is damaged")


def test_what_stock_celery_does_is_said_beside_the_loss_it_explains() -> None:
    case = replace(BY_ID["worker_kill.tree.stock_best"], baseline="stock Celery loses too")
    said = {one.what: one.remark for one in wording.complaints(case)}
    assert said == {"lost = 0": "stock Celery loses too", "duplicate = 0": ""}
    other = replace(case, rules=case.rules[1:], failed_rules=(Rule.DUPLICATE,))
    assert [one.remark for one in wording.complaints(other)] == ["stock Celery loses too"]


@pytest.mark.parametrize(
    ("expression", "text"), [("lost = 0", "= 0"), ("losing = 0", "losing = 0"), ("lostness", "lostness")]
)
def test_demands_are_not_repeated_and_not_cut_within_a_word(expression: str, text: str) -> None:
    assert wording.demand(replace(samples.passing(Rule.LOST, "why"), expression=expression)) == text


def test_what_is_to_be_known_of_a_run_is_said_in_few_words_too() -> None:
    """Such as that a replay took another file than the run had."""
    run = replace(collect(samples.stream()), problems=(RunProblem("my_retry.py: taken from the run's own copy"),))
    for verbosity in Verbosity:
        told = summary_lines(run, None, Paint(), 100, verbosity=verbosity)
        assert any("taken from the run's own copy" in line for line in told), verbosity


@pytest.mark.parametrize("text", ["@somebody", "fixes #12", "a@b", "##[error]x"])
def test_markdown_mentions_nobody_and_links_to_nothing(text: str) -> None:
    """GitHub reads references in what is escaped, too."""
    assert not re.search(r"[@#]\w", markdown.escape(text))
