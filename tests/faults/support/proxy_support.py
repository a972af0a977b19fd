"""Real peers for the tests of the proxy: a server process, TCP servers in threads, plain sockets, raw HTTP."""

import http.client
import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from waiting import until

DEADLINE_S = 10.0


@dataclass
class ProxyServer:
    """A running `python -m taskchaos.faults.proxy`."""

    process: "subprocess.Popen[str]"
    host: str
    port: int


@contextmanager
def running_server(*arguments: str) -> Iterator[ProxyServer]:
    command = [sys.executable, "-m", "taskchaos.faults.proxy", "--host", "127.0.0.1", "--port", "0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the proxy has not started"
        yield ProxyServer(process, **json.loads(line))
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def running_toxiproxy(path: str, *arguments: str) -> Iterator[ProxyServer]:
    """A real Toxiproxy. It says neither that it listens nor where: a port is found for it, and asked until it does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [path, "-host", "127.0.0.1", "-port", str(port), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
    try:
        until(lambda: _answers(port) or process.poll() is not None, "a Toxiproxy that answers")
        assert process.poll() is None, "the Toxiproxy has not started"
        yield ProxyServer(process, "127.0.0.1", port)
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        return Http("127.0.0.1", port)("GET", "/version").status == 200
    except OSError:
        return False


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def error(message: str, status: int) -> str:
    """The body of a refusal."""
    return f'{{"error":"{message}","status":{status}}}\n'


@dataclass
class Http:
    """Raw requests to the API, one connection each."""

    host: str
    port: int

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        if body is not None and not isinstance(body, str | bytes):
            body = json.dumps(body)
        connection = http.client.HTTPConnection(self.host, self.port, timeout=DEADLINE_S)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            content = response.read()
            return Answer(response.status, {key.lower(): value for key, value in response.getheaders()}, content)
        finally:
            connection.close()


@dataclass
class TcpServer:
    """Accepts in a thread and gives each connection to `serve` in a thread of its own; accepted sockets are kept."""

    serve: Callable[[socket.socket], None]
    accepted: list[socket.socket] = field(default_factory=list)
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0), backlog=256))

    def __post_init__(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.listener.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            peer.settimeout(DEADLINE_S * 3)
            self.accepted.append(peer)
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        try:
            self.serve(peer)
        except OSError:
            pass  # a client that goes away is what these tests are about

    def peer(self, number: int = 0) -> socket.socket:
        """The socket of the nth connection, once it is there."""
        until(lambda: len(self.accepted) > number, "a connection at the server")
        return self.accepted[number]

    def close(self) -> None:
        # Closing alone would leave the thread in accept().
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # not connected, says macOS, and wakes the thread all the same
        self.listener.close()
        for peer in self.accepted:
            peer.close()


def echo(peer: socket.socket) -> None:
    """Send back what comes; close after the client."""
    with peer:
        while data := peer.recv(65536):
            peer.sendall(data)


def keep(peer: socket.socket) -> None:
    """Leave the socket to the test."""


def connect(port: int, host: str = "127.0.0.1") -> socket.socket:
    client = socket.create_connection((host, port), timeout=DEADLINE_S)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def die_with_reset(sock: socket.socket) -> None:
    """Make the close of `sock` an RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def receive(sock: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes."""
    parts = bytearray()
    while len(parts) < size:
        data = sock.recv(min(size - len(parts), 1 << 20))
        assert data, f"closed after {len(parts)} of {size} bytes"
        parts += data
    return bytes(parts)


def receive_all(sock: socket.socket) -> bytes:
    """All there is up to the close."""
    parts = bytearray()
    while data := sock.recv(1 << 20):
        parts += data
    return bytes(parts)


def silent(sock: socket.socket, for_s: float) -> bool:
    """Whether nothing, not even a close, arrives for so long."""
    before = sock.gettimeout()
    sock.settimeout(for_s)
    try:
        sock.recv(1)
    except TimeoutError:
        return True
    else:
        return False
    finally:
        sock.settimeout(before)


def round_trip_s(client: socket.socket, message: bytes = b"ping") -> float:
    """Time to get `message` back from an echo."""
    start_s = time.monotonic()
    client.sendall(message)
    assert receive(client, len(message)) == message
    return time.monotonic() - start_s
