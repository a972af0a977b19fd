"""What the runs of controls and twins come to: 0 only if every control was caught and every twin passed, each time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from report_samples import case

from taskchaos.harness.case.subject_names import controls
from taskchaos.harness.errors import ExitCode, UsageError
from taskchaos.harness.pytest.control_runs import exit_code, find_controls, planned, suites_of, tally
from taskchaos.harness.record.result import CaseResult
from taskchaos.harness.record.verdict import Outcome

PAIR = controls()[0]


def came_to(subject: str, outcome: Outcome, *, expected: bool = True) -> CaseResult:
    return replace(case(f"worker_kill.tree.{subject}"), subject=subject, outcome=outcome, as_expected=expected)


CAUGHT = came_to(PAIR.name, Outcome.FAIL)
PASSES = came_to(PAIR.twin.name, Outcome.PASS)


def test_caught_and_passed_each_time_is_0() -> None:
    (found,) = tally([PAIR], [[CAUGHT, PASSES], [PASSES, CAUGHT]])
    assert (found.caught, found.passed, found.seeds, found.sound) == (2, 2, 2, True)
    assert exit_code([0, 0], [found]) is ExitCode.PASS


@pytest.mark.parametrize(
    "cases",
    [
        [],
        [CAUGHT],
        [PASSES],
        [CAUGHT, came_to(PAIR.twin.name, Outcome.UNKNOWN, expected=False)],
        [CAUGHT, came_to(PAIR.twin.name, Outcome.FAIL, expected=False)],
        [came_to(PAIR.name, Outcome.PASS, expected=False), PASSES],
        [came_to(PAIR.name, Outcome.FAIL, expected=False), PASSES],  # with another symptom than its own
        [came_to(PAIR.name, Outcome.UNKNOWN, expected=False), PASSES],
    ],
)
def test_what_is_missing_or_otherwise_is_never_0(cases: list[CaseResult]) -> None:
    found = tally([PAIR], [[CAUGHT, PASSES], cases])
    assert not found[0].sound
    assert exit_code([0, 0], found) is ExitCode.UNKNOWN
    assert exit_code([0, 1], found) is ExitCode.FAIL


def test_no_run_proves_nothing() -> None:
    assert exit_code([], tally([PAIR], [])) is ExitCode.UNKNOWN
    assert exit_code([0], []) is ExitCode.UNKNOWN


@pytest.mark.parametrize(
    ("codes", "whole"),
    [([0, 2, 1], 1), ([3, 2], 3), ([0, 2], 2), ([1, 130], 130), ([0, 4], 4)],
)
def test_what_is_proven_counts_most(codes: list[int], whole: int) -> None:
    assert exit_code(codes, tally([PAIR], [[CAUGHT, PASSES]] * len(codes))) == whole


def test_a_control_is_found_by_its_twin_too() -> None:
    assert find_controls([PAIR.twin.name, PAIR.name]) == (PAIR,)
    assert find_controls([]) == controls()
    with pytest.raises(UsageError, match=r"no control nosuch, other; `taskchaos controls` lists them"):
        find_controls(["nosuch", PAIR.name, "other"])


def test_those_that_need_longer_cases_have_a_run_of_their_own(tmp_path: Path) -> None:
    runs = planned(find_controls(["ack_early", "no_jitter"]), 2, tmp_path)
    assert [(one.seed, one.profile, [pair.name for pair in one.pairs]) for one in runs] == [
        (seed, profile, [name])
        for seed in (1, 2)
        for profile, name in (("quick", "ack_early"), ("default", "no_jitter"))
    ]
    assert len({one.folder for one in runs}) == len(runs)


def test_only_the_suites_that_they_need_are_collected() -> None:
    assert suites_of(find_controls(["ack_early", "crash_loop", "success_first"])) == ("worker_kill", "poison")
