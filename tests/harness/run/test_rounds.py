"""A soak has more rounds than fit, and begins none that would not be over in time, but the first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from taskchaos.harness.clock import NS_PER_S, now_ns
from taskchaos.harness.errors import UsageError
from taskchaos.harness.run.choices import soaking
from taskchaos.harness.run.folder import ROUNDS, RunOptions

OPTIONS = RunOptions(out="x", seed=5, parallel=4)


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("nan"), float("inf"), 1441.0])
def test_a_time_that_no_run_has_is_refused(minutes: float) -> None:
    with pytest.raises(UsageError, match="--minutes"):
        soaking(OPTIONS, minutes)


def test_there_are_more_rounds_than_fit() -> None:
    soak = soaking(OPTIONS, 2.0)
    scale = soak.scale
    longest_ones = 4 * 120 / (scale.baseline_s + scale.fault_s + scale.healed_s)
    assert soak.rounds >= longest_ones and soak.minutes == 2.0
    assert soak.seeds == range(5, 5 + soak.rounds)
    assert soaking(OPTIONS, 0.01).parallel <= 4


def test_a_run_that_is_no_soak_has_a_few_rounds_and_all_the_time() -> None:
    assert OPTIONS.seeds == range(5, 5 + ROUNDS)
    assert not OPTIONS.time_is_up(6, takes_s=1e9)


def test_no_round_begins_that_would_not_be_over() -> None:
    began = replace(OPTIONS, minutes=1.0, began_ns=now_ns() - 30 * NS_PER_S)
    assert began.time_is_up(6, takes_s=31) and not began.time_is_up(6, takes_s=20)
    assert not began.time_is_up(5, takes_s=1e9), "the first round is run whatever the time"
    assert not replace(began, replay="x").time_is_up(6, takes_s=1e9), "a replay is no part of a soak"
