"""How a fault may be drawn by a random schedule: each fault class says so of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class FaultFamily(StrEnum):
    """What a fault belongs to. A random schedule switches whole families on and off."""

    NETWORK = "network"
    COMMAND = "command"
    PROCESS = "process"
    QUEUE = "queue"
    REDIS = "redis"
    CLOCK = "clock"


@dataclass(frozen=True, slots=True)
class Draw:
    """How a random schedule draws it.

    hold_s: the shortest and the longest that it is held; never_s: and for no time between these. parameters: what each
    may be; the others keep their defaults. starves: whether its target gets nothing done meanwhile. after_s: how long
    after the end of its hold its target may take until it is as before.
    """

    hold_s: tuple[float, float] = (0.2, 2.0)
    parameters: Mapping[str, Sequence[int | str]] = field(default_factory=dict)
    starves: bool = True
    after_s: float = 0.0
    never_s: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class NotDrawn:
    """It is for schedules that are written by hand. why: in words."""

    why: str
