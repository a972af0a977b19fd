"""The toxics that cut: slicer into pieces, limit_data at a byte, slow_close in time."""

import random
import time
from collections.abc import Callable

import pytest
from proxy_support import Http, TcpServer, connect, receive, receive_all, round_trip_s, silent

from taskchaos.faults.proxy.toxics.slicer import cuts
from taskchaos.faults.toxiproxy import ProxyState, Stream, ToxiproxyClient

LATE_S = 0.5
GRAIN_S = 0.003


def assert_took(start_s: float, expected_s: float) -> None:
    taken_s = time.monotonic() - start_s
    assert expected_s - GRAIN_S <= taken_s <= expected_s + LATE_S


class TestCuts:
    """Where the slicer cuts, without sockets."""

    @pytest.mark.parametrize("size", [1, 2, 3, 100, 32_768])
    @pytest.mark.parametrize(
        ("average", "variation"),
        [(0, 0), (-5, 10), (1, 0), (1, 5), (10, 0), (10, -3), (1000, 1000), (5, 2**62), (2**62, 3), (7, 7)],
    )
    def test_pieces_make_up_the_chunk(self, size: int, average: int, variation: int) -> None:
        ends = list(cuts(size, average, variation, random.Random(1)))
        assert ends[-1] == size
        assert all(earlier < later for earlier, later in zip([0, *ends], ends, strict=False))
        if average < 1:
            assert ends == [size]
        else:
            largest = max(later - earlier for earlier, later in zip([0, *ends], ends, strict=False))
            assert largest <= average + max(0, variation)

    def test_without_variation_pieces_have_their_size(self) -> None:
        assert list(cuts(40, 10, 0, random.Random(1))) == [10, 20, 30, 40]
        assert len(list(cuts(24, 1, 0, random.Random(1)))) == 24

    def test_pieces_have_the_average_size(self) -> None:
        """The bounds of Toxiproxy's own test: 480 KB at 1024 +/- 512."""
        rng = random.Random(7)
        assert 240 <= sum(len(list(cuts(32_000, 1024, 512, rng))) for _ in range(15)) <= 720


class TestSlicer:
    def test_each_piece_is_a_write(self, to_open: ProxyState, open_server: TcpServer, client: ToxiproxyClient) -> None:
        attributes = {"average_size": 10, "delay": 50_000}
        client.add_toxic(to_open.name, "slicer", stream=Stream.UPSTREAM, attributes=attributes)
        with connect(to_open.port) as sock:
            peer = open_server.peer()
            start_s = time.monotonic()
            sock.sendall(bytes(range(40)))
            received = b""
            while len(received) < 40:
                received += peer.recv(100)
                # A late reader may find several pieces, but none before its time.
                due = 1 + int((time.monotonic() - start_s + GRAIN_S) / 0.05)
                assert len(received) in {10 * number for number in range(1, due + 1)}
            assert received == bytes(range(40))
            assert_took(start_s, 0.15)

    @pytest.mark.parametrize(
        "attributes",
        [
            {},
            {"average_size": 1000, "size_variation": 1000},
            {"average_size": 1, "size_variation": 500},
            {"average_size": 700, "size_variation": 300, "delay": 10},
        ],
    )
    def test_nothing_is_lost(self, to_echo: ProxyState, client: ToxiproxyClient, attributes: dict[str, int]) -> None:
        client.add_toxic(to_echo.name, "slicer", stream=Stream.DOWNSTREAM, attributes=attributes)
        with connect(to_echo.port) as sock:
            round_trip_s(sock, random.Random(1).randbytes(50_000))

    @pytest.mark.parametrize("change", ["update", "remove"])
    def test_a_change_hands_on_the_rest(
        self, to_open: ProxyState, open_server: TcpServer, client: ToxiproxyClient, change: str
    ) -> None:
        attributes = {"average_size": 1, "delay": 60_000_000}
        client.add_toxic(to_open.name, "slicer", stream=Stream.UPSTREAM, attributes=attributes)
        with connect(to_open.port) as sock:
            peer = open_server.peer()
            sock.sendall(b"abc")
            assert receive(peer, 1) == b"a"
            assert silent(peer, 0.1)
            if change == "update":
                client.update_toxic(to_open.name, "slicer_upstream", {"delay": 0})
            else:
                client.remove_toxic(to_open.name, "slicer_upstream")
            assert receive(peer, 2) == b"bc"

    def test_a_close_comes_after_the_pieces(
        self, to_open: ProxyState, open_server: TcpServer, client: ToxiproxyClient
    ) -> None:
        attributes = {"average_size": 1, "delay": 1000}
        client.add_toxic(to_open.name, "slicer", stream=Stream.UPSTREAM, attributes=attributes)
        with connect(to_open.port) as sock:
            peer = open_server.peer()
            sock.sendall(b"last words")
        assert receive_all(peer) == b"last words"

    def test_a_fraction_is_refused_as_a_go_int(self, http: Http, to_echo: ProxyState) -> None:
        body = {"type": "slicer", "attributes": {"delay": 1.5}}
        text = http("POST", f"/proxies/{to_echo.name}/toxics", body).json["error"]
        assert text.endswith("number 1.5 into Go struct field SlicerToxic.attributes.delay of type int")


class TestLimitData:
    def add(self, client: ToxiproxyClient, proxy: ProxyState, limit: int) -> None:
        client.add_toxic(proxy.name, "limit_data", stream=Stream.DOWNSTREAM, attributes={"bytes": limit})

    @pytest.mark.parametrize("size", [99, 100, 101, 250])
    def test_exactly_so_many_bytes_pass(
        self, to_open: ProxyState, open_server: TcpServer, client: ToxiproxyClient, size: int
    ) -> None:
        self.add(client, to_open, 100)
        with connect(to_open.port) as sock:
            peer = open_server.peer()
            peer.sendall(b"x" * size)
            assert receive(sock, min(size, 100)) == b"x" * min(size, 100)
            if size < 100:
                assert silent(sock, 0.1)
                peer.sendall(b"y" * 50)
                assert receive(sock, 100 - size) == b"y" * (100 - size)
            assert sock.recv(1) == b""

    def test_a_request_passes_though_its_reply_is_cut(
        self, to_open: ProxyState, open_server: TcpServer, client: ToxiproxyClient
    ) -> None:
        self.add(client, to_open, 0)
        with connect(to_open.port) as sock:
            peer = open_server.peer()
            sock.sendall(b"do it")
            assert receive(peer, 5) == b"do it"
            assert silent(sock, 0.1)
            peer.sendall(b"done")
            assert sock.recv(1) == b""

    def test_each_connection_has_its_own(self, to_echo: ProxyState, client: ToxiproxyClient) -> None:
        self.add(client, to_echo, 4)
        for _ in range(3):
            with connect(to_echo.port) as sock:
                round_trip_s(sock, b"ping")
                assert sock.recv(1) == b""

    def test_the_count_survives_updates(self, to_echo: ProxyState, client: ToxiproxyClient) -> None:
        self.add(client, to_echo, 100)
        with connect(to_echo.port) as sock:
            round_trip_s(sock, b"x" * 60)
            client.update_toxic(to_echo.name, "limit_data_downstream", {"bytes": 80})
            sock.sendall(b"x" * 60)
            assert receive_all(sock) == b"x" * 20

    def test_a_limit_below_the_count_closes_at_the_next_chunk(
        self, to_echo: ProxyState, client: ToxiproxyClient
    ) -> None:
        self.add(client, to_echo, 100)
        with connect(to_echo.port) as sock:
            round_trip_s(sock, b"x" * 60)
            client.update_toxic(to_echo.name, "limit_data_downstream", {"bytes": 10})
            assert silent(sock, 0.1)
            sock.sendall(b"x")
            assert sock.recv(1) == b""

    def test_the_count_does_not_survive_removal(self, to_echo: ProxyState, client: ToxiproxyClient) -> None:
        with connect(to_echo.port) as sock:
            for _ in range(3):
                self.add(client, to_echo, 100)
                round_trip_s(sock, b"x" * 60)
                client.remove_toxic(to_echo.name, "limit_data_downstream")

    def test_a_close_waits_for_a_later_toxic(self, to_echo: ProxyState, client: ToxiproxyClient) -> None:
        self.add(client, to_echo, 4)
        client.add_toxic(to_echo.name, "latency", stream=Stream.DOWNSTREAM, attributes={"latency": 150})
        with connect(to_echo.port) as sock:
            start_s = time.monotonic()
            sock.sendall(b"pingpong")
            assert receive_all(sock) == b"ping"
            assert_took(start_s, 0.15)


class TestSlowClose:
    def add(self, client: ToxiproxyClient, proxy: ProxyState, stream: Stream, delay: int) -> None:
        client.add_toxic(proxy.name, "slow_close", stream=stream, attributes={"delay": delay})

    def test_data_passes_and_the_close_waits(
        self, to_open: ProxyState, open_server: TcpServer, client: ToxiproxyClient
    ) -> None:
        self.add(client, to_open, Stream.DOWNSTREAM, 300)
        with connect(to_open.port) as sock:
            peer = open_server.peer()
            start_s = time.monotonic()
            peer.sendall(b"bye")
            peer.close()
            assert receive(sock, 3) == b"bye"
            assert_took(start_s, 0)
            assert sock.recv(1) == b""
            assert_took(start_s, 0.3)

    def test_a_close_from_the_other_side_is_not_delayed(
        self, to_open: ProxyState, open_server: TcpServer, client: ToxiproxyClient
    ) -> None:
        self.add(client, to_open, Stream.DOWNSTREAM, 60_000)
        with connect(to_open.port):
            peer = open_server.peer()
        start_s = time.monotonic()
        assert receive_all(peer) == b""
        assert_took(start_s, 0)

    @pytest.mark.parametrize("end", ["remove", "update", "disable"])
    def test_the_wait_can_be_ended(
        self, to_open: ProxyState, open_server: TcpServer, client: ToxiproxyClient, end: str
    ) -> None:
        self.add(client, to_open, Stream.DOWNSTREAM, 60_000)
        ends: dict[str, Callable[[], object]] = {
            "remove": lambda: client.remove_toxic(to_open.name, "slow_close_downstream"),
            "update": lambda: client.update_toxic(to_open.name, "slow_close_downstream", {"delay": 0}),
            "disable": lambda: client.set_enabled(to_open.name, False),
        }
        with connect(to_open.port) as sock:
            open_server.peer().close()
            assert silent(sock, 0.1)
            ends[end]()
            start_s = time.monotonic()
            assert sock.recv(1) == b""
            assert_took(start_s, 0)
