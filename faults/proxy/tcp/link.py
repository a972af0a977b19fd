"""One client connection: two sockets, and between them a link in each direction.

A link without toxics is a fast path: what one socket reads is written to the other in the same call, and the only
machinery is flow control. With toxics, reads are cut into chunks and walk through the stages. All changes of the chain
are synchronous, so there is no moment in which data could be lost, overtaken, or waited for.

There is no half-close, as in the real server: the end of one direction closes the socket that it leads to, and that
ends the other direction.
"""

import asyncio
from collections.abc import Callable
from random import Random

from taskchaos.faults.proxy.tcp.chain import Direction, ToxicChain, ToxicSpec
from taskchaos.faults.proxy.tcp.dice import Dice
from taskchaos.faults.proxy.tcp.endpoint import Endpoint, discard
from taskchaos.faults.proxy.tcp.ordered_writer import OrderedWriter
from taskchaos.faults.proxy.toxics import CHUNK_BYTES, Chunk, Outlet, Stage, monotonic

_LONGEST_TIMER_S = 86_400.0 * 30  # the loops refuse absurd delays; stages look at the clock again when a timer fires


class _Sink:
    """The end of a chain: the destination socket."""

    def __init__(self, link: "ProxyLink") -> None:
        self._link = link

    def feed(self, chunk: Chunk) -> None:
        self._link.write(chunk.data)

    def end(self) -> None:
        self._link.drained()


class ProxyLink:
    """One direction of a connection. It is the `Host` of its stages."""

    def __init__(self, connection: "Connection", source: Endpoint, destination: Endpoint, direction: Direction) -> None:
        self.direction = direction
        self._connection = connection
        self._source = source
        self._destination = destination
        self._sink: Outlet = _Sink(self)
        self._stages: list[Stage] = []
        self._writer: OrderedWriter | None = None
        self._sent_bytes = 0
        self._fed_bytes = 0  # to the chain, ever since there was one
        self._fed_before: dict[str, int] = {}  # each toxic: when it came
        self._straight_from: int | None = None  # on the fast path: what the source had received when it began
        self._busy = False
        self._paused = False
        self._input_ended = False
        self._over = False

    def start(self, entries: list[ToxicSpec]) -> None:
        """Build the chain and let through what arrived before."""
        for entry in entries:
            self._append(entry)
        self._source.received_bytes, self._source.opening = 0, b""  # what came early counts as it is let through
        self._rewire()
        early, self._source.early = self._source.early, []
        for data in early:
            self._source.data_received(data)
        if self._source.ended:
            self.source_ended()

    def guard(self, writer: OrderedWriter | None) -> None:
        """Send what the source reads through this writer before it meets the toxics; None takes the writer away."""
        self._writer = writer
        self._rewire()
        self.flow_changed()

    # Changes of the chain, on the live connection.

    def add(self, entry: ToxicSpec) -> None:
        """Append a toxic. What the last stage has in hand goes out before, as in the real server."""
        if self._over:
            return
        if self._stages:
            self._stages[-1].interrupt()
        if not self._over:  # what was in hand may have been the last before the end
            self._append(entry)
            self._rewire()

    def update(self, entry: ToxicSpec) -> None:
        """Give a toxic new settings, and roll its dice again."""
        if self._over:
            return
        place = self._place(entry.name)
        old = self._stages[place]
        toxic = self._connection.falls(entry)
        if toxic and type(old) is entry.stage:
            old.reconfigure(entry.attributes)
        else:
            old.release()
            if not self._over:  # what it held may have been the last before the end
                self._stages[place] = self._stage(entry, toxic, old.following)
                self._join()
        self.flow_changed()

    def remove(self, entry: ToxicSpec) -> None:
        """Take a toxic out; what it holds goes on at once, in order, unless its removal closes."""
        if self._over:
            return
        stage = self._stages.pop(self._place(entry.name))
        self._fed_before.pop(entry.name, None)
        stage.release()
        if entry.stage.closes_on_removal:
            stage.following.end()
        self._join()
        self._rewire()
        self.flow_changed()

    def abandon(self) -> None:
        """Nobody is left to send to: drop what is held, and what still comes."""
        self._over = True
        self._send_reads(discard)
        stages, self._stages = self._stages, []
        for stage in stages:
            stage.cancel()
        if self._writer is not None:
            self._writer.cancel()
        self.flow_changed()

    # What the sockets report.

    def source_ended(self) -> None:
        """The source has closed: that news follows the data through the chain."""
        if self._input_ended:
            return
        self._input_ended = True
        self._send_reads(discard)
        if self._over:
            return
        if self._writer is not None:
            self._writer.end()
        else:
            self.finish()

    def destination_busy(self, busy: bool) -> None:
        self._busy = busy
        self.flow_changed()

    # What a writer does (ordered_writer.Passage).

    def pass_on(self, data: bytes) -> None:
        if self._stages:
            self._receive(data)
        else:
            self.write(data)

    def finish(self) -> None:
        """The end of the stream goes through the chain."""
        if not self._over:
            (self._stages[0] if self._stages else self._sink).end()

    # What the end of the chain does.

    def write(self, data: bytes) -> None:
        # A socket that has failed says so in the next turn of the loop only, and complains about writes until then.
        if not self._over and not self._destination.transport.is_closing():
            self._sent_bytes += len(data)
            self._destination.transport.write(data)

    def drained(self) -> None:
        """The end has come through the chain."""
        if self._over:
            return
        self._connection.cuts()
        self.abandon()
        self._destination.close()

    # What has passed.

    @property
    def received_bytes(self) -> int:
        return self._source.received_bytes

    @property
    def sent_bytes(self) -> int:
        """Handed to the destination's socket. The fast path has nobody who counts, so what it read is what it sent."""
        straight = 0 if self._straight_from is None else self._source.received_bytes - self._straight_from
        return self._sent_bytes + straight

    def met(self) -> dict[str, int]:
        """The bytes that have come to each toxic since it is there, or was when the connection ended."""
        return {name: self._fed_bytes - before for name, before in self._fed_before.items()}

    # What a stage may ask for (toxics.Host).

    def later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return self._connection.loop.call_later(min(delay_s, _LONGEST_TIMER_S), callback)

    def flow_changed(self) -> None:
        """Read from the source exactly while there is room for it."""
        # A link that is over discards, and must keep reading to see the source close.
        pause = not self._over and (self._busy or self._held_back())
        if pause is self._paused or self._source.lost:
            return
        self._paused = pause
        transport = self._source.transport
        if transport.is_closing() or self._source.ended:
            return
        if pause:
            transport.pause_reading()
        else:
            transport.resume_reading()

    def _held_back(self) -> bool:
        return any(stage.full for stage in self._stages) or (self._writer is not None and self._writer.full)

    def reset(self) -> None:
        self._connection.abort(reset=True)

    def rng(self, purpose: str) -> Random:
        return self._connection.rng(purpose)

    # The chain itself.

    def _receive(self, data: bytes) -> None:
        """The slow path: cut into chunks, stamp the time, hand to the first stage."""
        self._fed_bytes += len(data)
        arrived_s = monotonic()
        first = self._stages[0]
        if len(data) <= CHUNK_BYTES:
            first.feed(Chunk(data, arrived_s))
            return
        for start in range(0, len(data), CHUNK_BYTES):
            first.feed(Chunk(data[start : start + CHUNK_BYTES], arrived_s))

    def _append(self, entry: ToxicSpec) -> None:
        self._stages.append(self._stage(entry, self._connection.falls(entry), self._sink))
        self._fed_before[entry.name] = self._fed_bytes
        self._join()

    def _stage(self, entry: ToxicSpec, toxic: bool, following: Outlet) -> Stage:
        kind = entry.stage if toxic else Stage
        return kind(entry.name, entry.attributes, following, self)

    def _join(self) -> None:
        followers: list[Outlet] = [*self._stages[1:], self._sink]
        for stage, following in zip(self._stages, followers, strict=False):
            stage.following = following

    def _rewire(self) -> None:
        """Choose the fast path or the chain for what the source reads next."""
        if self._over or self._input_ended:
            self._send_reads(discard)
        elif self._writer is not None:
            self._send_reads(self._writer.feed)
        elif self._stages:
            self._send_reads(self._receive)
        else:
            self._send_reads(self._destination.transport.write)
            self._straight_from = self._source.received_bytes

    def _send_reads(self, target: Callable[[bytes], object]) -> None:
        self._sent_bytes = self.sent_bytes
        self._straight_from = None
        self._source.deliver = target

    def _place(self, name: str) -> int:
        return next(place for place, stage in enumerate(self._stages) if stage.name == name)


class Connection:
    """A client, its server, and the two links between them.

    `number` counts the connections of the proxy in the order of their accepts; with the seed it decides the dice.
    `was_cut` says that it was the proxy that ended it, not one of the two sides.
    """

    def __init__(
        self, client: Endpoint, server: Endpoint, dice: Dice, on_closed: Callable[["Connection"], None]
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = self.loop.create_future()
        self._client = client
        self._server = server
        self._dice = dice
        self._on_closed = on_closed
        self._rngs: dict[str, Random] = {}
        self.was_cut = False
        self.links = {
            Direction.UPSTREAM: ProxyLink(self, client, server, Direction.UPSTREAM),
            Direction.DOWNSTREAM: ProxyLink(self, server, client, Direction.DOWNSTREAM),
        }
        for end in (client, server):
            end.connection = self
        client.outgoing = server.incoming = self.links[Direction.UPSTREAM]
        server.outgoing = client.incoming = self.links[Direction.DOWNSTREAM]

    def start(self, chain: ToxicChain) -> None:
        """Begin to pass data."""
        for direction, link in self.links.items():
            link.start(chain.working(direction))
        for end in (self._client, self._server):
            if end.lost:
                self.endpoint_lost(end)

    def abort(self, *, reset: bool = False) -> None:
        """Close both sockets now and drop all data in between; `closed` is done when they are closed."""
        self.cuts()
        for link in self.links.values():
            link.abandon()
        for end in (self._client, self._server):
            end.abort(reset=reset)

    def cut(self, *, reset: bool) -> None:
        """Close the client, with RST if `reset`; what has been passed on to the server still reaches it."""
        self.cuts()
        if reset:
            self._client.abort(reset=True)
            self.links[Direction.UPSTREAM].source_ended()
        else:
            self.links[Direction.DOWNSTREAM].finish()

    def cuts(self) -> None:
        """An end that comes now is the proxy's doing, unless one of the two sides has closed before."""
        self.was_cut = self.was_cut or not self._ending

    @property
    def _ending(self) -> bool:
        """Whether one of the two sides has closed."""
        return self._client.ended or self._server.ended

    def opening(self) -> bytes:
        """The first bytes of the client."""
        return self._client.opening

    def received_bytes(self) -> tuple[int, int]:
        """From the client, and from the server."""
        return self._client.received_bytes, self._server.received_bytes

    def endpoint_lost(self, end: Endpoint) -> None:
        if end.incoming is not None:
            end.incoming.abandon()
        if end.outgoing is not None:
            end.outgoing.source_ended()
        if self._client.lost and self._server.lost and not self.closed.done():
            for link in self.links.values():
                link.abandon()
            self.closed.set_result(None)
            self._on_closed(self)

    def falls(self, entry: ToxicSpec) -> bool:
        """Whether this toxic takes this connection: one roll for each (connection, toxic, update)."""
        return self._dice.falls(entry.toxicity, f"{entry.name}/{entry.generation}")

    def rng(self, purpose: str) -> Random:
        if purpose not in self._rngs:
            self._rngs[purpose] = self._dice.rng(f"{purpose}/draws")
        return self._rngs[purpose]
