"""Random schedules over all families of faults: a pure function of a seed.

Swarm testing: each seed switches families and kinds on and off and draws their weights, so that the schedules of many
seeds differ in what they are about, and not only in when. What is drawn keeps to a fault budget.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from taskchaos.faults.base import On, family_of
from taskchaos.faults.budget import Budget
from taskchaos.faults.draw import Draw, FaultFamily, NotDrawn
from taskchaos.faults.schedule import FAULTS, PlannedFault, Schedule, role_of

T = TypeVar("T")
#: How likely it is that a family, or a kind of it, has a part in a schedule.
SWITCHED_ON = 0.6
WEIGHTS = (1, 2, 4)
A_FEW = 3
#: How often a place is looked for in the schedule before a fault is left out.
TRIES = 30


@dataclass(frozen=True, slots=True)
class Ground:
    """What there is to hit, by name. kinds: those that the stack can do; commands: those of each link's role."""

    kinds: tuple[str, ...]
    links: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()
    producers: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    clocks: tuple[str, ...] = ()
    commands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def targets(self, kind: str) -> tuple[str, ...]:
        """What a fault of this kind may be done to."""
        match FAULTS[kind].on:
            case On.LINK:
                return self.links
            case On.COMMAND:
                return tuple(link for link in self.links if self.commands.get(link))
            case On.SERVER:
                return self.servers
            case On.QUEUE:
                return self.queues
            case On.CLOCK:
                return self.clocks
            case On.PRODUCER:
                return self.producers
            case _:
                return self.workers

    @property
    def groups(self) -> dict[str, int]:
        """How many roles there are of each group: producers, workers."""
        roles = {role_of(name) for name in (*self.links, *self.workers, *self.producers)}
        return dict(Counter(sorted(role.rpartition("-")[0] for role in roles)))


def drawable(kinds: Iterable[str] = FAULTS) -> dict[str, Draw]:
    """The kinds that random schedules draw, each with how."""
    return {kind: drawn for kind in kinds if isinstance(drawn := FAULTS[kind].drawn, Draw)}


def not_drawn() -> dict[str, str]:
    """The kinds that no random schedule draws, each with the reason."""
    return {kind: fault.drawn.why for kind, fault in FAULTS.items() if isinstance(fault.drawn, NotDrawn)}


def swarm(seed: int, most: int, within_s: float, ground: Ground, budget: Budget = Budget()) -> Schedule:  # noqa: B008 (immutable)
    """A schedule of up to `most` faults, all of them over within `within_s` (at least one, if there is time for it).

    The same arguments give the same schedule on every machine. Raises ValueError if nothing can be drawn.
    """
    draw = random.Random(seed)
    weights = _switch_on(draw, [kind for kind in drawable(ground.kinds) if ground.targets(kind)])
    number = draw.randint((most + 2) // 3, most)
    kinds = draw.choices(list(weights), list(weights.values()), k=number)
    groups, placed = ground.groups, list[PlannedFault]()
    # Those that need the time to themselves have to find it first.
    for kind in sorted(kinds, key=lambda kind: FAULTS[kind].on is not On.SERVER):
        for _ in range(TRIES):
            planned = _draw_one(draw, kind, within_s, ground, budget)
            if planned is not None and not budget.objection(planned, placed, groups):
                placed.append(planned)
                break
    return Schedule.of(*placed)


def _switch_on(draw: random.Random, kinds: Sequence[str]) -> dict[str, float]:
    """The kinds that take part, each with its weight: a family's is that of a few kinds, however many it has."""
    if not kinds:
        raise ValueError("there is nothing to draw: no kind of fault has a target here")
    families: dict[FaultFamily, list[str]] = {}
    for kind in kinds:
        families.setdefault(family_of(FAULTS[kind]), []).append(kind)
    weights: dict[str, float] = {}
    for family in _some(draw, list(families)):
        members = _some(draw, families[family])
        weight = draw.choice(WEIGHTS) * min(len(members), A_FEW) / len(members)
        weights |= {kind: weight * draw.choice(WEIGHTS) for kind in members}
    return weights


def _some(draw: random.Random, of: Sequence[T]) -> list[T]:
    chosen = [one for one in of if draw.random() < SWITCHED_ON]
    return chosen or [draw.choice(of)]


def _draw_one(draw: random.Random, kind: str, within_s: float, ground: Ground, budget: Budget) -> PlannedFault | None:
    """One fault at a moment that suits it alone; None if there is no time for one."""
    drawn = drawable([kind])[kind]
    target = draw.choice(ground.targets(kind))
    shortest_s, longest_s = drawn.hold_s
    # Short ones are more likely: they end at more moments of what goes on.
    hold_s = round(shortest_s + (longest_s - shortest_s) * draw.random() ** 2, 3)
    if drawn.never_s and drawn.never_s[0] < hold_s < drawn.never_s[1]:
        hold_s = drawn.never_s[1]
    parameters: dict[str, int | str] = {name: draw.choice(values) for name, values in drawn.parameters.items()}
    if FAULTS[kind].on is On.COMMAND:
        parameters["command"] = draw.choice(ground.commands[target])
    planned = PlannedFault(kind, target, 0.0, hold_s, parameters)
    if budget.objection(planned, (), ground.groups):
        planned = replace(planned, hold_s=min(hold_s, budget.everybody_s))
    latest_s = within_s - planned.hold_s - drawn.after_s
    if latest_s < 0 or planned.hold_s < shortest_s:
        return None
    return replace(planned, at_s=round(draw.uniform(0.0, latest_s), 3))
