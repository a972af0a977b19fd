"""Shards of a run: a CI matrix runs one each, and `taskchaos merge` makes them one run again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from taskchaos.harness.errors import UsageError


@dataclass(frozen=True, slots=True, order=True)
class Shard:
    """The `index`-th of `count` parts of a selection; the first is 1."""

    index: int
    count: int

    def __post_init__(self) -> None:
        """Raises ValueError for what is no part of anything."""
        if not 1 <= self.index <= self.count:
            raise ValueError(f"no shard: index {self.index} of {self.count}")

    @classmethod
    def parse(cls, text: str, option: str = "--shard") -> Shard:
        """A shard from `i/n`. Raises UsageError naming the option."""
        match = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise UsageError(f"{option} {text}: give i/n with i from 1 to n, such as 1/4")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


@dataclass(frozen=True, slots=True)
class Share:
    """What dealing needs to know of a case. alone: no other case may run at the same time."""

    id: str
    cost_s: float = 0.0
    alone: bool = False


def deal(cases: Sequence[Share], count: int) -> tuple[tuple[int, ...], ...]:
    """The positions of the cases that each of `count` shards gets, in the order in which the cases stand.

    Every case goes to exactly one shard, and to the same one wherever and in whatever order it was collected. The
    dearest cases are dealt first, each to the shard with the least cost so far. Those that run alone are dealt before
    the others and balanced among themselves, because they cannot hide behind each other.
    """
    hands: list[list[int]] = [[] for _ in range(count)]
    total_s = [0.0] * count
    for alone in (True, False):
        group_s = [0.0] * count
        positions = [i for i, case in enumerate(cases) if case.alone is alone]
        for position in sorted(positions, key=lambda i: (-cases[i].cost_s, cases[i].id)):
            # Cases without a cost are dealt evenly by their number.
            hand = min(range(count), key=lambda k: (group_s[k], total_s[k], len(hands[k]), k))
            hands[hand].append(position)
            group_s[hand] += cases[position].cost_s
            total_s[hand] += cases[position].cost_s
    return tuple(tuple(sorted(hand)) for hand in hands)
