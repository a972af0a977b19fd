"""Faults of a link that answers, badly: jitter, little bandwidth, small pieces, cuts after so many bytes, flapping.

Each is seen by a PING as large as it takes to notice: Redis echoes what a PING carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, ClassVar

from taskchaos.faults.base import Evidence, Link, Ping, PingResult
from taskchaos.faults.bounds import Whole
from taskchaos.faults.draw import Draw
from taskchaos.faults.loop import Loop
from taskchaos.faults.network import BOTH, MOST_MS, DelayFault, Latency, LinkFault, RefusedLink, delay_ms
from taskchaos.faults.toxiproxy import ProxyState, Stream
from taskchaos.faults.traffic import Met

#: What a PING of the harness is to take at least over a link that is slow for its size, beyond the link's own latency.
SLOW_S = 0.1
#: The least that a delay may add to the longest PING.
TOLD_S = 0.01
#: Redis takes no longer line, and what frames the echo.
LONGEST_PING = 32_768
FRAME = 16


@dataclass
class Jitter(Latency):
    """Each round trip takes `round_trip_ms` longer, give or take `jitter_ms`: replies overtake nothing, but wait."""

    kind: ClassVar[str] = "jitter"
    summary: ClassVar[str] = "each round trip takes round_trip_ms longer, give or take jitter_ms"
    drawn: ClassVar[Draw] = Draw(
        (0.5, 3.0), {"round_trip_ms": range(60, 201), "jitter_ms": range(10, 61)}, starves=False
    )
    round_trip_ms: Annotated[int, Whole(50, MOST_MS)] = 60
    jitter_ms: Annotated[int, Whole(2, MOST_MS)] = 40

    @classmethod
    def clash(cls, values: Mapping[str, Any], hold_s: float) -> str:
        if values["jitter_ms"] > values["round_trip_ms"]:
            return f"jitter_ms has to be at most round_trip_ms, {values['round_trip_ms']}, not {values['jitter_ms']}"
        return ""

    @property
    def _pings(self) -> int:
        """Chance decides how long each takes: two that are long show it."""
        return 2

    def _apply(self) -> None:
        for stream in BOTH:
            self._toxic("latency", stream, latency=self.round_trip_ms // 2, jitter=self.jitter_ms // 2)


@dataclass
class _SlowFault(DelayFault):
    """Base: it is answered, and not before a certain time."""

    def _least_s(self) -> float:
        """How long its PING takes at least."""
        raise NotImplementedError

    def _adds_s(self) -> float:
        return self._least_s()

    def _told(self, took_ms: float) -> str:
        """What a PING that took so long has met."""
        raise NotImplementedError

    def _shows(self, ping: Ping, state: ProxyState) -> str:
        if ping.result is not PingResult.PONG or self._denies(ping, state) or not self._longer(ping):
            return ""
        return self._told(ping.took_s * 1000)

    def _denies(self, ping: Ping, state: ProxyState) -> bool:
        return ping.result is PingResult.PONG and ping.took_s < self._least_s()


@dataclass
class _SizedFault(_SlowFault):
    """Base: what is slow for its size is seen by a PING of that size, both ways."""

    def _size(self) -> int:
        """How many bytes a PING has to carry."""
        raise NotImplementedError

    def _patience_s(self, state: ProxyState) -> float:
        return 4 * self._least_s() + 1.0 + delay_ms(state) / 1000

    def _probe(self, patience_s: float) -> Ping:
        return self.link.ping(patience_s, padding=self._size())

    def _told(self, took_ms: float) -> str:
        return f"PING with {self._size()} bytes took {took_ms:.0f} ms"


@dataclass
class Bandwidth(_SizedFault):
    """`kb_per_s` kilobytes a second each way and connection."""

    kind: ClassVar[str] = "bandwidth"
    summary: ClassVar[str] = "kb_per_s kilobytes a second, each way and connection"
    drawn: ClassVar[Draw] = Draw((0.5, 3.0), {"kb_per_s": (10, 20, 50, 100)}, starves=False)
    kb_per_s: Annotated[int, Whole(1, 1000)] = 20

    def _apply(self) -> None:
        for stream in BOTH:
            self._toxic("bandwidth", stream, rate=self.kb_per_s)

    def _size(self) -> int:
        return min(LONGEST_PING, round(SLOW_S / 2 * self.kb_per_s * 1000))

    def _least_s(self) -> float:
        return 2 * self._size() / (self.kb_per_s * 1000) * 0.9


@dataclass
class Slicing(_SizedFault):
    """What is sent arrives in pieces of about `piece_bytes`, `delay_us` apart, each a packet of its own."""

    kind: ClassVar[str] = "slicing"
    summary: ClassVar[str] = "what is sent arrives in pieces of about piece_bytes, delay_us apart"
    drawn: ClassVar[Draw] = Draw((0.5, 3.0), {"piece_bytes": (16, 64, 256), "delay_us": (500, 1000, 2000)})
    piece_bytes: Annotated[int, Whole(1, 512)] = 64
    delay_us: Annotated[int, Whole(100, 100_000)] = 2000

    def _apply(self) -> None:
        for stream in BOTH:
            self._toxic("slicer", stream, average_size=self.piece_bytes, size_variation=0, delay=self.delay_us)

    @classmethod
    def clash(cls, values: Mapping[str, Any], hold_s: float) -> str:
        pieces = LONGEST_PING // values["piece_bytes"] - 1
        most_s = pieces * values["delay_us"] / 1_000_000
        why = f"a PING of {LONGEST_PING} bytes would take {most_s * 1000:.1f} ms longer, which nobody could tell"
        return f"{why}: take smaller piece_bytes, or a longer delay_us" if most_s < TOLD_S else ""

    def _pieces(self) -> int:
        """In halves of halves, none above the size: so many of a PING's bytes at least."""
        return max(1, self._size() // self.piece_bytes - 1)

    def _size(self) -> int:
        wanted = int(SLOW_S / 2 / (self.delay_us / 1_000_000)) + 2
        return min(LONGEST_PING, wanted * self.piece_bytes)

    def _least_s(self) -> float:
        return 2 * self._pieces() * self.delay_us / 1_000_000 * 0.5


@dataclass
class LimitData(LinkFault):
    """Each connection is closed after `limit_bytes` bytes from Redis: in the middle of a reply, sooner or later."""

    kind: ClassVar[str] = "limit_data"
    summary: ClassVar[str] = "each connection is closed after limit_bytes bytes from Redis, in the middle of a reply"
    drawn: ClassVar[Draw] = Draw((1.5, 3.0), {"limit_bytes": (8, 16)})  # a producer gets 4 bytes a task
    limit_bytes: Annotated[int, Whole(1, LONGEST_PING - FRAME)] = 2000

    def _apply(self) -> None:
        self._toxic("limit_data", Stream.DOWNSTREAM, bytes=self.limit_bytes)

    def _probe(self, patience_s: float) -> Ping:
        return self.link.ping(patience_s, padding=min(LONGEST_PING, self.limit_bytes + FRAME))

    def _shows(self, ping: Ping, state: ProxyState) -> str:
        cut = ping.result in (PingResult.CLOSED, PingResult.RESET)
        return f"a PING with more than {self.limit_bytes} bytes was cut off" if cut else ""

    def _bites(self, met: Met) -> bool:
        return met.cut > 0


@dataclass
class SlowClose(_SlowFault):
    """A close takes `delay_ms` to get through, each way: the peer seems to live on."""

    kind: ClassVar[str] = "slow_close"
    summary: ClassVar[str] = "a close takes delay_ms to get through: the peer seems to live on"
    drawn: ClassVar[Draw] = Draw((1.5, 3.0), {"delay_ms": range(200, 1201)}, starves=False)
    delay_ms: Annotated[int, Whole(20, MOST_MS)] = 1000

    def _apply(self) -> None:
        for stream in BOTH:
            self._toxic("slow_close", stream, delay=self.delay_ms)

    def _patience_s(self, state: ProxyState) -> float:
        return self.delay_ms / 1000 + delay_ms(state) / 1000 + 1.0

    def _probe(self, patience_s: float) -> Ping:
        return self.link.ping(patience_s, quit=True)

    def _least_s(self) -> float:
        return self.delay_ms / 1000 * 0.9

    def _told(self, took_ms: float) -> str:
        return f"Redis closed a connection, which was seen {took_ms:.0f} ms later"


@dataclass
class Flapping(RefusedLink):
    """The link is refused and back again, each for half of `period_ms`, for as long as it is held."""

    kind: ClassVar[str] = "flapping"
    summary: ClassVar[str] = "the link is refused and back again, each for half of period_ms"
    drawn: ClassVar[Draw] = Draw((1.0, 3.0), {"period_ms": range(200, 601)})
    period_ms: Annotated[int, Whole(20, MOST_MS)] = 400
    _loop: Loop | None = field(default=None, init=False)
    _turns: int = field(default=0, init=False)  # it was refused, or back

    @classmethod
    def clash(cls, values: Mapping[str, Any], hold_s: float) -> str:
        if hold_s * 1000 > values["period_ms"]:
            return ""
        return f"hold_s has to be longer than period_ms, {values['period_ms']}: it is to be refused more than once"

    def _apply(self) -> None:
        super()._apply()
        self._turns = 1
        self._loop = Loop(f"flapping-{self.target}", partial(self._turn, self.link), self.period_ms / 2000)
        self._loop.start()

    def _turn(self, link: Link) -> None:
        link.api.set_enabled(link.name, self._turns % 2 == 1)
        self._turns += 1

    @property
    def _times(self) -> int:
        """How often it was refused."""
        return (self._turns + 1) // 2

    def _traced(self, state: ProxyState) -> bool:
        return self._loop is not None and self._loop.running

    def _shows(self, ping: Ping, state: ProxyState) -> str:
        return super()._shows(ping, state) if self._times > 1 else ""

    def prove(self) -> Evidence | None:
        evidence = super().prove()
        return Evidence(f"refused {self._times} times; {evidence.seen}") if evidence else None

    def missing(self) -> str:
        return (self._loop.trouble if self._loop else "") or super().missing()

    def holds(self) -> bool:
        return self._traced(self.link.api.proxy(self.link.name))

    def _take_back(self) -> None:
        if self._loop is not None:
            self._loop.end(self.heal_deadline_s)
        super()._take_back()
