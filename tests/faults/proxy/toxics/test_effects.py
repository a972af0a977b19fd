"""What each toxic does to live connections. Times are measured with tolerance: this runs on busy machines."""

import time

import pytest
from proxy_support import (
    Http,
    TcpServer,
    connect,
    receive,
    receive_all,
    round_trip_s,
    silent,
)

from taskchaos.faults.toxiproxy import ProxyState, Stream, ToxiproxyClient

# How much later than asked for things may happen; earlier they never may, except the timer's grain.
LATE_S = 0.5
GRAIN_S = 0.003


def assert_took(start_s: float, expected_s: float) -> None:
    taken_s = time.monotonic() - start_s
    assert expected_s - GRAIN_S <= taken_s <= expected_s + LATE_S


class TestNoop:
    def test_data_passes(self, to_echo: ProxyState, client: ToxiproxyClient) -> None:
        with connect(to_echo.port) as sock:
            for stream in Stream:
                client.add_toxic(to_echo.name, "noop", stream=stream, attributes={})
                round_trip_s(sock)


class TestLatency:
    @pytest.mark.parametrize("streams", [[Stream.UPSTREAM], [Stream.DOWNSTREAM], list(Stream)])
    def test_data_is_delayed(self, to_echo: ProxyState, client: ToxiproxyClient, streams: list[Stream]) -> None:
        with connect(to_echo.port) as sock:
            for stream in streams:
                client.add_toxic(to_echo.name, "latency", stream=stream, attributes={"latency": 100})
            start_s = time.monotonic()
            round_trip_s(sock, b"x" * 33_000)
            assert_took(start_s, 0.1 * len(streams))
            for stream in streams:
                client.remove_toxic(to_echo.name, f"latency_{stream}")
            assert min(round_trip_s(sock) for _ in range(5)) < 0.05

    def test_the_connect_is_not_delayed(self, to_open: ProxyState, client: ToxiproxyClient) -> None:
        client.add_toxic(to_open.name, "latency", stream=Stream.UPSTREAM, attributes={"latency": 5000})
        start_s = time.monotonic()
        connect(to_open.port).close()
        assert_took(start_s, 0)

    def test_two_latencies_add_up(self, to_echo: ProxyState, client: ToxiproxyClient) -> None:
        for name in ("one", "two"):
            client.add_toxic(to_echo.name, "latency", stream=Stream.UPSTREAM, attributes={"latency": 100}, name=name)
        with connect(to_echo.port) as sock:
            start_s = time.monotonic()
            round_trip_s(sock)
            assert_took(start_s, 0.2)

    def test_a_delay_counts_from_the_arrival_of_each_chunk(
        self, to_open: ProxyState, open_server: TcpServer, client: ToxiproxyClient
    ) -> None:
        """Ten chunks at 10 ms each, delayed by 200 ms, take 290 ms in all, not two seconds."""
        client.add_toxic(to_open.name, "latency", stream=Stream.UPSTREAM, attributes={"latency": 200})
        with connect(to_open.port) as sock:
            peer = open_server.peer()
            start_s = time.monotonic()
            for number in range(10):
                sock.sendall(bytes([number]))
                time.sleep(0.01)
            assert receive(peer, 10) == bytes(range(10))
            assert 0.28 <= time.monotonic() - start_s <= 0.29 + LATE_S

    def test_jitter_stays_in_bounds_and_in_order(self, to_echo: ProxyState, client: ToxiproxyClient) -> None:
        attributes = {"latency": 20, "jitter": 20}
        client.add_toxic(to_echo.name, "latency", stream=Stream.UPSTREAM, attributes=attributes)
        with connect(to_echo.port) as sock:
            taken_s = [round_trip_s(sock) for _ in range(30)]
            assert max(taken_s) <= 0.04 + LATE_S
            assert len({round(each, 3) for each in taken_s}) > 5
            sent = b"".join(number.to_bytes(4, "big") for number in range(200))
            for start in range(0, len(sent), 4):
                sock.sendall(sent[start : start + 4])
            assert receive(sock, len(sent)) == sent

    def test_an_update_retimes_what_waits(
        self, to_open: ProxyState, open_server: TcpServer, client: ToxiproxyClient
    ) -> None:
        client.add_toxic(to_open.name, "latency", stream=Stream.UPSTREAM, attributes={"latency": 60_000})
        with connect(to_open.port) as sock:
            peer = open_server.peer()
            start_s = time.monotonic()
            for _ in range(3):
                sock.sendall(b"x")
                time.sleep(0.05)
            client.update_toxic(to_open.name, "latency_upstream", {"latency": 300})
            assert receive(peer, 3) == b"xxx"
            assert_took(start_s, 0.4)

    def test_a_removal_hands_on_what_waits(
        self, to_open: ProxyState, open_server: TcpServer, client: ToxiproxyClient
    ) -> None:
        client.add_toxic(to_open.name, "latency", stream=Stream.UPSTREAM, attributes={"latency": 60_000})
        with connect(to_open.port) as sock:
            peer = open_server.peer()
            sock.sendall(b"early ")
            assert silent(peer, 0.1)
            client.remove_toxic(to_open.name, "latency_upstream")
            sock.sendall(b"late")
            assert receive(peer, 10) == b"early late"

    def test_a_close_comes_after_the_data(
        self, to_open: ProxyState, open_server: TcpServer, client: ToxiproxyClient
    ) -> None:
        client.add_toxic(to_open.name, "latency", stream=Stream.UPSTREAM, attributes={"latency": 150})
        start_s = time.monotonic()
        with connect(to_open.port) as sock:
            peer = open_server.peer()
            sock.sendall(b"last words")
        assert receive_all(peer) == b"last words"
        assert_took(start_s, 0.15)

    def test_a_close_alone_is_not_delayed(
        self, to_open: ProxyState, open_server: TcpServer, client: ToxiproxyClient
    ) -> None:
        client.add_toxic(to_open.name, "latency", stream=Stream.UPSTREAM, attributes={"latency": 60_000})
        with connect(to_open.port):
            peer = open_server.peer()
        assert receive_all(peer) == b""

    def test_a_delay_of_centuries_holds_data_until_it_is_removed(
        self, to_open: ProxyState, open_server: TcpServer, client: ToxiproxyClient
    ) -> None:
        client.add_toxic(to_open.name, "latency", stream=Stream.UPSTREAM, attributes={"latency": 2**63 - 1})
        with connect(to_open.port) as sock:
            sock.sendall(b"x")
            assert silent(open_server.peer(), 0.05)
            client.remove_toxic(to_open.name, "latency_upstream")
            assert receive(open_server.peer(), 1) == b"x"


class TestTimeout:
    @pytest.mark.parametrize("stream", list(Stream))
    def test_a_timeout_of_zero_is_a_black_hole(
        self, to_echo: ProxyState, client: ToxiproxyClient, stream: Stream
    ) -> None:
        with connect(to_echo.port) as sock:
            round_trip_s(sock)
            client.add_toxic(to_echo.name, "timeout", stream=stream, attributes={"timeout": 0})
            sock.sendall(b"lost")
            assert silent(sock, 0.3)
            client.remove_toxic(to_echo.name, f"timeout_{stream}")
            assert receive_all(sock) == b""

    def test_the_other_direction_flows(
        self, to_open: ProxyState, open_server: TcpServer, client: ToxiproxyClient
    ) -> None:
        client.add_toxic(to_open.name, "timeout", stream=Stream.DOWNSTREAM, attributes={"timeout": 0})
        with connect(to_open.port) as sock:
            peer = open_server.peer()
            peer.sendall(b"lost")
            sock.sendall(b"heard")
            assert receive(peer, 5) == b"heard"
            assert silent(sock, 0.05)

    def test_an_idle_connection_is_closed(
        self, to_open: ProxyState, open_server: TcpServer, client: ToxiproxyClient
    ) -> None:
        client.add_toxic(to_open.name, "timeout", stream=Stream.UPSTREAM, attributes={"timeout": 300})
        start_s = time.monotonic()
        with connect(to_open.port) as sock:
            assert receive_all(sock) == b""
            assert_took(start_s, 0.3)
            assert receive_all(open_server.peer()) == b""

    def test_each_dropped_chunk_restarts_it(self, to_open: ProxyState, client: ToxiproxyClient) -> None:
        client.add_toxic(to_open.name, "timeout", stream=Stream.UPSTREAM, attributes={"timeout": 300})
        with connect(to_open.port) as sock:
            for _ in range(5):
                time.sleep(0.1)
                last_s = time.monotonic()  # before it is sent: the proxy may have it before this process goes on
                sock.sendall(b"x")
            sock.recv(1)
            assert_took(last_s, 0.3)

    def test_an_update_restarts_it(self, to_open: ProxyState, client: ToxiproxyClient) -> None:
        client.add_toxic(to_open.name, "timeout", stream=Stream.UPSTREAM, attributes={"timeout": 60_000})
        with connect(to_open.port) as sock:
            start_s = time.monotonic()
            client.update_toxic(to_open.name, "timeout_upstream", {"timeout": 200})
            assert sock.recv(1) == b""
            assert_took(start_s, 0.2)

    def test_a_close_passes_at_once(self, to_open: ProxyState, open_server: TcpServer, client: ToxiproxyClient) -> None:
        client.add_toxic(to_open.name, "timeout", stream=Stream.UPSTREAM, attributes={"timeout": 0})
        with connect(to_open.port) as sock:
            peer = open_server.peer()
            sock.sendall(b"lost")
        assert receive_all(peer) == b""

    def test_a_reset_closes_connections_that_the_dice_spared(self, http: Http, to_echo: ProxyState) -> None:
        http("POST", f"/proxies/{to_echo.name}/toxics", {"type": "timeout", "toxicity": 0})
        with connect(to_echo.port) as sock:
            round_trip_s(sock)
            assert http("DELETE", f"/proxies/{to_echo.name}/toxics/timeout_downstream").status == 204
            assert sock.recv(1) == b""


class TestResetPeer:
    @pytest.mark.parametrize("stream", list(Stream))
    @pytest.mark.parametrize("timeout_ms", [0, 100])
    @pytest.mark.parametrize("live", [True, False])
    def test_both_peers_are_reset(
        self,
        to_open: ProxyState,
        open_server: TcpServer,
        client: ToxiproxyClient,
        stream: Stream,
        timeout_ms: int,
        live: bool,
    ) -> None:
        def add() -> None:
            client.add_toxic(to_open.name, "reset_peer", stream=stream, attributes={"timeout": timeout_ms})

        if not live:
            add()
        with connect(to_open.port) as sock:
            peer = open_server.peer()
            if live:
                sock.sendall(b"x")
                receive(peer, 1)
                add()
            start_s = time.monotonic()
            (sock if stream is Stream.UPSTREAM else peer).sendall(b"trigger")
            for end in (sock, peer):
                with pytest.raises(ConnectionResetError):
                    end.recv(100)
            assert_took(start_s, timeout_ms / 1000)

    def test_idle_connections_are_left_alone(self, to_echo: ProxyState, client: ToxiproxyClient) -> None:
        with connect(to_echo.port) as sock:
            round_trip_s(sock)
            client.add_toxic(to_echo.name, "reset_peer", stream=Stream.UPSTREAM, attributes={"timeout": 0})
            assert silent(sock, 0.1)
            client.remove_toxic(to_echo.name, "reset_peer_upstream")
            round_trip_s(sock)

    def test_a_close_triggers_it(self, to_open: ProxyState, open_server: TcpServer, client: ToxiproxyClient) -> None:
        client.add_toxic(to_open.name, "reset_peer", stream=Stream.UPSTREAM, attributes={"timeout": 0})
        connect(to_open.port).close()
        with pytest.raises(ConnectionResetError):
            open_server.peer().recv(1)

    def test_a_close_is_reset_only_while_the_toxic_is_there(
        self, http: Http, to_open: ProxyState, open_server: TcpServer
    ) -> None:
        """In the real server toxicity 0 makes every close a reset."""
        http("POST", f"/proxies/{to_open.name}/toxics", {"type": "reset_peer", "toxicity": 0})
        with connect(to_open.port) as sock:
            peer = open_server.peer()
            peer.sendall(b"x")
            assert receive(sock, 1) == b"x"
        assert receive_all(peer) == b""

    def test_the_api_does_not_wait_for_it(
        self, to_open: ProxyState, open_server: TcpServer, client: ToxiproxyClient
    ) -> None:
        client.add_toxic(to_open.name, "reset_peer", stream=Stream.UPSTREAM, attributes={"timeout": 60_000})
        with connect(to_open.port) as sock:
            open_server.peer()
            sock.sendall(b"x")
            assert silent(sock, 0.1)
            start_s = time.monotonic()
            client.remove_toxic(to_open.name, "reset_peer_upstream")
            # The chunk that triggered it is gone, so the connection must not survive.
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
            assert_took(start_s, 0)


class TestBandwidth:
    def test_the_rate_is_kept(self, to_echo: ProxyState, client: ToxiproxyClient) -> None:
        client.add_toxic(to_echo.name, "bandwidth", stream=Stream.UPSTREAM, attributes={"rate": 1000})
        with connect(to_echo.port) as sock:
            assert 0.46 < round_trip_s(sock, b"x" * 480_000) < 0.48 + LATE_S

    def test_data_comes_in_pieces_of_a_tenth_of_a_second(
        self, to_open: ProxyState, open_server: TcpServer, client: ToxiproxyClient
    ) -> None:
        client.add_toxic(to_open.name, "bandwidth", stream=Stream.UPSTREAM, attributes={"rate": 10})
        with connect(to_open.port) as sock:
            peer = open_server.peer()
            start_s = time.monotonic()
            sock.sendall(b"x" * 3500)
            size = 0
            while size < 3500:
                size += len(peer.recv(65536))
                # A reader that comes late may find several pieces at once, but never one before its time.
                pieces_due = int((time.monotonic() - start_s + GRAIN_S) / 0.1)
                assert size == 3500 or size in {1000 * number for number in range(1, pieces_due + 1)}
            assert_took(start_s, 0.35)

    def test_a_rate_of_zero_stands_still(
        self, to_open: ProxyState, open_server: TcpServer, client: ToxiproxyClient
    ) -> None:
        client.add_toxic(to_open.name, "bandwidth", stream=Stream.UPSTREAM, attributes={"rate": 0})
        with connect(to_open.port) as sock:
            peer = open_server.peer()
            sock.sendall(b"held")
            assert silent(peer, 0.2)
            client.remove_toxic(to_open.name, "bandwidth_upstream")
            assert receive(peer, 4) == b"held"

    def test_an_update_hands_on_the_rest_of_the_chunk(
        self, to_open: ProxyState, open_server: TcpServer, client: ToxiproxyClient
    ) -> None:
        client.add_toxic(to_open.name, "bandwidth", stream=Stream.UPSTREAM, attributes={"rate": 1})
        with connect(to_open.port) as sock:
            peer = open_server.peer()
            sock.sendall(b"x" * 10_000)
            receive(peer, 100)
            start_s = time.monotonic()
            client.update_toxic(to_open.name, "bandwidth_upstream", {"rate": 100})
            receive(peer, 9900)
            assert_took(start_s, 0)

    def test_it_pauses_the_source(self, to_open: ProxyState, open_server: TcpServer, client: ToxiproxyClient) -> None:
        client.add_toxic(to_open.name, "bandwidth", stream=Stream.UPSTREAM, attributes={"rate": 1})
        with connect(to_open.port) as sock:
            open_server.peer()
            sock.settimeout(0.3)
            with pytest.raises(TimeoutError):
                sock.sendall(b"x" * (64 << 20))
