"""From a schedule that makes something fail to a small one that still does: fewer faults, then shorter and earlier.

Pure: what `fails` does to find out is its own affair. It may raise to end the search; the smallest schedule for which
it has said yes is then the best so far.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from taskchaos.faults.schedule import PlannedFault, Schedule

T = TypeVar("T")
Fails = Callable[[Schedule], bool]

#: Holds and pauses between faults that are not worth a try to make shorter.
SHORTEST_S = 0.1
#: How often a hold is halved at most.
HALVINGS = 4


def ddmin(items: Sequence[T], fails: Callable[[Sequence[T]], bool]) -> tuple[T, ...]:
    """A part of the items, in their order, that fails, and of which no single one can be left out (Zeller's ddmin).

    All of them are taken to fail; nothing at all is never tried, and no part twice.
    """
    left, parts = tuple(items), 2
    known: dict[tuple[int, ...], bool] = {}
    places = tuple(range(len(left)))

    def tried(chosen: tuple[int, ...]) -> bool:
        if chosen not in known:
            known[chosen] = fails([left[place] for place in chosen])
        return known[chosen]

    while len(places) > 1:
        chunks = [tuple(chunk) for chunk in _split(places, parts)]
        rests = [tuple(place for place in places if place not in chunk) for chunk in chunks]
        if (chunk := next(filter(tried, chunks), None)) is not None:
            places, parts = chunk, 2
        elif parts > 2 and (rest := next(filter(tried, rests), None)) is not None:
            places, parts = rest, parts - 1
        elif parts < len(places):
            parts = min(2 * parts, len(places))
        else:
            break
    return tuple(left[place] for place in places)


def _split(places: Sequence[int], parts: int) -> Iterator[Sequence[int]]:
    """As many stretches as even as can be; each has at least one."""
    begin = 0
    for left in range(parts, 0, -1):
        end = begin + (len(places) - begin) // left
        yield places[begin:end]
        begin = end


def smallest(schedule: Schedule, fails: Fails) -> Schedule:
    """A small schedule that fails, if this one does: ddmin over its faults, then over their durations."""
    few = Schedule(ddmin(schedule.faults, lambda faults: fails(Schedule(tuple(faults)))))
    return _earlier(_shorter(few, fails), fails)


def _shorter(schedule: Schedule, fails: Fails) -> Schedule:
    """The same faults, each held for as short as still fails: all halved together first, then one by one."""
    for _ in range(HALVINGS):
        halved = _of([_held(fault, fault.hold_s / 2) for fault in schedule.faults]) or schedule
        if halved == schedule or not fails(halved):
            break
        schedule = halved
    for place in range(len(schedule.faults) if len(schedule.faults) > 1 else 0):
        for _ in range(HALVINGS):
            fault = schedule.faults[place]
            shorter = _with(schedule, place, _held(fault, fault.hold_s / 2))
            if shorter == schedule or not fails(shorter):
                break
            schedule = shorter
    return schedule


def _held(fault: PlannedFault, hold_s: float) -> PlannedFault:
    return replace(fault, hold_s=round(max(hold_s, min(fault.hold_s, SHORTEST_S)), 3))


def _with(schedule: Schedule, place: int, fault: PlannedFault) -> Schedule:
    return _of([*schedule.faults[:place], fault, *schedule.faults[place + 1 :]]) or schedule


def _of(faults: Sequence[PlannedFault]) -> Schedule | None:
    """The schedule of these; None where one would do nothing in so short a time."""
    try:
        return Schedule(tuple(faults))
    except ValueError:
        return None


def _earlier(schedule: Schedule, fails: Fails) -> Schedule:
    """The same faults, moved to the front: without any pause in which none is held, or without as many as can go."""
    together = schedule
    for place in range(len(schedule.faults)):
        together = _closed_up(together, place)
    if together == schedule or fails(together):
        return together
    for place in range(len(schedule.faults)):
        moved = _closed_up(schedule, place)
        if moved not in (schedule, together) and fails(moved):
            schedule = moved
    return schedule


def _closed_up(schedule: Schedule, place: int) -> Schedule:
    """This fault, and those after it, moved to where the last one before it ends, if there is a pause."""
    before, after = schedule.faults[:place], schedule.faults[place:]
    pause_s = after[0].at_s - max((fault.at_s + fault.hold_s for fault in before), default=0.0)
    if pause_s < SHORTEST_S:
        return schedule
    return Schedule((*before, *(replace(fault, at_s=round(fault.at_s - pause_s, 3)) for fault in after)))
