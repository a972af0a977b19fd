"""A law of waiting: its bounds, its distribution, and what cannot be one."""

from __future__ import annotations

import json
import random

import pytest
from celery.utils.time import get_exponential_backoff_interval

from locked_retry import Decorrelated, Exponential, Fixed
from locked_retry.backoff import Backoff
from taskchaos.harness import codec
from taskchaos.harness.backoff import BackoffLaw, JitterKind, LawKind
from taskchaos.harness.contract import Claim, Contract

NONE, FULL, EQUAL = JitterKind.NONE, JitterKind.FULL, JitterKind.EQUAL
FIXED, DECORRELATED = LawKind.FIXED, LawKind.DECORRELATED
DRAWS = 20_000


@pytest.mark.parametrize(
    ("law", "retries", "previous_s", "between"),
    [
        (BackoffLaw(base_s=1, cap_s=5, jitter=NONE), 2, 0, (4, 4)),
        (BackoffLaw(base_s=1, cap_s=5, jitter=NONE), 3, 0, (5, 5)),
        (BackoffLaw(base_s=1, cap_s=5), 1, 0, (0, 2)),
        (BackoffLaw(base_s=1, cap_s=5, jitter=EQUAL), 1, 0, (1, 2)),
        (BackoffLaw(base_s=1, cap_s=5, floor_s=0.5), 0, 0, (0.5, 1)),
        (BackoffLaw(base_s=1, cap_s=5), 10_000, 0, (0, 5)),
        (BackoffLaw(FIXED, base_s=1, cap_s=5, jitter=NONE), 7, 0, (1, 1)),
        (BackoffLaw(DECORRELATED, base_s=1, cap_s=5), 0, 0, (1, 3)),
        (BackoffLaw(DECORRELATED, base_s=1, cap_s=5), 1, 1.5, (1, 4.5)),
        (BackoffLaw(DECORRELATED, base_s=1, cap_s=5), 2, 3, (1, 5)),
    ],
)
def test_a_wait_lies_between(law: BackoffLaw, retries: int, previous_s: float, between: tuple[float, float]) -> None:
    assert law.between_s(retries, previous_s) == between
    low, high = between
    assert law.share_below(low, retries, previous_s) == 0
    assert law.share_until(high, retries, previous_s) == 1
    assert law.share_until(low - 0.1, retries, previous_s) == 0


@pytest.mark.parametrize(
    ("law", "theirs", "retries"),
    [
        (BackoffLaw(base_s=0.2, cap_s=2), Exponential(base_s=0.2, cap_s=2), 1),
        (BackoffLaw(base_s=0.2, cap_s=2, jitter=NONE), Exponential(base_s=0.2, cap_s=2, jitter=False), 1),
        (BackoffLaw(base_s=0.2, cap_s=2, floor_s=0.1), Exponential(base_s=0.2, cap_s=2, floor_s=0.1), 0),
        (BackoffLaw(DECORRELATED, base_s=0.2, cap_s=0.5), Decorrelated(base_s=0.2, cap_s=0.5), 0),
        (BackoffLaw(FIXED, base_s=0.2, cap_s=0.2, jitter=NONE), Fixed(0.2), 3),
    ],
)
def test_locked_retry_draws_from_the_law(law: BackoffLaw, theirs: Backoff, retries: int) -> None:
    rng = random.Random(1)
    drawn = [theirs.delay_s(retries, 0.0, rng) for _ in range(DRAWS)]
    for wait_s in (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6):
        share = sum(each <= wait_s for each in drawn) / DRAWS
        assert law.share_until(wait_s, retries) == pytest.approx(share, abs=0.02)


def test_celery_draws_from_a_law_of_whole_seconds() -> None:
    law = BackoffLaw(base_s=1, cap_s=600, grain_s=1)
    drawn = [get_exponential_backoff_interval(1, 2, 600, full_jitter=True) for _ in range(DRAWS)]
    for wait_s in (0, 0.5, 1, 2, 3.5, 4):
        shorter, at_most = (sum(each < wait_s for each in drawn), sum(each <= wait_s for each in drawn))
        assert law.share_below(wait_s, 2) == pytest.approx(shorter / DRAWS, abs=0.02)
        assert law.share_until(wait_s, 2) == pytest.approx(at_most / DRAWS, abs=0.02)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"base_s": -1}, "base_s has to be a number from 0 to 31,536,000"),
        ({"cap_s": float("inf")}, "cap_s has to be a number from 0 to 31,536,000"),
        ({"grain_s": float("nan")}, "grain_s has to be a number from 0 to 31,536,000"),
        ({"base_s": 2, "cap_s": 1}, "need floor_s <= base_s <= cap_s"),
        ({"floor_s": 2}, "need floor_s <= base_s <= cap_s"),
    ],
)
def test_a_law_that_cannot_be_kept_is_refused(values: dict[str, float], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        BackoffLaw(**values)  # type: ignore[arg-type]


def test_a_contract_claims_back_off_only_with_its_law() -> None:
    with pytest.raises(ValueError, match="names its law"):
        Contract(frozenset({Claim.BACKOFF}))
    contract = Contract(frozenset({Claim.NO_LOSS})).waiting(BackoffLaw(DECORRELATED, 0.1, 3))
    assert contract.has(Claim.BACKOFF) and contract.has(Claim.NO_LOSS)
    assert codec.decode(Contract, json.loads(json.dumps(codec.encode(contract)))) == contract


def test_a_law_says_itself_in_words() -> None:
    assert str(BackoffLaw(base_s=1, cap_s=600, grain_s=1)) == (
        "exponential, 1 s up to 600 s, full jitter, in steps of 1 s"
    )
    assert str(BackoffLaw(DECORRELATED, 0.1, 3)) == "decorrelated, 0.1 s up to 3 s"
