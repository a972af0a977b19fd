"""Faults of a link: latency, refused, black hole (both ways or one way), reset.

"Partition" is not one fault: a refused link fails fast, a black hole hangs, and a one-way black hole executes
commands whose replies never arrive. All are set through the Toxiproxy API, with toxicity 1 and whole numbers.

Each is proven by two things: a PING of the harness meets it, and so does the traffic of the role whose link it is.
Whether it is still there is told by its own trace in the proxy, and by a PING where that can tell: another fault of
the same link may keep the PING from seeing this one, but an answer that this one would not let through denies it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from taskchaos.faults.base import Evidence, Fault, FaultError, Link, On, Ping, PingResult, Undo
from taskchaos.faults.bounds import Whole
from taskchaos.faults.draw import Draw
from taskchaos.faults.toxiproxy import ProxyState, Stream, ToxiproxyError
from taskchaos.faults.traffic import Met, Sight
from taskchaos.faults.watch import Watch

#: The longest delay that a fault of a link may have.
MOST_MS = 10_000
BOTH = (Stream.UPSTREAM, Stream.DOWNSTREAM)
#: Toxics that keep a PING from being answered.
_SILENCING = frozenset({"timeout", "reset_peer"})
#: How long the PINGs may take together that tell a delay from what a busy machine adds by itself; the most of them.
LOOK_S, MOST_PINGS = 0.2, 10
#: How long one is waited for before the injection.
PATIENCE_S = 0.5
#: The proxy's timers may ring so much early, one in each direction.
_GRAIN_MS = 2.0


@dataclass
class LinkFault(Fault):
    """Base: a fault that is a state of the link in the proxy."""

    on = On.LINK
    drawn: ClassVar[Draw] = Draw((0.3, 3.0))

    link: Link
    _toxics: dict[str, Stream] = field(default_factory=dict, init=False)
    _watch: Watch | None = field(default=None, init=False)
    _shown: str = field(default="", init=False)  # what a PING met, when it met the fault
    _ping: Ping | None = field(default=None, init=False)  # the last one

    @property
    def target(self) -> str:
        return self.link.name

    def undo(self) -> Undo:
        return Undo("enable the proxy and remove its toxics", self.link.name)

    def inject(self) -> None:
        self._watch = Watch(self.link, self._toxics)
        try:
            self._apply()
        except ToxiproxyError as error:
            raise FaultError(f"{self.kind} on {self.target}: {error}") from error

    @abstractmethod
    def _apply(self) -> None:
        """Set it in the proxy."""

    def _toxic(self, type: str, stream: Stream, **attributes: int) -> None:
        name = f"{self.kind}_{stream.value}"
        self._toxics[name] = stream  # before the call: a lost answer must not leave a toxic behind
        self.link.api.add_toxic(self.link.name, type, stream=stream, attributes=attributes, name=name)

    # Is it there?

    def _traced(self, state: ProxyState) -> bool:
        """Whether the proxy has it."""
        return bool(self._toxics) and self._toxics.keys() <= {toxic.name for toxic in state.toxics}

    def _patience_s(self, state: ProxyState) -> float:
        """How long to wait for the answer to a PING."""
        return 1.0

    @abstractmethod
    def _shows(self, ping: Ping, state: ProxyState) -> str:
        """What the PING met, if that shows this fault; else ""."""

    def _denies(self, ping: Ping, state: ProxyState) -> bool:
        """Whether the PING met what this fault would not let through."""
        return ping.result is PingResult.PONG

    def _bites(self, met: Met) -> bool:
        """Whether this is traffic that the fault does something to."""
        return met.passed(*BOTH) or (met.sight is Sight.CONNECTIONS and met.connections > 0)

    def _send_ping(self, state: ProxyState) -> Ping:
        self._ping = self._probe(self._patience_s(state))
        return self._ping

    def _probe(self, patience_s: float) -> Ping:
        """The PING that can tell."""
        return self.link.ping(patience_s)

    def prove(self) -> Evidence | None:
        if self._watch is None:
            return None
        if not self._shown:
            state = self.link.api.proxy(self.link.name)
            self._shown = self._shows(self._send_ping(state), state) if self._traced(state) else ""
        if not self._shown or not self._bites(met := self._watch.met()):
            return None
        return Evidence(f"{self._shown}; {self._watch.told(met)}")

    @property
    def in_force(self) -> bool:
        return bool(self._shown)

    def missing(self) -> str:
        if self._watch is not None and self._shown:
            return f"{self._shown}, but {self._watch.nothing()}"
        if self._ping is None:
            return f"{super().missing()}: it is not in the proxy"
        return f"{super().missing()}: PING met {self._ping.result} after {self._ping.took_s * 1000:.1f} ms"

    def unused(self) -> str:
        return self._watch.unused() if self._watch is not None and self._shown else ""

    @property
    def look_s(self) -> float:
        return super().look_s + (self._ping.took_s if self._ping else 0.0)

    def holds(self) -> bool:
        state = self.link.api.proxy(self.link.name)
        if not self._traced(state) or self._hidden(state):
            return self._traced(state)
        return not self._denies(self._send_ping(state), state)

    def _hidden(self, state: ProxyState) -> bool:
        """Whether another fault of the link keeps a PING from meeting this one."""
        return silenced(state, besides=self._toxics)

    # Taking it back.

    def heal(self) -> None:
        self._shown = ""
        try:
            self._take_back()
        except ToxiproxyError as error:
            raise FaultError(f"healing {self.kind} on {self.target}: {error}") from error

    def _take_back(self) -> None:
        self.link.api.remove_toxics(self.link.name, self._toxics)

    def healed(self) -> bool:
        state = self.link.api.proxy(self.link.name)
        mine = self._toxics.keys() & {toxic.name for toxic in state.toxics}
        return not mine and (self.link.ping().result is PingResult.PONG or silenced(state))


def silenced(state: ProxyState, *, besides: Collection[str] = ()) -> bool:
    """Whether a fault of the whole link keeps PINGs from being answered. besides: toxics that are left out."""
    others = (toxic for toxic in state.toxics if toxic.name not in besides)
    return not state.enabled or any(toxic.type in _SILENCING for toxic in others)


@dataclass
class DelayFault(LinkFault):
    """Base: it shows by how much longer a PING takes than right before, when the link was without it."""

    _without_s: float = field(default=0.0, init=False)

    def _adds_s(self) -> float:
        """How much longer its PING takes, about."""
        raise NotImplementedError

    def inject(self) -> None:
        before: list[float] = []
        while len(before) < self._pings and (ping := self._probe(PATIENCE_S)).result is PingResult.PONG:
            before.append(ping.took_s)
        self._without_s = min(before, default=0.0)  # by that of another fault, if there is one that lets none through
        super().inject()

    def _longer(self, ping: Ping) -> bool:
        """Whether it took longer than without the fault, by more than chance."""
        return ping.took_s >= self._without_s + self._adds_s() / 2

    @property
    def _pings(self) -> int:
        """How many PINGs are sent at a time, of which the fastest counts: the more, the less it adds, until seen."""
        return 1 if self._shown else max(1, min(MOST_PINGS, int(LOOK_S / self._adds_s())))

    def _send_ping(self, state: ProxyState) -> Ping:
        pings = [super(DelayFault, self)._send_ping(state) for _ in range(self._pings)]
        self._ping = min(pings, key=lambda ping: (ping.result is not PingResult.PONG, ping.took_s))
        return self._ping


@dataclass
class Latency(DelayFault):
    """Every round trip over the link takes `round_trip_ms` longer (half of it each way)."""

    kind: ClassVar[str] = "latency"
    summary: ClassVar[str] = "each round trip takes round_trip_ms longer, half each way"
    drawn: ClassVar[Draw] = Draw((0.3, 3.0), {"round_trip_ms": range(10, 301)}, starves=False)
    round_trip_ms: Annotated[int, Whole(10, MOST_MS)] = 10

    def _adds_s(self) -> float:
        return self.round_trip_ms / 1000

    def _apply(self) -> None:
        there = self.round_trip_ms // 2
        self._toxic("latency", Stream.UPSTREAM, latency=there, jitter=0)
        self._toxic("latency", Stream.DOWNSTREAM, latency=self.round_trip_ms - there, jitter=0)

    def _patience_s(self, state: ProxyState) -> float:
        return delay_ms(state) / 1000 + 1

    def _shows(self, ping: Ping, state: ProxyState) -> str:
        took_ms = ping.took_s * 1000
        shows = ping.result is PingResult.PONG and took_ms >= delay_ms(state) and self._longer(ping)
        return f"PING took {took_ms:.1f} ms, and {self._without_s * 1000:.1f} ms before" if shows else ""

    def _denies(self, ping: Ping, state: ProxyState) -> bool:
        return ping.result is PingResult.PONG and ping.took_s * 1000 < delay_ms(state) - _GRAIN_MS


def delay_ms(state: ProxyState) -> int:
    """The least latency of a round trip that the proxy is set to, whoever set it: Redis may be far away by itself."""
    latencies = (toxic.attributes for toxic in state.toxics if toxic.type == "latency")
    return sum(max(0, each.get("latency", 0) - each.get("jitter", 0)) for each in latencies)


@dataclass
class RefusedLink(LinkFault):
    """The link's port refuses connections and the live ones are closed: an outage that fails fast."""

    kind: ClassVar[str] = "refused"
    summary: ClassVar[str] = "live connections are closed and new ones refused"
    _disabled: bool = field(default=False, init=False)

    def _apply(self) -> None:
        if not self.link.api.proxy(self.link.name).enabled:
            raise FaultError(
                f"{self.kind} on {self.target}: it is refused already, and two at a time cannot be told apart"
            )
        self._disabled = True  # before the call, as for toxics
        self.link.api.set_enabled(self.link.name, False)

    def _traced(self, state: ProxyState) -> bool:
        return self._disabled and not state.enabled

    def _shows(self, ping: Ping, state: ProxyState) -> str:
        return "connect was refused" if ping.result is PingResult.REFUSED else ""

    def _denies(self, ping: Ping, state: ProxyState) -> bool:
        return ping.result is not PingResult.REFUSED

    def _bites(self, met: Met) -> bool:
        """Who connects now is turned away by the kernel, unseen; those whom it has closed are seen."""
        return met.cut > 0

    def _hidden(self, state: ProxyState) -> bool:
        return False

    def _take_back(self) -> None:
        if self._disabled:
            self._disabled = not self.link.api.set_enabled(self.link.name, True).enabled

    def healed(self) -> bool:
        return not self._disabled and super().healed()


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

    def _patience_s(self, state: ProxyState) -> float:
        return self.probe_timeout_s

    def _shows(self, ping: Ping, state: ProxyState) -> str:
        silent = ping.result is PingResult.SILENCE
        return f"PING met silence for {self.probe_timeout_s * 1000:.0f} ms" if silent else ""

    def _bites(self, met: Met) -> bool:
        """What vanishes on the way to the role is not seen at the role's end: there its open connections have to do."""
        hidden = met.sight is Sight.CONNECTIONS or (met.sight is Sight.ROLE and Stream.DOWNSTREAM in self.streams)
        return met.passed(*self.streams) or (hidden and met.connections > 0)


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

    def _shows(self, ping: Ping, state: ProxyState) -> str:
        return "PING was answered with a reset" if ping.result is PingResult.RESET else ""

    def _bites(self, met: Met) -> bool:
        return met.cut > 0
