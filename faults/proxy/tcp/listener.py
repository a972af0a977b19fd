"""The listening address of one proxy: listening, held, or free.

A disabled proxy must refuse connections, and must get its port back when it is enabled. So its port stays bound by a
socket that does not listen: connects are refused, and the kernel gives the port to nobody's outgoing connection in the
meantime (on loopback a client that retries could even end up connected to itself). Others who ask for the port by
number with SO_REUSEADDR, as servers do, still get it.
"""

import asyncio
import errno
import os
import socket
from collections.abc import Callable

from taskchaos.faults.proxy.errors import ListenError
from taskchaos.faults.proxy.tcp.address import WILDCARDS, Address

_BACKLOG = 1024
_ACCEPTS_PER_TURN = 64
_BREATH_S = 0.2  # how long to leave clients in the backlog when file descriptors have run out


class Listener:
    """All methods are synchronous."""

    def __init__(self) -> None:
        self._on_client: Callable[[socket.socket], None] | None = None  # while listening
        self._loop = asyncio.get_running_loop()
        self._listening: socket.socket | None = None
        self._held: socket.socket | None = None
        self._breath: asyncio.TimerHandle | None = None
        self.bound: Address | None = None

    def listen(self, address: Address, on_client: Callable[[socket.socket], None]) -> Address:
        """Accept clients at `address` and return it with its real port. Raises ListenError with Go's text.

        `on_client` gets each accepted socket, non-blocking.
        """
        assert self._listening is None, "already listening"
        sock = self._held if self._held is not None and address == self.bound else _bind(address)
        if self._held is not None and self._held is not sock:
            self._held.close()
        self._held = None
        try:
            sock.listen(_BACKLOG)
        except OSError as error:
            sock.close()
            raise _refusal(address, error) from None
        self._listening, self._on_client = sock, on_client
        self.bound = _address_of(sock)
        self._loop.add_reader(sock, self._accept)
        return self.bound

    def hold(self) -> None:
        """Stop listening, from this moment on refuse connections, and keep the port."""
        if self._listening is None:
            return
        self.free()
        assert self.bound is not None
        try:
            self._held = _bind(self.bound)
        except ListenError:
            self._held = None  # someone else was quicker; enabling will say so

    def free(self) -> None:
        """Give the port back."""
        if self._breath is not None:
            self._breath.cancel()
            self._breath = None
        if self._listening is not None:
            self._loop.remove_reader(self._listening)
        for sock in (self._listening, self._held):
            if sock is not None:
                sock.close()
        self._listening = self._held = self._on_client = None

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            if self._listening is None or self._on_client is None:
                return
            try:
                client, _ = self._listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._pause()
                    return
                continue  # that client has gone already
            client.setblocking(False)
            self._on_client(client)

    def _pause(self) -> None:
        assert self._listening is not None
        self._loop.remove_reader(self._listening)
        self._breath = self._loop.call_later(_BREATH_S, self._resume)

    def _resume(self) -> None:
        self._breath = None
        if self._listening is not None:
            self._loop.add_reader(self._listening, self._accept)


def _bind(address: Address) -> socket.socket:
    try:
        if address.host not in WILDCARDS:
            family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
            return _bound(family, address)
        try:
            return _bound(socket.AF_INET6, Address("::", address.port))
        except OSError as error:
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
            return _bound(socket.AF_INET, Address("0.0.0.0", address.port))  # a machine without IPv6
    except OSError as error:
        raise _refusal(address, error) from None


def _bound(family: socket.AddressFamily, address: Address) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address.host == "::" else 1)
        sock.bind((address.host, address.port))
    except OSError:
        sock.close()
        raise
    return sock


def _address_of(sock: socket.socket) -> Address:
    host, port = sock.getsockname()[:2]
    return Address(host, port)


def _refusal(address: Address, error: OSError) -> ListenError:
    reason = os.strerror(error.errno).lower() if error.errno else str(error)
    return ListenError(f"listen tcp {address}: bind: {reason}")
