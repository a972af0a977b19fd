"""Schedules are a pure function of their seed, and say what is wrong with them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskchaos.faults.base import FaultError
from taskchaos.faults.schedule import FAULTS, PlannedFault, Schedule

TARGETS = {"kill_tree": ["worker-1", "worker-2"], "refused": ["producer-1"]}


def _spread(seed: int, count: int = 6) -> Schedule:
    return Schedule.spread(seed, count, within_s=12.0, hold_s=0.5, kinds=list(TARGETS), targets=TARGETS)


def test_the_same_seed_gives_the_same_schedule() -> None:
    assert _spread(1) == _spread(1) != _spread(2)


def test_a_schedule_is_the_same_on_every_machine() -> None:
    assert _spread(1, 2).faults == (
        PlannedFault("kill_tree", "worker-1", 3.131, 0.5),
        PlannedFault("refused", "producer-1", 6.649, 0.5),
    )


@given(st.integers(), st.integers(1, 20))
def test_spread_faults_fit_and_do_not_overlap(seed: int, count: int) -> None:
    schedule = _spread(seed, count)
    assert len(schedule.faults) == count
    ends = [f.at_s + f.hold_s for f in schedule.faults]
    begins = [f.at_s for f in schedule.faults]
    assert all(end <= begin + 0.01 for end, begin in zip(ends, begins[1:], strict=False))
    assert schedule.length_s <= 12.01


def test_faults_are_ordered_by_begin() -> None:
    late, early = PlannedFault("reset", "a", 2.0, 1.0), PlannedFault("pause", "b", 1.0, 5.0)
    assert Schedule.of(late, early) == Schedule((early, late))
    assert Schedule.of(late, early).length_s == 6.0


@pytest.mark.parametrize(
    ("planned", "message"),
    [
        (PlannedFault("kill_tree", "worker-9"), "kill_tree: no target 'worker-9'"),
        (PlannedFault("latency", "worker-1"), "latency: no target 'worker-1'"),
    ],
)
def test_a_fault_that_cannot_be_made_is_an_error(planned: PlannedFault, message: str) -> None:
    with pytest.raises(FaultError, match=message):
        planned.make(links={}, workers={})


def test_every_fault_says_what_it_does() -> None:
    assert all(fault.summary and fault.kind == kind for kind, fault in FAULTS.items())
