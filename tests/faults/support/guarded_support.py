"""What the tests of the guarded client need: an owner that restarts servers, and an API that loses answers or hangs."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from proxy_support import Http, ProxyServer, TcpServer, connect
from waiting import until

from taskchaos.faults.guarded import GuardedClient
from taskchaos.faults.toxiproxy import ProxyState, Stream, ToxiproxyClient

LOST_BEFORE, LOST_AFTER = "lost before it is executed", "lost after it is executed"


@dataclass
class Owner:
    """Owns the server; a restart is a new process on a new port. `told` is what the client said of restarts."""

    start: Callable[[], AbstractContextManager[ProxyServer]]
    stack: ExitStack
    told: list[str] = field(default_factory=list)
    restarts: int = 0

    def __post_init__(self) -> None:
        self._running = ExitStack()
        self.stack.callback(lambda: self._running.close())
        self.server = self._running.enter_context(self.start())

    def restart(self) -> tuple[str, int] | None:
        self.restarts += 1
        self._running.close()
        self.server = self._running.enter_context(self.start())
        return self.server.host, self.server.port

    def client(self, timeout_s: float = 3.0) -> GuardedClient:
        return GuardedClient(
            self.server.host, self.server.port, restart=self.restart, restarted=self.told.append, timeout_s=timeout_s
        )

    def states(self) -> dict[str, ProxyState]:
        """What the server itself says."""
        return ToxiproxyClient(self.server.host, self.server.port).proxies()

    def kill(self) -> None:
        """SIGKILL to the server, and wait until it is gone."""
        self.server.process.kill()
        self.server.process.wait()


class Front:
    """Stands between a client and the API of `owner`'s server. It notes changes as "METHOD path" when they get through.

    `lose` says what becomes of the next changes, one each. While it hangs, only /version is answered. `hangs` is the
    number of restarts after which it hangs again, at the next change.
    """

    def __init__(self, owner: Owner, stack: ExitStack) -> None:
        self.owner = owner
        self.lose: list[str] = []
        self.changes: list[str] = []
        self.hung = threading.Event()
        self.hangs = 0
        self._over = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self._http.block_on_close = False
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        stack.callback(self._http.server_close)
        stack.callback(self._http.shutdown)
        stack.callback(self._over.set)

    def restart(self) -> tuple[str, int] | None:
        self.owner.restart()
        self.hung.clear()
        return None

    def client(self) -> GuardedClient:
        port = self._http.server_port
        tell = self.owner.told.append
        return GuardedClient("127.0.0.1", port, restart=self.restart, restarted=tell, timeout_s=0.5)

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        change = handler.command != "GET"
        if change and self.hangs and self.owner.restarts:
            self.hangs -= 1
            self.hung.set()
        if self.hung.is_set() and handler.path != "/version":
            self._over.wait()
            return
        lost = self.lose.pop(0) if change and self.lose else ""
        if lost == LOST_BEFORE:
            return
        answer = Http(self.owner.server.host, self.owner.server.port)(handler.command, handler.path, body or None)
        if change:
            self.changes.append(f"{handler.command} {handler.path}")
        if lost == LOST_AFTER:
            return
        handler.send_response(answer.status)
        handler.send_header("Content-Length", str(len(answer.body)))
        handler.end_headers()
        handler.wfile.write(answer.body)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        front = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                front._answer(self)

            do_GET = do_POST = do_DELETE = answer

            def log_message(self, *arguments: object) -> None:
                """Not on the test's terminal."""

        return Handler


@contextmanager
def streaming_server() -> Iterator[TcpServer]:
    """Sends 512 bytes every 2 ms to everybody: what makes a real Toxiproxy hang when clients die."""

    def stream(peer: socket.socket) -> None:
        with peer:
            while True:
                peer.sendall(b"x" * 512)
                time.sleep(0.002)

    server = TcpServer(stream)
    yield server
    server.close()


def twelve_clients(proxy: ProxyState) -> list[socket.socket]:
    """Connections through the proxy that have received something."""
    socks = [connect(proxy.port) for _ in range(12)]
    for sock in socks:
        sock.recv(1)
    return socks


def while_they_die(clients: list[socket.socket], remove: Callable[[], object]) -> None:
    """`remove` beside the death of these clients."""

    def die() -> None:
        for client in clients:
            client.close()

    killer = threading.Thread(target=die)
    killer.start()
    try:
        remove()
    finally:
        killer.join()


def listens(port: int) -> bool:
    try:
        connect(port).close()
    except OSError:
        return False
    return True


def closed(sock: socket.socket) -> bool:
    """Whether the connection ends within the deadline."""

    def ended() -> bool:
        try:
            return bool(sock.recv(65536) == b"")
        except ConnectionError:
            return True

    return bool(until(ended, "the end of a connection"))


def furnish(api: GuardedClient, upstream: str) -> dict[str, ProxyState]:
    """Three proxies: one with several toxics, one disabled, one plain."""
    api.create("worker", upstream)
    api.add_toxic("worker", "latency", stream=Stream.DOWNSTREAM, attributes={"latency": 1, "jitter": 0}, name="first")
    api.add_toxic("worker", "bandwidth", stream=Stream.DOWNSTREAM, attributes={"rate": 1000}, name="second")
    api.add_toxic("worker", "latency", stream=Stream.UPSTREAM, attributes={"latency": 2, "jitter": 1}, name="third")
    api.create("producer", upstream)
    api.set_enabled("producer", False)
    api.create("plain", upstream)
    return api.proxies()
