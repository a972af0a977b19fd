"""The laws of waiting, seeded: bounds for every draw, and the mean where the law says what it is."""

from __future__ import annotations

import random
import statistics

import pytest

from locked_retry.backoff import Backoff, Decorrelated, Exponential, Fixed

DRAWS = 4000


@pytest.mark.parametrize("retries", [0, 1, 2, 5, 9, 10, 200])
def test_full_jitter_is_uniform_under_two_to_the_n(retries: int) -> None:
    law = Exponential(base_s=0.25, cap_s=60.0)
    ceiling_s = min(60.0, 0.25 * 2.0 ** min(retries, 64))
    rng = random.Random(retries)
    draws = [law.delay_s(retries, 0.0, rng) for _ in range(DRAWS)]
    assert all(0.0 <= d <= ceiling_s for d in draws)
    assert statistics.mean(draws) == pytest.approx(ceiling_s / 2, rel=0.05)
    # uniform: a quarter of the draws in each quarter
    for quarter in range(4):
        inside = sum(quarter / 4 <= d / ceiling_s < (quarter + 1) / 4 for d in draws)
        assert inside / DRAWS == pytest.approx(0.25, abs=0.03)


def test_without_jitter_it_is_two_to_the_n_with_a_cap() -> None:
    law = Exponential(base_s=1.0, cap_s=20.0, jitter=False)
    rng = random.Random(1)
    assert [law.delay_s(n, 0.0, rng) for n in range(7)] == [1, 2, 4, 8, 16, 20, 20]


def test_the_floor_is_kept() -> None:
    law = Exponential(base_s=0.1, cap_s=1.0, floor_s=0.05)
    rng = random.Random(2)
    assert min(law.delay_s(3, 0.0, rng) for _ in range(DRAWS)) >= 0.05


def test_decorrelated_waits_stay_between_base_and_three_times_the_last() -> None:
    law = Decorrelated(base_s=0.5, cap_s=30.0)
    rng = random.Random(3)
    previous_s = 0.0
    for _ in range(DRAWS):
        drawn_s = law.delay_s(0, previous_s, rng)
        assert 0.5 <= drawn_s <= min(30.0, 3.0 * max(previous_s, 0.5))
        previous_s = drawn_s


def test_decorrelated_waits_grow_to_their_cap() -> None:
    law = Decorrelated(base_s=0.5, cap_s=30.0)
    rng = random.Random(4)
    reached = []
    for _ in range(200):
        drawn_s = 0.0
        for _ in range(30):
            drawn_s = law.delay_s(0, drawn_s, rng)
        reached.append(drawn_s)
    assert max(reached) == 30.0
    assert statistics.mean(reached) > 5.0


def test_a_fixed_wait_is_always_the_same() -> None:
    assert Fixed(0.2).delay_s(7, 3.0, random.Random(5)) == 0.2


def test_the_same_seed_draws_the_same() -> None:
    law = Exponential()
    one, two = random.Random(6), random.Random(6)
    assert [law.delay_s(n, 0.0, one) for n in range(9)] == [law.delay_s(n, 0.0, two) for n in range(9)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Exponential(base_s=2.0, cap_s=1.0),
        lambda: Exponential(base_s=-1.0),
        lambda: Exponential(floor_s=2.0),
        lambda: Decorrelated(base_s=2.0, cap_s=1.0),
        lambda: Fixed(-0.1),
    ],
)
def test_a_law_that_makes_no_sense_is_refused(make: object) -> None:
    with pytest.raises(ValueError, match=r"need|has to be"):
        make()  # type: ignore[operator]


@pytest.mark.parametrize("law", [Exponential(), Decorrelated(), Fixed()])
def test_every_law_is_a_backoff(law: Backoff) -> None:
    assert isinstance(law, Backoff)
