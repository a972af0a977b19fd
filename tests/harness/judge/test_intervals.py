"""95 % intervals: Wilson's as in its table, and for series of windows one that holds as often as it says."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskchaos.harness.judge.intervals import FEWEST_WINDOWS, ratio_of_means, wilson


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [(7, 20, 0.181, 0.567), (0, 10, 0.0, 0.278), (10, 10, 0.722, 1.0), (1, 1, 0.207, 1.0), (81, 263, 0.255, 0.366)],
)
def test_wilson_is_as_published(hits: int, trials: int, low: float, high: float) -> None:
    """81 of 263 is the example of Newcombe, Statistics in Medicine 17 (1998), method 3: 0.2553 to 0.3662."""
    found = wilson(hits, trials)
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(low, abs=6e-4), pytest.approx(high, abs=6e-4))


def test_nothing_tried_says_nothing() -> None:
    assert wilson(0, 0) is None


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_share_is_in_its_interval(seen: tuple[int, int]) -> None:
    hits, trials = seen
    found = wilson(hits, trials)
    assert found is not None and 0 <= found.low <= hits / trials <= found.high <= 1


def test_few_windows_and_none_at_work_say_nothing() -> None:
    few, enough = [10.0] * (FEWEST_WINDOWS - 1), [10.0] * FEWEST_WINDOWS
    assert ratio_of_means(few, enough) is None
    assert ratio_of_means(enough, few) is None
    assert ratio_of_means(enough, [0.0] * FEWEST_WINDOWS) is None


def test_steady_windows_have_a_narrow_interval_and_the_same_each_time() -> None:
    found = ratio_of_means([20.0] * 40, [10.0] * 40)
    assert found is not None and (found.low, found.high) == (2.0, 2.0)
    shaken = [random.Random(1).gauss(10, 3) for _ in range(40)]
    assert ratio_of_means(shaken, [10.0] * 40) == ratio_of_means(shaken, [10.0] * 40)


@pytest.mark.parametrize("windows", [FEWEST_WINDOWS, 24, 60])
def test_it_holds_about_as_often_as_it_says(windows: int) -> None:
    """Series whose neighbours resemble each other: single windows, drawn alone, would hold in 3 of 4 cases."""
    dice, held, tried = random.Random(3), 0, 200

    def series() -> list[float]:
        level, found = 0.0, []
        for _ in range(windows):
            level = 0.5 * level + dice.gauss(0, 1)
            found.append(20 + level)
        return found

    for _ in range(tried):
        interval = ratio_of_means(series(), series())
        assert interval is not None
        held += interval.low <= 1 <= interval.high
    assert held >= 0.85 * tried
