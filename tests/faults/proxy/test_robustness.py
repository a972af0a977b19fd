"""Whatever is thrown at it, the server answers, at once, and leaves nothing behind."""

import http.client
import json
import os
import re
import resource
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
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
)
from waiting import until

from taskchaos.faults.toxiproxy import Stream, ToxiproxyClient

# Nothing may hold up the API for longer. The server measures it itself (faults/proxy/lag.py), because only it can tell
# its own doing from that of a busy machine; what a caller sees is held to it for most calls, and none may hang.
PROMPT_S, PATIENT_S = 0.05, 5.0


@pytest.fixture(scope="module")
def own() -> Iterator[ProxyServer]:
    """A server that nobody else is connected to, so that its file descriptors can be counted."""
    with running_server("-runtime-metrics") as server:
        yield server
        assert server.process.poll() is None, "the proxy has died"


@pytest.fixture(autouse=True)
def nothing_held_up_the_api(linux: None, own: ProxyServer) -> Iterator[None]:
    yield
    text = Http(own.host, own.port)("GET", "/metrics").text
    [lag] = re.findall(r"^taskchaos_loop_lag_max_seconds (\S+)$", text, re.MULTILINE)
    assert float(lag) < PROMPT_S


@pytest.fixture
def count_fds(linux: None, own: ProxyServer) -> Any:
    path = Path(f"/proc/{own.process.pid}/fd")
    return lambda: len(os.listdir(path))


def assert_prompt(taken_s: list[float], share: float = 0.1) -> None:
    """A busy machine holds up any call; an API that is blocked holds up every one, and a deadlock for ever."""
    assert sorted(taken_s)[int(len(taken_s) * share)] < PROMPT_S
    assert max(taken_s) < PATIENT_S


NAMES = st.sampled_from(["a", "b", "ä ö", "x/y", "..", "%41", "", "latency_downstream", "metrics"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["upstream", "DOWNSTREAM", "latency", "slicer", "limit_data", "timeout", "127.0.0.1:0", "[::]:0"])
)
PROXY_MEMBERS = ["name", "listen", "upstream", "enabled", "toxics"]
TOXIC_MEMBERS = ["type", "stream", "toxicity", "attributes", "after", "for"]
ATTRIBUTES = ["latency", "bytes", "rate", "delay", "average_size", "timeout"]
MEMBERS = st.sampled_from([*PROXY_MEMBERS, *TOXIC_MEMBERS, *ATTRIBUTES])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS, inner, max_size=6), max_leaves=12
)
BODIES = VALUES.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40)
PATHS = st.lists(
    st.sampled_from(["proxies", "toxics", "populate", "reset", "version", "rules", "events?x", "journal"]) | NAMES,
    max_size=5,
).map("/".join)


METHODS = st.sampled_from(["GET", "POST", "PATCH", "PUT", "DELETE", "HEAD"])


def test_any_request_is_answered_at_once(own: ProxyServer) -> None:
    taken_s: list[float] = []

    @settings(max_examples=400, deadline=None)
    @given(method=METHODS, path=PATHS, body=BODIES)
    def check(method: str, path: str, body: bytes) -> None:
        if not path.startswith("events"):  # a stream without an end
            taken_s.append(answer_time_s(own, method, path, body))

    check()
    assert_prompt(taken_s)


def answer_time_s(own: ProxyServer, method: str, path: str, body: bytes) -> float:
    target = "/" + "".join(character if 32 < ord(character) < 127 else "%C3%A4" for character in path)
    connection = http.client.HTTPConnection(own.host, own.port, timeout=5)
    start_s = time.monotonic()
    connection.request(method, target, body)
    answer = connection.getresponse()
    answer.read()
    taken_s = time.monotonic() - start_s
    connection.close()
    assert answer.status in {200, 201, 204, 301, 400, 403, 404, 405, 409, 500}
    return taken_s


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.lists(st.binary(max_size=60) | st.sampled_from([b"GET / HTTP/1.1\r\n", b"\r\n\r\n", b"Host: x\r\n"])))
def test_any_bytes_are_survived(own: ProxyServer, data: list[bytes]) -> None:
    with connect(own.port) as sock:
        try:
            sock.sendall(b"".join(data))
            sock.shutdown(socket.SHUT_WR)
            receive_all(sock)
        except OSError:
            pass  # refused in the middle of it
    assert Http(own.host, own.port)("GET", "/version").status == 200


class TestHostileSizes:
    def test_a_huge_body_is_survived(self, own: ProxyServer) -> None:
        with connect(own.port) as sock:
            sock.sendall(b"POST /proxies HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000000\r\n\r\n")
            try:
                for _ in range(40):
                    sock.sendall(b" " * (1 << 20))
            except OSError:
                pass  # it has closed, which is the point
        assert Http(own.host, own.port)("GET", "/version").status == 200

    @pytest.mark.parametrize("size", [10_000, 120_000])
    @pytest.mark.parametrize("shape", ["[", '{"a":', "9", '"', "[[],"])
    def test_hostile_json_is_refused(self, own: ProxyServer, shape: str, size: int) -> None:
        answer = Http(own.host, own.port)("POST", "/populate", shape * (size // len(shape)))
        assert answer.status == 400

    @pytest.mark.parametrize("path", ["/proxies", "/proxies/x/rules", "/scripts"])
    def test_only_a_populate_may_be_long(self, own: ProxyServer, path: str) -> None:
        http_ = Http(own.host, own.port)
        for size, refused in ((16_000, False), (17_000, True)):
            assert (http_("POST", path, '{"a":"' + "x" * size + '"}').status == 413) is refused

    @pytest.mark.parametrize("unit", ["[],", '{"name":"a","upstream":"u:1","enabled":false},', '{"a":1},'])
    def test_long_bodies_hold_up_nobody(self, own: ProxyServer, unit: str) -> None:
        http_ = Http(own.host, own.port)
        body = f"[{unit * (120_000 // len(unit))}{unit[:-1]}]"
        with ThreadPoolExecutor() as pool:
            posted = [pool.submit(http_, "POST", "/populate", body) for _ in range(3)]
            taken_s = []
            while not all(each.done() for each in posted) or len(taken_s) < 10:
                start_s = time.monotonic()
                assert http_("GET", "/version").status == 200
                taken_s.append(time.monotonic() - start_s)
            assert {each.result().status for each in posted} <= {201, 400, 409}
        assert_prompt(taken_s)
        ToxiproxyClient(own.host, own.port).delete("a")

    def test_a_huge_header_is_survived(self, own: ProxyServer) -> None:
        with connect(own.port) as sock:
            try:
                sock.sendall(b"GET /version HTTP/1.1\r\nX: " + b"y" * (1 << 20))
                receive_all(sock)
            except OSError:
                pass  # closed in the middle of it
        assert Http(own.host, own.port)("GET", "/version").status == 200


class TestPeers:
    def test_half_open_clients_hold_up_nobody(self, own: ProxyServer, count_fds: Any) -> None:
        """They connect to the API and say nothing, or half of something."""
        before = count_fds()
        with ExitStack() as stack:
            for number in range(50):
                sock = stack.enter_context(connect(own.port))
                sock.sendall(b"POST /proxies HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{"[: number * 2])
            start_s = time.monotonic()
            assert Http(own.host, own.port)("GET", "/proxies").status == 200
            assert time.monotonic() - start_s < PATIENT_S
        until(lambda: count_fds() <= before, "the sockets to be closed")

    def test_a_thousand_connections_are_served(self, own: ProxyServer, echo_server: TcpServer, count_fds: Any) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # for both ends; the proxy sees to its own
        client = ToxiproxyClient(own.host, own.port)
        before = count_fds()
        proxy = client.create("many", echo_server.address)
        taken_s = []
        with ExitStack() as stack:
            socks = [stack.enter_context(connect(proxy.port)) for _ in range(1000)]
            for number, sock in enumerate(socks):
                sock.sendall(number.to_bytes(4, "big"))
            for number, sock in enumerate(socks):
                assert receive(sock, 4) == number.to_bytes(4, "big")
            for _ in range(10):
                start_s = time.monotonic()
                client.add_toxic("many", "latency", stream=Stream.UPSTREAM, attributes={"latency": 1})
                client.remove_toxic("many", "latency_upstream")
                taken_s.append((time.monotonic() - start_s) / 2)
            for number, sock in enumerate(socks):
                sock.sendall(number.to_bytes(4, "big"))
            for number, sock in enumerate(socks):
                assert receive(sock, 4) == number.to_bytes(4, "big")
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert_prompt(taken_s)
        client.delete("many")
        until(lambda: count_fds() <= before, "the sockets to be closed")

    def test_an_upstream_that_hangs_holds_up_no_change(self, own: ProxyServer, count_fds: Any) -> None:
        client = ToxiproxyClient(own.host, own.port)
        before = count_fds()
        with ExitStack() as stack:
            full = stack.enter_context(socket.socket())
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            for _ in range(4):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            proxy = client.create("hung", f"127.0.0.1:{full.getsockname()[1]}")
            clients = [stack.enter_context(connect(proxy.port)) for _ in range(100)]
            taken_s = []
            for enabled in (False, True) * 5:
                start_s = time.monotonic()
                client.set_enabled("hung", enabled)
                taken_s.append(time.monotonic() - start_s)
            assert_prompt(taken_s)
            assert all(receive_all(sock) == b"" for sock in clients)
        client.delete("hung")
        until(lambda: count_fds() <= before, "the sockets to be closed")

    def test_toxics_can_be_removed_while_clients_die(self, own: ProxyServer, count_fds: Any) -> None:
        """Contract 2.10, 200 rounds: the real server's API hangs for good in most of them."""
        upstream = TcpServer(stream_bytes)
        http_, client = Http(own.host, own.port), ToxiproxyClient(own.host, own.port)
        before = count_fds()
        proxy = client.create("dying", upstream.address)
        kinds = ("latency", "bandwidth", "slicer", "slow_close", "limit_data")
        taken_s = []
        for number in range(200):
            kind = kinds[number % len(kinds)]
            attributes = {"latency": 20, "rate": 100, "average_size": 100, "delay": 20, "bytes": 1 << 40}
            client.add_toxic("dying", kind, stream=Stream.DOWNSTREAM, attributes=attributes)
            socks = [connect(proxy.port) for _ in range(6 if number % 5 == 0 else 1)]
            receive(socks[0], 1)
            for sock in socks:
                if number % 2:
                    die_with_reset(sock)
            killer = threading.Thread(target=lambda doomed: [sock.close() for sock in doomed], args=(socks,))
            killer.start()
            for method, path, status in (
                ("DELETE", f"/proxies/dying/toxics/{kind}_downstream", 204),
                ("GET", "/proxies", 200),
            ):
                start_s = time.monotonic()
                assert http_(method, path).status == status
                taken_s.append(time.monotonic() - start_s)
            killer.join()
        assert_prompt(taken_s)
        with connect(proxy.port) as sock:
            receive(sock, 1)
        client.delete("dying")
        upstream.close()
        until(lambda: count_fds() <= before, "the sockets to be closed")


def stream_bytes(peer: socket.socket) -> None:
    with peer:
        while True:
            peer.sendall(b"x" * 512)
            time.sleep(0.002)


def test_disconnects_leave_nothing_behind(own: ProxyServer, echo_server: TcpServer, count_fds: Any) -> None:
    client = ToxiproxyClient(own.host, own.port)
    proxy = client.create("leak", echo_server.address)
    client.add_toxic("leak", "latency", stream=Stream.UPSTREAM, attributes={"latency": 5})
    before = count_fds()
    for number in range(300):
        with connect(proxy.port) as sock:
            if number % 3 == 0:
                die_with_reset(sock)
            elif number % 3 == 1:
                sock.sendall(b"never read")
            else:
                round_trip_s(sock)
    until(lambda: count_fds() <= before, "the sockets to be closed")
    client.delete("leak")
