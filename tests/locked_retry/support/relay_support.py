"""A relay in front of Redis that lets a script run and then cuts the connection instead of passing its answer on."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading


class Relay(threading.Thread):
    """Every `every`-th script call loses its answer; everything else passes."""

    def __init__(self, port: int, every: int) -> None:
        super().__init__(daemon=True)
        self._upstream, self._every = port, every
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._selector = selectors.DefaultSelector()
        self._peer: dict[socket.socket, socket.socket] = {}
        self._clients: set[socket.socket] = set()
        self._doomed: set[socket.socket] = set()
        self._calls = 0
        self._ended = threading.Event()
        self.cut = 0
        self.start()

    def run(self) -> None:
        self._selector.register(self._listener, selectors.EVENT_READ)
        while not self._ended.is_set():
            for key, _ in self._selector.select(0.05):
                one: socket.socket = key.fileobj  # type: ignore[assignment]
                if one is self._listener:
                    self._accept()
                elif one in self._peer:
                    self._pass_on(one)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        server = socket.create_connection(("127.0.0.1", self._upstream))
        self._clients.add(client)
        for one, other in ((client, server), (server, client)):
            self._peer[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, one: socket.socket) -> None:
        other = self._peer[one]
        try:
            data = one.recv(65536)
            if data and other in self._doomed:
                self.cut += 1
                data = b""
            if data:
                if one in self._clients and b"EVALSHA" in data:
                    self._calls += 1
                    if self._calls % self._every == 0:
                        self._doomed.add(one)
                other.sendall(data)
                return
        except OSError:
            pass  # one side is gone: so is the other
        for end in (one, other):
            self._peer.pop(end, None)
            self._doomed.discard(end)
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(end)
            end.close()

    def stop(self) -> None:
        self._ended.set()
        self.join()
        self._listener.close()
        for one in list(self._peer):
            one.close()
