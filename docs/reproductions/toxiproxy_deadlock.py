"""Toxiproxy 2.12: its API hangs for good when a client dies while a toxic is removed.

    python docs/reproductions/toxiproxy_deadlock.py /path/to/toxiproxy-server [TRIES]

A latency toxic, a server that sends 512 bytes every 2 ms to each of 12 clients, and DELETE of the toxic. Each try has a
server of its own. It hung when /proxies does not answer within 3 s; /version answers then, so it is no health check.
Upstream: https://github.com/Shopify/toxiproxy/issues/558, and 254, 412, 427, 428, 500; a mend is proposed in
https://github.com/Shopify/toxiproxy/pull/760.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

CLIENTS = 12
TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Try:
    """One server with one proxy, a toxic in it, and clients through it."""

    api_port: int
    clients: list[socket.socket]

    def call(self, method: str, path: str, body: object = None) -> bool:
        """Whether it was answered in time."""
        connection = http.client.HTTPConnection("127.0.0.1", self.api_port, timeout=TIMEOUT_S)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            connection.getresponse().read()
        except OSError:
            return False
        finally:
            connection.close()
        return True

    def remove(self) -> None:
        """The call that hangs."""
        self.call("DELETE", "/proxies/p/toxics/t")

    def disable(self) -> None:
        """Closes the connections."""
        self.call("POST", "/proxies/p", {"enabled": False})

    def die(self) -> None:
        """All clients at once, beside what follows."""
        threading.Thread(target=lambda: [client.close() for client in self.clients]).start()


def alive(it: Try) -> None:
    """Nobody dies."""
    it.remove()


def dying(it: Try) -> None:
    """The clients die at the moment of the DELETE."""
    it.die()
    it.remove()


def disabled(it: Try) -> None:
    """The proxy is disabled, then DELETE at once."""
    it.disable()
    it.remove()


def drained(it: Try) -> None:
    """The proxy is disabled, 50 ms pass, DELETE; the clients die meanwhile."""
    it.die()
    it.disable()
    time.sleep(0.05)
    it.remove()


def stream(upstream: socket.socket) -> None:
    """512 bytes every 2 ms to everybody."""
    while True:
        try:
            peer, _ = upstream.accept()
        except OSError:
            return
        threading.Thread(target=send, args=(peer,), daemon=True).start()


def send(peer: socket.socket) -> None:
    """To one of them, until it is gone."""
    try:
        while True:
            peer.sendall(b"x" * 512)
            time.sleep(0.002)
    except OSError:
        peer.close()


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def hangs(binary: str, upstream_port: int, recipe: Callable[[Try], None]) -> tuple[bool, bool]:
    """Whether /proxies hung after it, and whether /version still answered."""
    it = Try(free_port(), [])
    argv = [binary, "-host", "127.0.0.1", "-port", str(it.api_port)]
    server = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not it.call("GET", "/version"):
            time.sleep(0.01)
        port = free_port()
        it.call(
            "POST", "/proxies", {"name": "p", "listen": f"127.0.0.1:{port}", "upstream": f"127.0.0.1:{upstream_port}"}
        )
        it.call("POST", "/proxies/p/toxics", {"name": "t", "type": "latency", "attributes": {"latency": 20}})
        it.clients.extend(socket.create_connection(("127.0.0.1", port)) for _ in range(CLIENTS))
        for client in it.clients:
            client.recv(1)
        recipe(it)
        return not it.call("GET", "/proxies"), it.call("GET", "/version")
    finally:
        server.kill()
        server.wait()
        for client in it.clients:
            client.close()


def main() -> None:
    """Print how often each recipe hung."""
    binary = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("CHAOS_TOXIPROXY", "")
    if not os.access(binary, os.X_OK):
        raise SystemExit("give the path of a toxiproxy-server")
    tries = int(sys.argv[2]) if len(sys.argv) > 2 else 8
    upstream = socket.create_server(("127.0.0.1", 0), backlog=64)
    threading.Thread(target=stream, args=(upstream,), daemon=True).start()
    for recipe in (alive, dying, disabled, drained):
        seen = [hangs(binary, upstream.getsockname()[1], recipe) for _ in range(tries)]
        hung = [version for hangs_, version in seen if hangs_]
        line = f"{(recipe.__doc__ or '').strip()} It hung in {len(hung)} of {tries} tries"
        sys.stdout.write(f"{line}; /version answered in {sum(hung)} of these\n" if hung else f"{line}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
