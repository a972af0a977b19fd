"""The fault budget: what may go wrong at the same time, so that each fault can be proven and healed, and the subject
can fairly make progress.

Two faults of one role spoil each other: bytes of a stopped worker meet no toxic, and a killed one cannot come back
over a link that is down. One of a server spoils every other. So a role has one fault at a time, and a rest after it,
and a server's has the time to itself. All that is left out by this is what neither could be judged by.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from taskchaos.faults.base import On
from taskchaos.faults.draw import Draw
from taskchaos.faults.schedule import FAULTS, PlannedFault, role_of


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may go wrong at once. Times in seconds.

    at_once: faults in force at the same moment. free: roles of each group (producers, workers) that no fault keeps
    from work, at every moment. everybody_s: the longest hold of one that leaves fewer free, as each of a server does.
    rest_s: how long its role is left alone after each.
    """

    at_once: int = 3
    free: int = 1
    everybody_s: float = 1.5
    rest_s: float = 1.0

    def objection(self, new: PlannedFault, placed: Iterable[PlannedFault], groups: Mapping[str, int]) -> str:
        """Why this fault may not be added to those; "" if it may. groups: how many roles each has, as `worker`: 2."""
        met = [other for other in placed if self._meet(new, other)]
        if spoiled := next((other for other in met if exclusive(new, other)), None):
            return f"it and {spoiled.kind} on {spoiled.target} spoil each other"
        if self._most(new, met) >= self.at_once:
            return f"more than {self.at_once} at once"
        if not _draw(new).starves or not (group := self._group(new)):
            return ""
        allowed = groups.get(group, 0) - self.free
        if allowed < 1 or group not in groups:
            return (
                "" if new.hold_s <= self.everybody_s else f"it leaves nobody free for longer than {self.everybody_s} s"
            )
        starving = [other for other in met if _draw(other).starves and self._group(other) == group]
        return f"fewer than {self.free} of the {group}s free" if self._most(new, starving) >= allowed else ""

    def ends_s(self, planned: PlannedFault) -> float:
        """Until when its role belongs to it: until it is as before, and has had its rest."""
        return planned.at_s + planned.hold_s + _draw(planned).after_s + self.rest_s

    def _meet(self, one: PlannedFault, other: PlannedFault) -> bool:
        return one.at_s < self.ends_s(other) and other.at_s < self.ends_s(one)

    def _most(self, new: PlannedFault, met: Iterable[PlannedFault]) -> int:
        """How many of those that it meets there are at most at the same moment of its own."""
        others = list(met)
        moments = [new.at_s, *(other.at_s for other in others if other.at_s >= new.at_s)]
        return max(sum(other.at_s <= at_s < self.ends_s(other) for other in others) for at_s in moments)

    def _group(self, planned: PlannedFault) -> str:
        """`worker` of worker-2-results; the server itself for one of a server; nothing for what is nobody's role."""
        if FAULTS[planned.kind].on is On.QUEUE:
            return ""
        return role_of(planned.target).rpartition("-")[0] or planned.target


def exclusive(one: PlannedFault, other: PlannedFault) -> bool:
    """Whether two faults at the same time would spoil each other's evidence or heal."""
    return _of_server(one) or _of_server(other) or role_of(one.target) == role_of(other.target)


def _of_server(planned: PlannedFault) -> bool:
    """Whether it is done to a server, which all roles use. Producers and workers are numbered."""
    numbered = role_of(planned.target).rpartition("-")[2].isdigit()
    return not numbered and FAULTS[planned.kind].on is not On.QUEUE


def _draw(planned: PlannedFault) -> Draw:
    drawn = FAULTS[planned.kind].drawn
    return drawn if isinstance(drawn, Draw) else Draw()
