"""One proxy process per event loop and test worker; each test makes proxies with names of its own."""

import uuid
from collections.abc import Callable, Iterator

import pytest
from proxy_support import Http, ProxyServer, TcpServer, echo, keep, running_server

from faults.toxiproxy import ProxyState, ToxiproxyClient


@pytest.fixture(scope="session", params=["uvloop", "asyncio"])
def server(request: pytest.FixtureRequest) -> Iterator[ProxyServer]:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    with running_server("--loop", request.param, "--seed", "7") as started:
        yield started
        assert started.process.poll() is None, "the proxy has died"


@pytest.fixture(scope="session")
def lone_server() -> Iterator[ProxyServer]:
    """A server for tests that look at all proxies, such as those of /reset; its proxies are deleted before each."""
    with running_server() as started:
        yield started


@pytest.fixture
def empty(lone_server: ProxyServer) -> ProxyServer:
    client = ToxiproxyClient(lone_server.host, lone_server.port)
    for name in client.proxies():
        client.delete(name)
    return lone_server


@pytest.fixture
def api(empty: ProxyServer) -> Http:
    return Http(empty.host, empty.port)


@pytest.fixture
def name(api: Http) -> str:
    """A proxy that exists."""
    name = f"n-{uuid.uuid4().hex[:8]}"
    assert api("POST", "/proxies", {"name": name, "listen": "127.0.0.1:0", "upstream": "127.0.0.1:9"}).status == 201
    return name


@pytest.fixture
def http(server: ProxyServer) -> Http:
    return Http(server.host, server.port)


@pytest.fixture
def client(server: ProxyServer) -> ToxiproxyClient:
    return ToxiproxyClient(server.host, server.port)


@pytest.fixture
def echo_server() -> Iterator[TcpServer]:
    server = TcpServer(echo)
    yield server
    server.close()


@pytest.fixture
def open_server() -> Iterator[TcpServer]:
    """A server whose side of each connection is the test's own."""
    server = TcpServer(keep)
    yield server
    server.close()


@pytest.fixture
def new_proxy(client: ToxiproxyClient) -> Iterator[Callable[[str], ProxyState]]:
    """Make a proxy to an upstream address; deleted afterwards."""
    names: list[str] = []

    def make(upstream: str) -> ProxyState:
        names.append(f"p-{uuid.uuid4().hex[:12]}")
        return client.create(names[-1], upstream)

    yield make
    for name in names:
        client.delete(name)


@pytest.fixture
def to_echo(new_proxy: Callable[[str], ProxyState], echo_server: TcpServer) -> ProxyState:
    return new_proxy(echo_server.address)


@pytest.fixture
def to_open(new_proxy: Callable[[str], ProxyState], open_server: TcpServer) -> ProxyState:
    return new_proxy(open_server.address)
