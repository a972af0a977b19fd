"""The path of the data without toxics, and what opens and closes it."""

import errno
import hashlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from proxy_support import (
    Http,
    ProxyServer,
    TcpServer,
    connect,
    die_with_reset,
    receive,
    receive_all,
    round_trip_s,
    running_server,
    silent,
)
from waiting import until

from taskchaos.faults.toxiproxy import ProxyState, Stream, ToxiproxyClient

MIB = 1 << 20


def pattern(size: int) -> bytes:
    """Bytes in which no two blocks are the same, so that loss and reordering show."""
    return b"".join(number.to_bytes(8, "big") for number in range(size // 8))


def test_messages_pass_both_ways(to_open: ProxyState, open_server: TcpServer) -> None:
    with connect(to_open.port) as client:
        peer = open_server.peer()
        peer.sendall(b"greeting")
        assert receive(client, 8) == b"greeting"
        client.sendall(b"question")
        assert receive(peer, 8) == b"question"


@pytest.mark.parametrize("chain", ["empty", "noop", "latency"])
def test_a_slow_reader_slows_a_large_transfer_down(
    to_open: ProxyState, open_server: TcpServer, client: ToxiproxyClient, chain: str
) -> None:
    if chain != "empty":
        client.add_toxic(to_open.name, chain, stream=Stream.DOWNSTREAM, attributes={"latency": 1})
    payload = pattern(32 * MIB)  # more than what the buffers of the kernel hold
    with connect(to_open.port) as sock:
        peer = open_server.peer()
        sent = threading.Event()

        def send() -> None:
            peer.sendall(payload)
            sent.set()

        threading.Thread(target=send, daemon=True).start()
        # Nobody reads: the proxy must stop reading as well, or it would swallow everything.
        assert not sent.wait(0.3)
        received = receive(sock, len(payload))
    assert hashlib.sha256(received).digest() == hashlib.sha256(payload).digest()


def test_both_directions_flow_at_once(to_echo: ProxyState) -> None:
    payload = pattern(8 * MIB)
    with connect(to_echo.port) as sock:
        sender = threading.Thread(target=sock.sendall, args=(payload,), daemon=True)
        sender.start()
        assert receive(sock, len(payload)) == payload
        sender.join()


def test_a_close_by_the_client_comes_after_its_data(to_open: ProxyState, open_server: TcpServer) -> None:
    with connect(to_open.port) as sock:
        peer = open_server.peer()
        sock.sendall(b"last words")
    assert receive_all(peer) == b"last words"


def test_a_close_by_the_server_comes_after_its_data(to_open: ProxyState, open_server: TcpServer) -> None:
    with connect(to_open.port) as sock:
        peer = open_server.peer()
        peer.sendall(b"last words")
        peer.close()
        assert receive_all(sock) == b"last words"


def test_there_is_no_half_close(to_open: ProxyState, open_server: TcpServer) -> None:
    with connect(to_open.port) as sock:
        peer = open_server.peer()
        sock.shutdown(socket.SHUT_WR)
        assert receive_all(peer) == b""
        assert receive_all(sock) == b""


def test_a_reset_by_the_client_reaches_the_server_as_close(to_open: ProxyState, open_server: TcpServer) -> None:
    sock = connect(to_open.port)
    peer = open_server.peer()
    die_with_reset(sock)
    sock.close()
    assert receive_all(peer) == b""


def test_an_upstream_that_is_down_closes_the_client(new_proxy: Callable[[str], ProxyState]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        proxy = new_proxy(f"127.0.0.1:{unused.getsockname()[1]}")
        start_s = time.monotonic()
        with connect(proxy.port) as sock:
            assert receive_all(sock) == b""
        assert time.monotonic() - start_s < 5


@pytest.mark.parametrize("upstream", ["nonsense", "host:notaport", "127.0.0.1:99999"])
def test_an_upstream_that_is_no_address_closes_the_client(
    new_proxy: Callable[[str], ProxyState], upstream: str
) -> None:
    proxy = new_proxy(upstream)
    with connect(proxy.port) as sock:
        assert receive_all(sock) == b""


def test_a_hung_dial_blocks_nobody(http: Http, new_proxy: Callable[[str], ProxyState]) -> None:
    """A listener with a full backlog swallows connects; the real server's accept loop and API hang with them."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
            fillers.append(filler)
        proxy = new_proxy(f"127.0.0.1:{full.getsockname()[1]}")
        clients = [connect(proxy.port) for _ in range(3)]
        start_s = time.monotonic()
        assert http("PATCH", f"/proxies/{proxy.name}", {"enabled": False}).status == 200
        assert time.monotonic() - start_s < 5
        for sock in clients:
            assert receive_all(sock) == b""
        for sock in [*clients, *fillers]:
            sock.close()


def test_a_dial_ends_at_its_timeout() -> None:
    with running_server("--dial-timeout", "0.2") as server, socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        proxy = ToxiproxyClient(server.host, server.port).create("x", f"127.0.0.1:{full.getsockname()[1]}")
        start_s = time.monotonic()
        with connect(proxy.port) as sock:
            assert receive_all(sock) == b""
        assert 0.15 < time.monotonic() - start_s < 2
        for filler in fillers:
            filler.close()


class TestEnabled:
    def test_a_disabled_proxy_refuses_and_closes_until_it_is_enabled(
        self, to_echo: ProxyState, client: ToxiproxyClient
    ) -> None:
        for _ in range(5):
            with connect(to_echo.port) as sock:
                round_trip_s(sock)
                assert client.set_enabled(to_echo.name, False).enabled is False
                assert sock.recv(1) == b""
            for _ in range(20):
                with pytest.raises(ConnectionRefusedError):
                    connect(to_echo.port)
            assert client.set_enabled(to_echo.name, True).port == to_echo.port
            with connect(to_echo.port) as sock:
                round_trip_s(sock)

    def test_the_port_of_a_disabled_proxy_is_not_given_away(self, to_echo: ProxyState, client: ToxiproxyClient) -> None:
        client.set_enabled(to_echo.name, False)
        with socket.socket() as thief, pytest.raises(OSError, match="in use") as caught:
            thief.bind(("127.0.0.1", to_echo.port))
        assert caught.value.errno == errno.EADDRINUSE
        assert client.set_enabled(to_echo.name, True).port == to_echo.port

    def test_another_proxy_may_take_the_port_of_a_disabled_one(
        self, http: Http, to_echo: ProxyState, client: ToxiproxyClient, echo_server: TcpServer
    ) -> None:
        client.set_enabled(to_echo.name, False)
        other = f"{to_echo.name}-2"
        client.create(other, echo_server.address, listen=f"127.0.0.1:{to_echo.port}")
        with connect(to_echo.port) as sock:
            round_trip_s(sock)
        refused = http("PATCH", f"/proxies/{to_echo.name}", {"enabled": True})
        assert (refused.status, "address already in use" in refused.text) == (500, True)
        client.delete(other)
        assert client.set_enabled(to_echo.name, True).enabled

    def test_the_server_sees_the_close(
        self, to_open: ProxyState, open_server: TcpServer, client: ToxiproxyClient
    ) -> None:
        with connect(to_open.port):
            peer = open_server.peer()
            client.set_enabled(to_open.name, False)
            assert receive_all(peer) == b""

    def test_data_held_by_a_toxic_is_dropped(
        self, to_open: ProxyState, open_server: TcpServer, client: ToxiproxyClient
    ) -> None:
        client.add_toxic(to_open.name, "latency", stream=Stream.UPSTREAM, attributes={"latency": 60_000})
        with connect(to_open.port) as sock:
            peer = open_server.peer()
            sock.sendall(b"never")
            assert silent(peer, 0.1)
            client.set_enabled(to_open.name, False)
            assert receive_all(peer) == b""

    def test_a_deleted_proxy_frees_its_port(self, to_echo: ProxyState, client: ToxiproxyClient) -> None:
        with connect(to_echo.port) as sock:
            round_trip_s(sock)
            assert client.delete(to_echo.name)
            assert sock.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            connect(to_echo.port)

    def test_many_connections_are_closed_at_once(self, to_echo: ProxyState, client: ToxiproxyClient) -> None:
        socks = [connect(to_echo.port) for _ in range(100)]
        for sock in socks:
            round_trip_s(sock)
        client.set_enabled(to_echo.name, False)
        for sock in socks:
            assert sock.recv(1) == b""
            sock.close()


def test_no_descriptor_is_left_behind(server: ProxyServer, to_echo: ProxyState, client: ToxiproxyClient) -> None:
    descriptors = Path(f"/proc/{server.process.pid}/fd")
    if not descriptors.exists():
        pytest.skip("needs /proc")

    def count() -> int:
        return len(list(descriptors.iterdir()))

    before = count()
    for toxic in (None, "latency", "timeout", "reset_peer"):
        if toxic:
            client.add_toxic(to_echo.name, toxic, stream=Stream.UPSTREAM, attributes={"latency": 5})
        for _ in range(20):
            with connect(to_echo.port) as sock:
                sock.sendall(b"x")
        if toxic:
            client.remove_toxic(to_echo.name, f"{toxic}_upstream")
    until(lambda: count() <= before + 2, "all sockets closed")
