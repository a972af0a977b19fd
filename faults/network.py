"""Faults of a link: latency, refused, black hole (both ways or one way), reset.

"Partition" is not one fault: a refused link fails fast, a black hole hangs, and a one-way black hole executes
commands whose replies never arrive. All are set through the Toxiproxy API, with toxicity 1 and whole numbers.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from faults.base import Evidence, Fault, FaultError, Link, PingResult, Undo
from faults.toxiproxy import Stream, ToxiproxyError

BOTH = (Stream.UPSTREAM, Stream.DOWNSTREAM)


@dataclass
class LinkFault(Fault):
    """Base: a fault that is a state of the link in the proxy."""

    link: Link
    _toxics: list[str] = field(default_factory=list, init=False)

    @property
    def target(self) -> str:
        return self.link.name

    def undo(self) -> Undo:
        return Undo("enable the proxy and remove its toxics", self.link.name)

    def inject(self) -> None:
        try:
            self._apply()
        except ToxiproxyError as error:
            raise FaultError(f"{self.kind} on {self.target}: {error}") from error

    @abstractmethod
    def _apply(self) -> None:
        """Set it in the proxy."""

    def _toxic(self, type: str, stream: Stream, **attributes: int) -> None:
        name = f"{self.kind}_{stream.value}"
        self._toxics.append(name)  # before the call: a lost answer must not leave a toxic behind
        self.link.api.add_toxic(self.link.name, type, stream=stream, attributes=attributes, name=name)

    def heal(self) -> None:
        try:
            self.link.api.remove_toxics(self.link.name, self._toxics)
            if not self.link.api.proxy(self.link.name).enabled:
                self.link.api.set_enabled(self.link.name, True)
        except ToxiproxyError as error:
            raise FaultError(f"healing {self.kind} on {self.target}: {error}") from error

    def healed(self) -> bool:
        state = self.link.api.proxy(self.link.name)
        mine = set(self._toxics) & {t.name for t in state.toxics}
        return state.enabled and not mine and self.link.ping().result is PingResult.PONG


@dataclass
class Latency(LinkFault):
    """Every round trip over the link takes `round_trip_ms` longer (half of it each way)."""

    kind: ClassVar[str] = "latency"
    summary: ClassVar[str] = "each round trip takes round_trip_ms longer, half each way"
    round_trip_ms: int = 10

    def _apply(self) -> None:
        there = self.round_trip_ms // 2
        self._toxic("latency", Stream.UPSTREAM, latency=there, jitter=0)
        self._toxic("latency", Stream.DOWNSTREAM, latency=self.round_trip_ms - there, jitter=0)

    def prove(self) -> Evidence | None:
        ping = self.link.ping(timeout_s=self.round_trip_ms / 1000 + 1)
        if ping.result is PingResult.PONG and ping.took_s * 1000 >= self.round_trip_ms:
            return Evidence(f"PING took {ping.took_s * 1000:.1f} ms")
        return None


@dataclass
class Refused(LinkFault):
    """The link's port refuses connections and the live ones are closed: an outage that fails fast."""

    kind: ClassVar[str] = "refused"
    summary: ClassVar[str] = "live connections are closed and new ones refused"

    def _apply(self) -> None:
        self.link.api.set_enabled(self.link.name, False)

    def prove(self) -> Evidence | None:
        ping = self.link.ping()
        return Evidence("connect was refused") if ping.result is PingResult.REFUSED else None


@dataclass
class BlackHole(LinkFault):
    """Connections stay open and bytes vanish, both ways. Healing closes the connections."""

    kind: ClassVar[str] = "black_hole"
    summary: ClassVar[str] = "connections stay open, bytes vanish both ways"
    streams: ClassVar[tuple[Stream, ...]] = BOTH
    probe_timeout_s: ClassVar[float] = 0.15

    def _apply(self) -> None:
        for stream in self.streams:
            self._toxic("timeout", stream, timeout=0)

    def prove(self) -> Evidence | None:
        ping = self.link.ping(self.probe_timeout_s)
        if ping.result is PingResult.SILENCE:
            return Evidence(f"PING met silence for {self.probe_timeout_s * 1000:.0f} ms")
        return None


@dataclass
class BlackHoleRequests(BlackHole):
    """One-way black hole: what the role sends never reaches Redis."""

    kind: ClassVar[str] = "black_hole_requests"
    summary: ClassVar[str] = "one way: what the role sends never reaches Redis"
    streams: ClassVar[tuple[Stream, ...]] = (Stream.UPSTREAM,)


@dataclass
class BlackHoleReplies(BlackHole):
    """One-way black hole: Redis executes what the role sends, and the replies vanish."""

    kind: ClassVar[str] = "black_hole_replies"
    summary: ClassVar[str] = "one way: Redis executes commands, their replies vanish"
    streams: ClassVar[tuple[Stream, ...]] = (Stream.DOWNSTREAM,)


@dataclass
class Reset(LinkFault):
    """Every connection of the link is reset (RST) at its next byte, as long as it is held."""

    kind: ClassVar[str] = "reset"
    summary: ClassVar[str] = "each connection is reset (RST) at its next byte"

    def _apply(self) -> None:
        for stream in BOTH:
            self._toxic("reset_peer", stream, timeout=0)

    def prove(self) -> Evidence | None:
        ping = self.link.ping()
        return Evidence("PING was answered with a reset") if ping.result is PingResult.RESET else None
