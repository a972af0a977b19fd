"""ddmin, and the search for the smallest schedule that still fails: pure, so a function stands for the runs."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.faults.shrink import SHORTEST_S, ddmin, smallest

PAUSE = PlannedFault("pause", "worker-1", 1.0, 3.2)
KILL = PlannedFault("kill_tree", "worker-2", 2.0, 0.4)
CUT = PlannedFault("refused", "producer-1", 6.0, 1.6)
WHOLE = Schedule((PAUSE, KILL, CUT))


def kinds(schedule: Schedule) -> list[str]:
    return [fault.kind for fault in schedule.faults]


@settings(deadline=None)
@given(st.integers(1, 24), st.data())
def test_ddmin_finds_exactly_what_is_needed(number: int, data: st.DataObject) -> None:
    """Where a failure needs certain items and no others, these are left, in their order."""
    needed = data.draw(st.sets(st.integers(0, number - 1), min_size=1))
    assert ddmin(range(number), lambda part: needed <= set(part)) == tuple(sorted(needed))


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(1, 30))
def test_ddmin_leaves_nothing_that_can_be_left_out(items: list[int], enough: int) -> None:
    def fails(part: Sequence[int]) -> bool:
        return sum(part) >= enough

    left = ddmin(items, fails)
    if fails(items):
        assert fails(left)
        assert len(left) == 1 or not any(fails([*left[:n], *left[n + 1 :]]) for n in range(len(left)))
    else:
        assert left == tuple(items)


@given(st.integers(1, 16), st.integers(0, 2**16))
def test_ddmin_tries_nothing_twice_and_never_nothing(number: int, pattern: int) -> None:
    seen: list[tuple[int, ...]] = []

    def fails(part: Sequence[int]) -> bool:
        seen.append(tuple(part))
        return bool(hash(tuple(part)) >> 3 & pattern & 1)

    ddmin(range(number), fails)
    assert len(seen) == len(set(seen)) and () not in seen
    assert all(part == tuple(sorted(part)) for part in seen)


def test_a_failure_that_needs_one_fault_keeps_that_alone() -> None:
    least = smallest(WHOLE, lambda schedule: "kill_tree" in kinds(schedule))
    assert least == Schedule((PlannedFault("kill_tree", "worker-2", 0.0, SHORTEST_S),))


def test_a_hold_is_no_shorter_than_still_fails() -> None:
    least = smallest(WHOLE, lambda schedule: any(f.kind == "pause" and f.hold_s >= 1.5 for f in schedule.faults))
    assert least == Schedule((PlannedFault("pause", "worker-1", 0.0, 1.6),))


def test_faults_that_are_needed_together_are_moved_to_the_front_as_they_lie() -> None:
    """The pause before the first and the one between them go; what overlaps goes on overlapping."""

    def fails(schedule: Schedule) -> bool:
        return kinds(schedule) == ["pause", "kill_tree", "refused"] and schedule.faults[0].hold_s > 3

    least = smallest(WHOLE, fails)
    assert [(f.kind, f.at_s, f.hold_s) for f in least.faults] == [
        ("pause", 0.0, 3.2),
        ("kill_tree", 1.0, 0.1),
        ("refused", 3.2, 0.1),
    ]


def test_a_pause_that_is_needed_stays() -> None:
    def fails(schedule: Schedule) -> bool:
        return any(f.kind == "refused" and f.at_s >= 2 for f in schedule.faults)

    [fault] = smallest(WHOLE, fails).faults
    assert (fault.kind, fault.at_s) == ("refused", 6.0)


def test_every_step_is_no_larger_than_the_one_before() -> None:
    sizes = [(len(WHOLE.faults), WHOLE.length_s)]

    def fails(schedule: Schedule) -> bool:
        if "pause" in kinds(schedule):
            sizes.append((len(schedule.faults), schedule.length_s))
            return True
        return False

    smallest(WHOLE, fails)
    assert sizes == sorted(sizes, reverse=True)
