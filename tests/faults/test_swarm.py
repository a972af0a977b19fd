"""Random schedules: valid, within the fault budget, the same for the same seed, and in time of everything there is."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskchaos.faults.base import QUEUE, On, family_of
from taskchaos.faults.budget import Budget, exclusive
from taskchaos.faults.draw import Draw, FaultFamily
from taskchaos.faults.schedule import FAULTS, PlannedFault, Schedule, role_of
from taskchaos.faults.swarm import Ground, drawable, not_drawn, swarm

WORKERS = ("worker-1", "worker-2")
PRODUCERS = ("producer-1", "producer-2")
EVERYTHING = Ground(
    kinds=tuple(FAULTS),
    links=(*PRODUCERS, *WORKERS, "worker-1-results", "worker-2-results"),
    workers=WORKERS,
    producers=PRODUCERS,
    servers=("redis",),
    queues=(QUEUE,),
    clocks=(*PRODUCERS, *WORKERS),
    commands=dict.fromkeys(PRODUCERS, ("LPUSH",)) | dict.fromkeys(WORKERS, ("BRPOP", "EVALSHA")),
)
WITHIN_S = 9.0
BUDGET = Budget()


def drawn(kind: str) -> Draw:
    return drawable()[kind]


def span(fault: PlannedFault) -> tuple[float, float]:
    """From its begin until its target is as before."""
    return fault.at_s, fault.at_s + fault.hold_s + drawn(fault.kind).after_s


def in_force(schedule: Schedule, at_s: float) -> list[PlannedFault]:
    return [fault for fault in schedule.faults if span(fault)[0] <= at_s < span(fault)[1]]


def moments(schedule: Schedule) -> list[float]:
    return [fault.at_s for fault in schedule.faults]


@settings(deadline=None)
@given(st.integers(), st.integers(1, 12))
def test_a_schedule_is_valid(seed: int, most: int) -> None:
    schedule = swarm(seed, most, WITHIN_S, EVERYTHING)
    assert 1 <= len(schedule.faults) <= most
    assert moments(schedule) == sorted(moments(schedule))
    for fault in schedule.faults:
        how = drawn(fault.kind)
        assert fault.target in EVERYTHING.targets(fault.kind)
        assert how.hold_s[0] <= fault.hold_s <= how.hold_s[1]
        assert how.never_s is None or not how.never_s[0] < fault.hold_s < how.never_s[1]
        assert fault.at_s >= 0 and span(fault)[1] <= WITHIN_S + 0.01
        parameters = dict(fault.parameters)
        if FAULTS[fault.kind].on is On.COMMAND:
            assert parameters.pop("command") in EVERYTHING.commands[fault.target]
        assert parameters.keys() == how.parameters.keys()
        assert all(value in how.parameters[name] for name, value in parameters.items())


@settings(deadline=None)
@given(st.integers(), st.integers(1, 12))
def test_a_schedule_keeps_to_the_budget(seed: int, most: int) -> None:
    """Looked at anew: at no moment is more broken than the budget says, and everybody gets their rest."""
    schedule = swarm(seed, most, WITHIN_S, EVERYTHING)
    for at_s in moments(schedule):
        now = in_force(schedule, at_s)
        assert len(now) <= BUDGET.at_once
        starved = {role_of(fault.target) for fault in now if drawn(fault.kind).starves}
        for group in (WORKERS, PRODUCERS):
            assert len(set(group) - starved) >= BUDGET.free
    of_server = [fault for fault in schedule.faults if FAULTS[fault.kind].on is On.SERVER]
    assert all(fault.hold_s <= BUDGET.everybody_s for fault in of_server if drawn(fault.kind).starves)


@settings(deadline=None)
@given(st.integers(), st.integers(2, 12))
def test_faults_that_would_spoil_each_other_are_kept_apart(seed: int, most: int) -> None:
    schedule = swarm(seed, most, WITHIN_S, EVERYTHING)
    for number, fault in enumerate(schedule.faults):
        for other in schedule.faults[number + 1 :]:
            if exclusive(fault, other):
                assert span(fault)[1] + BUDGET.rest_s <= other.at_s


@settings(deadline=None)
@given(st.integers(), st.integers(1, 12))
def test_the_same_seed_gives_the_same_schedule(seed: int, most: int) -> None:
    assert swarm(seed, most, WITHIN_S, EVERYTHING) == swarm(seed, most, WITHIN_S, EVERYTHING)


def test_a_schedule_is_the_same_on_every_machine() -> None:
    ground = Ground(kinds=("pause", "refused", "latency"), links=PRODUCERS, workers=WORKERS)
    assert swarm(7, 4, 6.0, ground).faults == (
        PlannedFault("refused", "producer-1", 0.288, 1.12),
        PlannedFault("pause", "worker-1", 1.223, 4.06),
    )


def test_different_seeds_are_about_different_things() -> None:
    schedules = [swarm(seed, 8, WITHIN_S, EVERYTHING) for seed in range(100)]
    assert len({frozenset(family_of(FAULTS[f.kind]) for f in schedule.faults) for schedule in schedules}) > 10
    assert any(len(in_force(s, at_s)) > 1 for s in schedules for at_s in moments(s)), "several at once"
    assert {len(schedule.faults) for schedule in schedules} >= {3, 4, 5, 6, 7, 8}


def test_everything_that_can_be_drawn_is_drawn() -> None:
    counts = Counter(fault.kind for seed in range(300) for fault in swarm(seed, 8, WITHIN_S, EVERYTHING).faults)
    assert counts.keys() == drawable().keys()


def test_what_cannot_be_drawn_says_why() -> None:
    assert drawable().keys() | not_drawn().keys() == FAULTS.keys()
    assert all(not_drawn().values())
    assert (
        not {fault.kind for seed in range(50) for fault in swarm(seed, 8, WITHIN_S, EVERYTHING).faults}
        & not_drawn().keys()
    )


def test_every_fault_that_is_drawn_can_be_made() -> None:
    """Its parameters are those that it has."""
    for kind, how in drawable().items():
        for values in how.parameters.values():
            assert len(values) > 0
        for last in (0, -1):
            parameters = {name: values[last] for name, values in how.parameters.items()}
            targets = {name: object() for name in EVERYTHING.targets(kind)}
            if FAULTS[kind].on is not On.CONTAINER:
                FAULTS[kind](next(iter(targets.values())), **parameters)  # type: ignore[call-arg]
        assert 0 < how.hold_s[0] <= how.hold_s[1]


def test_each_fault_has_a_family() -> None:
    families = {kind: family_of(fault) for kind, fault in FAULTS.items()}
    assert families["latency"] is FaultFamily.NETWORK and families["kill_tree"] is FaultFamily.PROCESS
    assert families["reply_lost"] is FaultFamily.COMMAND and families["poison_message"] is FaultFamily.QUEUE


def test_nothing_to_hit_is_an_error() -> None:
    with pytest.raises(ValueError, match="there is nothing to draw"):
        swarm(1, 3, WITHIN_S, Ground(kinds=("kill_tree",)))


def test_a_role_alone_is_starved_for_a_moment_only() -> None:
    ground = Ground(kinds=("pause",), workers=("worker-1",))
    assert all(
        fault.hold_s <= BUDGET.everybody_s for seed in range(50) for fault in swarm(seed, 3, WITHIN_S, ground).faults
    )


CUT = PlannedFault("black_hole", "worker-1", 1.0, 2.0)


@pytest.mark.parametrize(
    ("other", "objection"),
    [
        (replace(CUT, kind="latency"), "it and black_hole on worker-1 spoil each other"),
        (PlannedFault("kill_tree", "worker-1", 2.0, 0.1), "it and black_hole on worker-1 spoil each other"),
        (PlannedFault("refused", "worker-1-results", 2.0, 0.1), "it and black_hole on worker-1 spoil each other"),
        (PlannedFault("kill_tree", "worker-1", 3.9, 0.1), "it and black_hole on worker-1 spoil each other"),
        (PlannedFault("kill_tree", "worker-1", 4.1, 0.1), ""),
        (PlannedFault("disk_full", "redis", 2.0, 0.5), "it and black_hole on worker-1 spoil each other"),
        (PlannedFault("disk_full", "redis", 4.5, 2.0), "it leaves nobody free for longer than 1.5 s"),
        (PlannedFault("clock", "redis", 2.0, 0.5), "it and black_hole on worker-1 spoil each other"),
        (PlannedFault("clock", "worker-2", 2.0, 0.5), ""),
        (PlannedFault("pause", "worker-2", 2.0, 0.5), "fewer than 1 of the workers free"),
        (PlannedFault("latency", "worker-2", 2.0, 0.5), ""),
        (PlannedFault("pause", "worker-2", 4.5, 0.5), ""),
        (PlannedFault("refused", "producer-1", 2.0, 0.5), ""),
        (PlannedFault("poison_message", QUEUE, 2.0, 0.5), ""),
    ],
)
def test_an_objection_says_what_is_in_the_way(other: PlannedFault, objection: str) -> None:
    assert BUDGET.objection(other, [CUT], {"worker": 2, "producer": 2}) == objection


def test_no_more_at_once_than_the_budget_has() -> None:
    groups = {"worker": 3, "producer": 1}
    placed = [PlannedFault("latency", f"worker-{n}", 0.1 * n, 2.0) for n in (1, 2, 3)]
    late = PlannedFault("latency", "producer-1", 1.0, 0.3)
    assert BUDGET.objection(late, placed, groups) == "more than 3 at once"
    assert BUDGET.objection(late, placed[:2], groups) == ""
    assert all(not BUDGET.objection(b, [a], groups) for a, b in pairwise(placed))
