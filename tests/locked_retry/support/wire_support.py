"""A wire to Redis that a test can bend: it may end TLS, and go deaf on the connections that it has."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """A certificate for 127.0.0.1 that signs itself."""

    folder: Path
    cert: str = field(init=False)
    key: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cert", str(self.folder / "cert.pem"))
        object.__setattr__(self, "key", str(self.folder / "key.pem"))
        subprocess.run(
            f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=redis "
            f"-addext subjectAltName=IP:127.0.0.1 -keyout {self.key} -out {self.cert}".split(),
            check=True,
            capture_output=True,
        )

    def server_context(self) -> ssl.SSLContext:
        """What a TLS server that uses it needs."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        return context


@dataclass(eq=False)
class _Pair:
    client: socket.socket
    server: socket.socket
    deaf: bool = False

    def __post_init__(self) -> None:
        self.server_name = self.server.getsockname()

    def close(self) -> None:
        for one in (self.client, self.server):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


class Wire:
    """Passes bytes on, two threads per connection. `port` is what the client connects to."""

    def __init__(self, upstream: int, tls: ssl.SSLContext | None = None) -> None:
        self._upstream, self._tls = upstream, tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._pairs: list[_Pair] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            pair = _Pair(client, socket.create_connection(("127.0.0.1", self._upstream)))
        except OSError:
            client.close()
            return
        self._pairs.append(pair)
        threading.Thread(target=self._pass, args=(pair, pair.server, pair.client), daemon=True).start()
        self._pass(pair, pair.client, pair.server)

    def _pass(self, pair: _Pair, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            while data := source.recv(65536):
                if not pair.deaf:
                    target.sendall(data)
        if not pair.deaf:  # a firewall that forgot a connection says nothing of its end, either
            pair.close()

    def deafen(self, addresses: set[str] | None = None) -> int:
        """These connections (all, or those that Redis knows by these addresses) swallow everything from now on.

        New ones work. Returns how many were made deaf.
        """
        chosen = [p for p in list(self._pairs) if addresses is None or "{}:{}".format(*p.server_name) in addresses]
        for pair in chosen:
            pair.deaf = True
        return len(chosen)

    def cut(self) -> None:
        """End the connections there are."""
        for pair in list(self._pairs):
            pair.close()

    def stop(self) -> None:
        """End everything."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
