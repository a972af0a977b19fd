"""The search: what a candidate's runs come to decides, bounds end it, and the best so far is what counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.faults.shrink import smallest
from taskchaos.harness.errors import UsageError
from taskchaos.harness.run.shrink import BoundReached, Bounds, Search

KINDS = ("pause", "kill_tree", "refused", "latency")
WHOLE = Schedule(tuple(PlannedFault(kind, f"worker-{n}", float(n), 0.4) for n, kind in enumerate(KINDS)))


class Stub:
    """Stands for runs: a schedule with `kill_tree` fails in so many of its runs."""

    def __init__(self, fails: int, runs: int = 3) -> None:
        self.fails, self.runs = fails, runs
        self.now_s = 0.0

    def __call__(self, number: int, schedule: Schedule) -> tuple[list[Path], int]:
        self.now_s += 20.0
        bad = any(fault.kind == "kill_tree" for fault in schedule.faults)
        return [Path(f"{number}/run-{n}") for n in range(self.fails if bad else 0)], self.runs


def search(stub: Stub, bounds: Bounds) -> tuple[Search, list[str], str]:
    """The search to its end, what it said, and the bound that ended it."""
    said: list[str] = []
    made = Search(stub, bounds, said.append, clock=lambda: stub.now_s)
    try:
        if made.fails(WHOLE):
            smallest(WHOLE, made.fails)
    except BoundReached as bound:
        return made, said, str(bound)
    return made, said, ""


def test_the_smallest_plan_that_fails_often_enough_is_found() -> None:
    found, said, bound = search(Stub(fails=2), Bounds(runs=3, fails=2))
    assert found.best is not None and not bound
    assert found.best.schedule == Schedule((PlannedFault("kill_tree", "worker-1", 0.0, 0.1),))
    assert (found.best.failed, found.best.runs, found.best.place) == (2, 3, f"{found.best.number}/run-0")
    assert said[0] == "   1  4 faults, 3.4 s           failed 2 of 3  kept"
    assert "dropped" in "".join(said)


def test_a_plan_that_fails_too_rarely_is_not_kept() -> None:
    found, said, bound = search(Stub(fails=1), Bounds(runs=3, fails=2))
    assert found.best is None and not bound
    assert said == ["   1  4 faults, 3.4 s           failed 1 of 3  dropped"]


@pytest.mark.parametrize(
    ("bounds", "why"),
    [
        (Bounds(most_runs=7), "7 runs are used up"),
        (Bounds(minutes=0.6), "the time is up"),
    ],
)
def test_bounds_end_the_search_with_the_best_so_far(bounds: Bounds, why: str) -> None:
    found, said, bound = search(Stub(fails=3), bounds)
    assert bound == why and len(said) == 2
    assert found.best is not None and found.best.schedule in (WHOLE, Schedule(WHOLE.faults[:2]))


@given(st.integers(3, 40))
def test_no_more_runs_than_allowed(most_runs: int) -> None:
    found, _, _ = search(Stub(fails=3), Bounds(most_runs=most_runs))
    assert sum(candidate.runs for candidate in found.candidates) <= most_runs


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        (Bounds(runs=2, fails=3), "--fails 3: has to be from 1 to the number of --runs, 2"),
        (Bounds(fails=0), "--fails 0: "),
        (Bounds(most_runs=2), "--most-runs 2: has to be from 3 "),
        (Bounds(most_runs=5000), "--most-runs 5000: "),
        (Bounds(minutes=0), "--minutes 0: has to be above 0"),
        (Bounds(minutes=float("nan")), "--minutes nan: "),
        (Bounds(minutes=float("inf")), "--minutes inf: "),
    ],
)
def test_bounds_that_cannot_be_kept_to_are_refused(bounds: Bounds, message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        bounds.check()
