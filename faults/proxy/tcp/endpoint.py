"""One socket of a connection: what it reads goes to whoever it is wired to, and its link hears of its end."""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from taskchaos.faults.proxy.tcp.link import Connection, ProxyLink

_WATERMARK_BYTES = 256 * 1024
OPENING_BYTES = 1024
_RST_ON_CLOSE = struct.pack("ii", 1, 0)


def discard(data: bytes) -> None:
    """Where data goes that arrives after the end of its link."""


class Endpoint(asyncio.Protocol):
    """One socket of a connection. `deliver` is where its data goes; until the link starts, it is kept."""

    def __init__(self) -> None:
        self.early: list[bytes] = []
        self.deliver: Callable[[bytes], object] = self.early.append
        self.received_bytes = 0
        self.opening = b""  # the first bytes: who follows a connection later can tell from them what it is
        self.lost = False
        self.ended = False
        self.connection: Connection | None = None
        self.outgoing: ProxyLink | None = None  # this socket is its source
        self.incoming: ProxyLink | None = None  # this socket is its destination
        self._transport: asyncio.Transport | None = None

    @property
    def transport(self) -> asyncio.Transport:
        assert self._transport is not None, "used before connection_made"
        return self._transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_WATERMARK_BYTES)
        raw = transport.get_extra_info("socket")
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            pass  # the peer has reset already; connection_lost follows

    def data_received(self, data: bytes) -> None:
        if self.received_bytes < OPENING_BYTES:
            self.opening += data[: OPENING_BYTES - self.received_bytes]
        self.received_bytes += len(data)
        self.deliver(data)

    def eof_received(self) -> bool:
        self.ended = True
        if self.outgoing is not None:
            self.outgoing.source_ended()
        return True  # the link closes the socket when its data has passed, not the event loop

    def pause_writing(self) -> None:
        if self.incoming is not None:
            self.incoming.destination_busy(True)

    def resume_writing(self) -> None:
        if self.incoming is not None:
            self.incoming.destination_busy(False)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = self.ended = True
        if self.connection is not None:
            self.connection.endpoint_lost(self)

    def peer_address(self) -> str:
        """Who is at the other end, as host:port."""
        address = self.transport.get_extra_info("peername")
        return f"{address[0]}:{address[1]}" if address else ""

    def close(self) -> None:
        """Write what has been handed over, then close; what it would still read is not wanted any more."""
        self.transport.close()
        if self.outgoing is not None:
            self.outgoing.source_ended()

    def abort(self, *, reset: bool = False) -> None:
        """Close at once, with RST if `reset`."""
        self.deliver = discard
        if self.lost:
            return
        if reset:
            try:
                self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
            except OSError:
                pass  # closed by the other side a moment ago; nobody is left to be reset
        self.transport.abort()
