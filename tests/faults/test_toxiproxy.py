"""The adapter that the harness drives any Toxiproxy with."""

import http.server
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from proxy_support import ProxyServer, TcpServer, connect, keep, round_trip_s, running_server

from taskchaos.faults.toxiproxy import (
    AlreadyExists,
    NotFound,
    ProxyState,
    Stream,
    Toxic,
    ToxiproxyClient,
    ToxiproxyError,
    Unreachable,
)


@pytest.fixture
def canned() -> Iterator[Callable[[int, bytes], ToxiproxyClient]]:
    """A client of a server that gives the same answer to everything."""
    servers: list[http.server.HTTPServer] = []

    def make(status: int, body: bytes) -> ToxiproxyClient:
        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_DELETE = answer

            def log_message(self, *arguments: object) -> None:
                """Not on the test's terminal."""

        servers.append(http.server.HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return ToxiproxyClient("127.0.0.1", servers[-1].server_port)

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


def test_the_version_is_read(client: ToxiproxyClient) -> None:
    assert client.version() == "2.12.0"


def test_a_created_proxy_can_be_read(client: ToxiproxyClient, to_echo: ProxyState, echo_server: TcpServer) -> None:
    assert to_echo == ProxyState(to_echo.name, "127.0.0.1", to_echo.port, echo_server.address, True, ())
    assert to_echo.port > 0
    assert client.proxy(to_echo.name) == to_echo
    assert client.proxies()[to_echo.name] == to_echo
    with connect(to_echo.port, to_echo.host) as sock:
        round_trip_s(sock)


def test_a_proxy_can_be_created_disabled(client: ToxiproxyClient) -> None:
    name = "created-disabled"
    try:
        assert client.create(name, "u:1", enabled=False) == ProxyState(name, "127.0.0.1", 0, "u:1", False, ())
        assert client.set_enabled(name, True).port > 0
    finally:
        client.delete(name)


@pytest.mark.parametrize("listen", ["[::]:0", "[::1]:0"])
def test_a_proxy_can_listen_on_ipv6(client: ToxiproxyClient, listen: str) -> None:
    if not socket.has_ipv6:
        pytest.skip("needs IPv6")
    try:
        state = client.create("six", "u:1", listen=listen)
    except ToxiproxyError as error:
        pytest.skip(str(error))
    try:
        assert state.host in ("::", "::1", "0.0.0.0")
        connect(state.port, state.host).close()
    finally:
        client.delete("six")


def test_toxics_can_be_added_changed_and_removed(client: ToxiproxyClient, to_echo: ProxyState) -> None:
    added = client.add_toxic(to_echo.name, "latency", stream=Stream.UPSTREAM, attributes={"latency": 5})
    assert added == Toxic("latency_upstream", "latency", Stream.UPSTREAM, {"latency": 5, "jitter": 0}, 1.0)
    named = client.add_toxic(to_echo.name, "timeout", stream=Stream.DOWNSTREAM, attributes={}, name="hole")
    assert named.name == "hole"
    changed = client.update_toxic(to_echo.name, "latency_upstream", {"jitter": 2})
    assert changed.attributes == {"latency": 5, "jitter": 2}
    assert client.proxy(to_echo.name).toxics == (changed, named)
    assert client.remove_toxic(to_echo.name, "hole") is True
    assert client.remove_toxic(to_echo.name, "hole") is False


def test_a_proxy_can_be_deleted_twice(client: ToxiproxyClient, to_echo: ProxyState) -> None:
    assert client.delete(to_echo.name) is True
    assert client.delete(to_echo.name) is False
    assert client.remove_toxic(to_echo.name, "any") is False


def test_several_toxics_can_be_removed_at_once(client: ToxiproxyClient, to_echo: ProxyState) -> None:
    for name in ("a", "b", "c"):
        client.add_toxic(to_echo.name, "noop", stream=Stream.UPSTREAM, attributes={}, name=name)
    client.remove_toxics(to_echo.name, ["a", "not there", "c"])
    assert [toxic.name for toxic in client.proxy(to_echo.name).toxics] == ["b"]
    client.remove_toxics("no such proxy", ["a"])


def test_a_reset_enables_all_or_says_what_it_cannot(empty: ProxyServer) -> None:
    client = ToxiproxyClient(empty.host, empty.port)
    client.create("a", "u:1", enabled=False)
    client.add_toxic("a", "noop", stream=Stream.UPSTREAM, attributes={})
    client.reset()
    assert (client.proxy("a").enabled, client.proxy("a").toxics) == (True, ())
    client.delete("a")
    with socket.create_server(("127.0.0.1", 0)) as busy:
        client.create("b", "u:1", enabled=False, listen=f"127.0.0.1:{busy.getsockname()[1]}")
        with pytest.raises(ToxiproxyError, match="address already in use") as caught:
            client.reset()
    assert caught.value.status == 500


@pytest.mark.parametrize("name", ["with space", "per%cent", "quest?ion", "ha#sh", "ünï", "a+b", "semi;colon"])
def test_names_are_quoted(client: ToxiproxyClient, name: str) -> None:
    try:
        assert client.create(name, "u:1").name == name
        toxic = client.add_toxic(name, "noop", stream=Stream.UPSTREAM, attributes={}, name=name)
        assert client.update_toxic(name, toxic.name, {}) == toxic
        assert client.proxy(name).toxics == (toxic,)
        assert client.remove_toxic(name, name)
    finally:
        assert client.delete(name)


class TestErrors:
    def test_what_does_not_exist_is_not_found(self, client: ToxiproxyClient, to_echo: ProxyState) -> None:
        with pytest.raises(NotFound, match=r"^proxy not found$") as caught:
            client.proxy("nobody")
        assert caught.value.status == 404
        with pytest.raises(NotFound, match=r"^toxic not found$"):
            client.update_toxic(to_echo.name, "none", {})

    def test_what_already_exists_is_an_error(self, client: ToxiproxyClient, to_echo: ProxyState) -> None:
        with pytest.raises(AlreadyExists, match=r"^proxy already exists$") as caught:
            client.create(to_echo.name, "u:1")
        assert caught.value.status == 409
        client.add_toxic(to_echo.name, "noop", stream=Stream.UPSTREAM, attributes={}, name="x")
        with pytest.raises(AlreadyExists, match=r"^toxic already exists$"):
            client.add_toxic(to_echo.name, "noop", stream=Stream.DOWNSTREAM, attributes={}, name="x")

    def test_a_bad_request_is_an_error(self, client: ToxiproxyClient, to_echo: ProxyState) -> None:
        with pytest.raises(ToxiproxyError, match=r"^invalid toxic type$") as caught:
            client.add_toxic(to_echo.name, "nonsense", stream=Stream.UPSTREAM, attributes={})
        assert (type(caught.value), caught.value.status) == (ToxiproxyError, 400)

    def test_a_port_in_use_is_an_error(self, client: ToxiproxyClient, echo_server: TcpServer) -> None:
        with pytest.raises(ToxiproxyError, match="address already in use") as caught:
            client.create("busy", "u:1", listen=echo_server.address)
        assert caught.value.status == 500

    @pytest.mark.parametrize(
        ("status", "body", "text"),
        [
            (503, b"<html><head><title>Timeout</title></head></html>", "HTTP 503: <html>.*Timeout"),
            (403, b"User agent not allowed\n", "HTTP 403: User agent not allowed"),
            (405, b"", "HTTP 405: no explanation"),
            (404, b"404 page not found\n", "HTTP 404: 404 page not found"),
            (500, b'{"error":"text of the server","status":500}', "^text of the server$"),
            (502, b'["not", "an", "object"]', "HTTP 502"),
            (301, b"", "HTTP 301"),
            (200, b"It works!", "no Toxiproxy: It works!"),
            (200, b"[]", "not an object"),
            (200, b'{"a": 1}', "(has no|not an object)"),
        ],
    )
    def test_any_other_answer_is_an_error(
        self, canned: Callable[[int, bytes], ToxiproxyClient], status: int, body: bytes, text: str
    ) -> None:
        client = canned(status, body)
        calls: list[Callable[[], object]] = [
            client.proxies,
            lambda: client.proxy("x"),
            lambda: client.create("x", "u:1"),
        ]
        for call in calls:
            with pytest.raises(ToxiproxyError, match=text):
                call()

    def test_a_refused_connection_is_unreachable(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            with pytest.raises(Unreachable) as caught:
                ToxiproxyClient("127.0.0.1", unused.getsockname()[1]).version()
        assert caught.value.status is None

    def test_a_silent_server_is_unreachable(self) -> None:
        silent = TcpServer(keep)
        client = ToxiproxyClient("127.0.0.1", silent.listener.getsockname()[1], timeout_s=0.2)
        calls: list[Callable[[], object]] = [
            client.version,
            client.reset,
            lambda: client.delete("x"),
            lambda: client.add_toxic("x", "noop", stream=Stream.UPSTREAM, attributes={}),
        ]
        for call in calls:
            start_s = time.monotonic()
            with pytest.raises(Unreachable):
                call()
            assert time.monotonic() - start_s < 2
        silent.close()

    def test_errors_survive_pickling(self) -> None:
        error = pickle.loads(pickle.dumps(NotFound("proxy not found", 404)))
        assert (type(error), str(error), error.status) == (NotFound, "proxy not found", 404)


class TestAttributes:
    @pytest.mark.parametrize("value", [1.5, True, False, "100", None, float("nan"), float("inf")])
    def test_what_is_no_whole_number_is_refused(
        self, client: ToxiproxyClient, to_echo: ProxyState, value: object
    ) -> None:
        attributes: dict[str, int] = {"latency": value}  # type: ignore[dict-item]
        with pytest.raises(ValueError, match="attribute latency must be a whole number"):
            client.add_toxic(to_echo.name, "latency", stream=Stream.UPSTREAM, attributes=attributes)
        assert client.proxy(to_echo.name).toxics == ()

    def test_whole_floats_are_sent_as_integers(self, client: ToxiproxyClient, to_echo: ProxyState) -> None:
        attributes: dict[str, int] = {"latency": 0.1 * 1000}  # type: ignore[dict-item]
        toxic = client.add_toxic(to_echo.name, "latency", stream=Stream.UPSTREAM, attributes=attributes)
        assert toxic.attributes["latency"] == 100


def test_two_servers_can_be_driven_at_once(client: ToxiproxyClient, to_echo: ProxyState) -> None:
    with running_server("--report-version", "second") as server:
        second = ToxiproxyClient(server.host, server.port)
        assert (client.version(), second.version()) == ("2.12.0", "second")
        second.create("only-here", "u:1")
        assert "only-here" in second.proxies()
        assert "only-here" not in client.proxies()
        assert to_echo.name in client.proxies()


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_the_http_proxy_is_ignored(client: ToxiproxyClient, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    assert client.version() == "2.12.0"
