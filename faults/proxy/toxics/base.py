"""What a toxic is: a stage in the chain of one direction of one connection.

A stage is handed chunks by the stage before it and hands them on to the one after it; both calls return at once. One
that holds chunks back keeps them in a deque and owns at most one timer. There is no task, no lock and no await in the
data path, so a toxic can be added, changed or removed in one step while data is in flight.
"""

import time
from asyncio import TimerHandle
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

CHUNK_BYTES = 32 * 1024

# Timers of both event loops have a grain of a millisecond; what is due within half of it leaves now.
TIMER_SLACK_S = 0.0005

monotonic = time.monotonic


class Chunk(NamedTuple):
    """At most CHUNK_BYTES of one read, and when (monotonic seconds) they arrived at this point of the chain."""

    data: bytes
    arrived_s: float


class Outlet(Protocol):
    """Where a stage hands its chunks on: the next stage, or the socket."""

    def feed(self, chunk: Chunk) -> None: ...

    def end(self) -> None:
        """The source has closed; nothing follows."""


class Host(Protocol):
    """What a stage may ask of the connection that it is part of."""

    def later(self, delay_s: float, callback: Callable[[], None]) -> TimerHandle: ...

    def flow_changed(self) -> None:
        """The stage became full, or is no longer: the source is to be paused or resumed."""

    def reset(self) -> None:
        """Close both sockets with RST, dropping everything."""

    def rng(self, purpose: str) -> Random:
        """A seeded generator of this connection's own."""


@dataclass(frozen=True, slots=True)
class NoAttributes:
    """For toxics without settings."""


class Stage:
    """One toxic at work; by itself it passes everything on. Subclasses override what their toxic does.

    `attributes` is an instance of the class's `Attributes`; it is replaced only by `reconfigure`.
    """

    kind: ClassVar[str] = ""
    go_name: ClassVar[str] = ""  # the name of the struct in Toxiproxy, part of its error texts
    go_integer: ClassVar[str] = "int64"  # the type of its numbers, likewise
    Attributes: ClassVar[type[Any]] = NoAttributes
    closes_on_removal: ClassVar[bool] = False

    def __init__(self, name: str, attributes: Any, following: Outlet, host: Host) -> None:
        self.name = name
        self.attributes = attributes
        self.following = following
        self.host = host
        self.full = False
        self._timer: TimerHandle | None = None

    def feed(self, chunk: Chunk) -> None:
        self.following.feed(chunk)

    def end(self) -> None:
        self.following.end()

    def interrupt(self) -> None:
        """The chain changes behind this stage: hand on the chunk that is being worked on, keep the others."""

    def reconfigure(self, attributes: Any) -> None:
        """Work with new settings from now on; nothing is lost."""
        self.attributes = attributes

    def release(self) -> None:
        """The toxic is being removed: hand on everything held, in order, and stop."""

    def cancel(self) -> None:
        """The connection is gone: drop everything and stop."""
        self._disarm()

    def _arm(self, delay_s: float, callback: Callable[[], None]) -> None:
        self._disarm()
        self._timer = self.host.later(max(0.0, delay_s), callback)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class QueueStage(Stage):
    """A stage that holds chunks back. `capacity` is the number of waiting chunks that pauses the source."""

    capacity: ClassVar[int]

    def __init__(self, name: str, attributes: Any, following: Outlet, host: Host) -> None:
        super().__init__(name, attributes, following, host)
        self._queue: deque[Chunk] = deque()
        self._ended = False

    def feed(self, chunk: Chunk) -> None:
        if self._ended:
            return
        self._queue.append(chunk)
        if self._timer is None:
            self._advance()
        if not self.full and len(self._queue) >= self.capacity:
            self.full = True
            self.host.flow_changed()

    def end(self) -> None:
        self._ended = True
        self._end_if_empty()

    def release(self) -> None:
        self._disarm()
        self.interrupt_head()
        while self._queue:
            self.following.feed(self._take())
        self._end_if_empty()

    def cancel(self) -> None:
        super().cancel()
        self._queue.clear()

    def interrupt(self) -> None:
        self._disarm()
        self.interrupt_head()
        self._advance()

    def reconfigure(self, attributes: Any) -> None:
        self._disarm()
        self.interrupt_head()
        self.attributes = attributes
        self._advance()

    def interrupt_head(self) -> None:
        """Hand on the chunk in hand, if there is one, without the rest of its delay."""
        raise NotImplementedError

    def _advance(self) -> None:
        """Hand on what is due and arm the timer for the rest; called only while no timer is armed."""
        raise NotImplementedError

    def _holds(self) -> bool:
        return bool(self._queue)

    def _take(self) -> Chunk:
        chunk = self._queue.popleft()
        if self.full and len(self._queue) <= self.capacity // 2:
            self.full = False
            self.host.flow_changed()
        return chunk

    def _end_if_empty(self) -> None:
        if self._ended and not self._holds():
            self.following.end()


_StageT = TypeVar("_StageT", bound=type[Stage])
_KINDS: dict[str, type[Stage]] = {}


def register(kind: str, go_name: str) -> Callable[[_StageT], _StageT]:
    """Make a stage known to the API under `kind`, the type name that clients send."""

    def decorate(stage: _StageT) -> _StageT:
        assert kind not in _KINDS, f"two toxics claim the name {kind}"
        stage.kind = kind
        stage.go_name = go_name
        _KINDS[kind] = stage
        return stage

    return decorate


def find(kind: str) -> type[Stage] | None:
    """The toxic that was registered under `kind`."""
    return _KINDS.get(kind)
