"""The toxics that a proxy is set to have: what the API shows and what every connection builds its chains from."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from taskchaos.faults.proxy.errors import toxic_exists, toxic_not_found
from taskchaos.faults.proxy.toxics import Stage


class Direction(StrEnum):
    """UPSTREAM is client to server, DOWNSTREAM is server to client."""

    UPSTREAM = "upstream"
    DOWNSTREAM = "downstream"


@dataclass(frozen=True, slots=True)
class ToxicWindow:
    """When a toxic works: from `after` ms after its creation on, for `lasting` ms; None where nothing was asked for."""

    after: int | None = None
    lasting: int | None = None


@dataclass(frozen=True, slots=True)
class ToxicSpec:
    """One toxic as it was set.

    `stream` is the direction as the client wrote it, which is how it is shown. `generation` counts the updates: each
    one rolls the dice again. A `waiting` toxic is shown, and does nothing yet.
    """

    name: str
    stage: type[Stage]
    stream: str
    direction: Direction
    toxicity: float
    attributes: Any
    window: ToxicWindow = ToxicWindow()
    waiting: bool = False
    generation: int = 0

    def updated(self, attributes: Any, toxicity: float) -> "ToxicSpec":
        return replace(self, attributes=attributes, toxicity=toxicity, generation=self.generation + 1)


@dataclass(slots=True)
class ToxicChain:
    """The entries of one proxy in the order in which data meets them; names are unique across both directions."""

    _entries: list[ToxicSpec] = field(default_factory=list)

    def all(self) -> list[ToxicSpec]:
        """Upstream first, then downstream, each in order of insertion."""
        return self.towards(Direction.UPSTREAM) + self.towards(Direction.DOWNSTREAM)

    def working(self, direction: Direction) -> list[ToxicSpec]:
        """What a connection is made with."""
        return [entry for entry in self.towards(direction) if not entry.waiting]

    def towards(self, direction: Direction) -> list[ToxicSpec]:
        return [entry for entry in self._entries if entry.direction is direction]

    def has(self, name: str) -> bool:
        return any(entry.name == name for entry in self._entries)

    def get(self, name: str) -> ToxicSpec:
        """Raises ApiError 404."""
        for entry in self._entries:
            if entry.name == name:
                return entry
        raise toxic_not_found()

    def add(self, entry: ToxicSpec) -> None:
        """Raises ApiError 409."""
        if self.has(entry.name):
            raise toxic_exists()
        self._entries.append(entry)

    def put(self, entry: ToxicSpec) -> None:
        """Replace the entry of the same name, in its place."""
        self._entries[self._entries.index(self.get(entry.name))] = entry

    def remove(self, name: str) -> ToxicSpec:
        """Raises ApiError 404."""
        entry = self.get(name)
        self._entries.remove(entry)
        return entry
