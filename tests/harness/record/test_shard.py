"""Dealing cases to shards: disjoint, together the whole, balanced, and the same on every machine."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskchaos.harness.errors import UsageError
from taskchaos.harness.record.shard import Shard, Share, deal

SHARES = st.lists(
    st.builds(Share, id=st.text(max_size=3), cost_s=st.sampled_from([0.0, 4.0, 7.0, 12.0, 20.0]), alone=st.booleans()),
    max_size=40,
    unique_by=lambda share: share.id,
)


@given(SHARES, st.integers(1, 9))
def test_every_case_goes_to_exactly_one_shard(cases: list[Share], count: int) -> None:
    hands = deal(cases, count)
    assert len(hands) == count
    assert sorted(i for hand in hands for i in hand) == list(range(len(cases)))
    assert all(list(hand) == sorted(hand) for hand in hands), "the order in which cases run is kept"


@given(SHARES, st.integers(1, 9), st.randoms())
def test_the_order_of_collection_does_not_matter(cases: list[Share], count: int, rng: random.Random) -> None:
    def names(of: list[Share]) -> list[set[str]]:
        return [{of[i].id for i in hand} for hand in deal(of, count)]

    mixed = list(cases)
    rng.shuffle(mixed)
    assert names(mixed) == names(cases)


@given(SHARES, st.integers(1, 9))
def test_shards_differ_by_at_most_one_case_in_cost(cases: list[Share], count: int) -> None:
    for alone in (True, False):
        costs = [sum(cases[i].cost_s for i in hand if cases[i].alone is alone) for hand in deal(cases, count)]
        dearest = max((c.cost_s for c in cases if c.alone is alone), default=0.0)
        assert max(costs) - min(costs) <= dearest


def test_cases_without_a_cost_are_dealt_evenly() -> None:
    assert [len(hand) for hand in deal([Share(str(i)) for i in range(7)], 3)] == [3, 2, 2]


def test_cases_are_dealt_as_by_earlier_versions() -> None:
    """What one version dealt, another has to deal: shards of a matrix may start from different machines."""
    cases = [Share("a", 12), Share("b", 8), Share("c", 8), Share("d", 4), Share("e", 20, alone=True)]
    assert deal(cases, 2) == ((1, 2, 4), (0, 3))


@pytest.mark.parametrize("text", ["0/3", "4/3", "x", "1", "1/0", "-1/3", "1/3/5", "1.0/3", "", "1/99999", "²/3"])
def test_a_bad_shard_is_named(text: str) -> None:
    with pytest.raises(UsageError, match=r"--shard .*: give i/n with i from 1 to n, such as 1/4"):
        Shard.parse(text)


def test_a_shard_reads_as_it_is_written() -> None:
    assert Shard.parse("2/4") == Shard(2, 4)
    assert str(Shard(2, 4)) == "2/4"
