"""The traffic of a link seen at the role's end, as behind a real Toxiproxy; here the role is this process."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import redis
from proxy_support import ProxyServer, running_server, running_toxiproxy
from talking import talking
from waiting import until

from taskchaos.faults.base import Link, On, PingResult
from taskchaos.faults.nemesis import Change, Nemesis
from taskchaos.faults.schedule import PlannedFault, Schedule, faults_on
from taskchaos.faults.state import FaultState
from taskchaos.faults.toxiproxy import ToxiproxyClient
from taskchaos.faults.traffic import Flow, Sight, Traffic
from taskchaos.faults.watch import Watch
from taskchaos.harness.errors import StackError
from taskchaos.harness.stack import sockets
from taskchaos.harness.stack.containers.socket_traffic import SocketTraffic
from taskchaos.harness.stack.sockets import Socket, connections

pytestmark = pytest.mark.usefixtures("linux")
TOXIPROXY = os.environ.get("CHAOS_TOXIPROXY", "")
_numbers = count(7)
HELD = [FaultState.HELD, FaultState.HEALED]


# --- what the kernel says ------------------------------------------------------------------------------------------


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The two ends of a connection on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as here:
        there, _ = server.accept()
        with there:
            yield here, there


def test_the_bytes_of_a_connection_are_counted(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    host, port = here.getpeername()
    (one,) = connections(host, port)
    assert (one.local, one.sent, one.received) == ("{}:{}".format(*here.getsockname()), 0, 0)
    here.sendall(b"x" * 100)
    there.recv(100)
    there.sendall(b"y" * 7)
    here.recv(7)
    until(lambda: connections(host, port)[0].sent == 100)
    assert connections(host, port) == [Socket(one.key, one.local, 100, 7)]
    assert connections(host, port + 1) == [] == connections("127.0.0.2", port)
    there.close()
    until(lambda: connections(host, port) == [], "one that the other side has closed is not established")


def test_many_connections_are_all_found() -> None:
    """More than one answer of the kernel holds."""
    with socket.create_server(("127.0.0.1", 0), backlog=500) as server:
        clients = [socket.create_connection(server.getsockname()) for _ in range(300)]
        found = connections(*server.getsockname())
        assert len({one.key for one in found}) == 300
        assert {one.local for one in found} == {"{}:{}".format(*client.getsockname()) for client in clients}
        for client in clients:
            client.close()


def test_without_the_kernel_s_counts_connections_are_still_found(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, _ = pair
    monkeypatch.setattr(sockets, "_NETLINK_SOCK_DIAG", 31)  # no such family
    (one,) = connections(*here.getpeername())
    assert (one.local, one.sent, one.received) == ("{}:{}".format(*here.getsockname()), None, None)
    here.close()
    until(lambda: connections("127.0.0.1", int(one.local.rpartition(":")[2])) == [], "the table forgets it")


# --- what a link makes of it ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["embedded", *(["toxiproxy"] if TOXIPROXY else [])])
def proxy(request: pytest.FixtureRequest) -> Iterator[ProxyServer]:
    """A server that counts what passes."""
    if request.param == "toxiproxy":
        with running_toxiproxy(TOXIPROXY, "-proxy-metrics") as started:
            yield started
    else:
        with running_server("-proxy-metrics") as started:
            yield started


@pytest.fixture
def link(proxy: ProxyServer, redis_port: int, request: pytest.FixtureRequest) -> Iterator[Link]:
    """A new worker's link to Redis whose traffic is seen at this process's end; parametrize for that to its results."""
    api, name = ToxiproxyClient(proxy.host, proxy.port), f"worker-{next(_numbers)}{getattr(request, 'param', '')}"
    state = api.create(name, f"127.0.0.1:{redis_port}")
    source = SocketTraffic(api, name, lambda: connections(state.host, state.port))
    yield Link(name, state.host, state.port, api, source)
    api.delete(name)


RESULTS = pytest.mark.parametrize("link", ["-results"], indirect=True)


def ran(link: Link, kind: str, hold_s: float = 0.5) -> list[Change]:
    changes: list[Change] = []
    soon: dict[str, int | str] = {"limit_bytes": 50} if kind == "limit_data" else {}  # by somebody who sends little
    schedule = Schedule.of(PlannedFault(kind, link.name, 0.0, hold_s, soon))
    nemesis = Nemesis(schedule, {link.name: link}, {}, changes.append, lambda index, undo: None)
    nemesis.start(time.monotonic())
    assert nemesis.join(10) and nemesis.heal_all()
    return changes


def client_of(link: Link) -> redis.Redis:
    return redis.Redis(host=link.host, port=link.port, single_connection_client=True, socket_timeout=1)


@pytest.mark.parametrize("kind", faults_on(On.LINK))
def test_the_traffic_of_the_role_proves_a_fault(link: Link, kind: str) -> None:
    with talking(link):
        changes = ran(link, kind)
    assert [change.state for change in changes] == [FaultState.INJECTED, FaultState.PROVEN, *HELD]
    assert f" of {link.name}" in changes[1].evidence.seen


@pytest.mark.parametrize("kind", faults_on(On.LINK))
def test_what_only_the_harness_meets_proves_nothing(link: Link, kind: str) -> None:
    changes = ran(link, kind)
    assert [change.state for change in changes] == [FaultState.INJECTED, FaultState.UNPROVEN, *HELD]
    assert f"{link.name} has no connection through its link" in changes[1].evidence.seen


@pytest.mark.parametrize("kind", ["latency", "reset", "black_hole_requests"])
def test_an_idle_connection_proves_nothing(link: Link, kind: str) -> None:
    with client_of(link):
        changes = ran(link, kind)
    assert changes[1].state is FaultState.UNPROVEN
    assert f"nothing of {link.name} passed" in changes[1].evidence.seen


def test_what_goes_the_other_way_proves_nothing(link: Link, redis_port: int) -> None:
    """What Redis says to a subscriber does not meet a fault of the requests."""
    over = threading.Event()

    def publish() -> None:
        with redis.Redis(port=redis_port) as server:
            while not over.wait(0.01):
                server.publish("news", "x")

    publisher = threading.Thread(target=publish)
    with client_of(link).pubsub() as subscriber:
        subscriber.subscribe("news")
        subscriber.get_message(timeout=5)
        publisher.start()
        changes = ran(link, "black_hole_requests")
        over.set()
        publisher.join()
    assert changes[1].state is FaultState.UNPROVEN
    assert "nothing of" in changes[1].evidence.seen


def test_what_vanishes_on_its_way_to_the_role_is_not_seen(link: Link) -> None:
    """So an open connection has to do, and the evidence says so."""
    with client_of(link):
        changes = ran(link, "black_hole_replies")
    assert changes[1].state is FaultState.PROVEN
    assert (
        f"1 connection of {link.name} under it, what passed on them is not seen from here" in changes[1].evidence.seen
    )


@RESULTS
def test_a_result_link_without_connections_is_unused(link: Link) -> None:
    assert link.ping().result is PingResult.PONG
    assert ran(link, "latency")[1].state is FaultState.UNUSED


@RESULTS
def test_a_link_used_by_connections_that_have_ended_is_not_unused(link: Link) -> None:
    """Nobody has looked while there was one: the proxy's account of what has ended tells."""
    with client_of(link) as client:
        for _ in range(10):
            client.set("key", "value")
    changes = ran(link, "latency")
    assert changes[1].state is FaultState.UNPROVEN and f"nothing of {link.role} passed" in changes[1].evidence.seen


def test_what_has_ended_is_kept_between_looks(link: Link) -> None:
    assert link.source is not None
    assert link.source.look(()) == Traffic({}, Sight.ROLE)
    with client_of(link) as client:
        client.ping()
        (key,) = link.source.look(()).flows
    assert link.source.look(()).flows[key].open is False and link.source.look(()).flows[key].cut


def test_what_cannot_be_asked_is_not_seen() -> None:
    """A container that is paused, for example: what was seen before is not forgotten over it."""
    api, answers = ToxiproxyClient("127.0.0.1", 9), [[Socket("1", "a:1", 10, 20)]]

    def seen() -> list[Socket]:
        if not answers:
            raise StackError("the container is paused")
        return answers.pop()

    source = SocketTraffic(api, "worker-7", seen)
    assert source.look(()).flows == {"1": Flow(10, 20)}
    paused = source.look(())
    assert paused.sight is Sight.NOTHING and paused.trouble == "the container is paused"
    assert source.used(()), "that cannot be told"
    watch = Watch(Link("worker-7", "127.0.0.1", 9, api, source), {})
    assert watch.nothing() == "the traffic of link worker-7 cannot be seen: the container is paused"
    answers.append([Socket("1", "a:1", 15, 20)])
    assert source.look(()).flows == {"1": Flow(15, 20)}


def test_connections_without_bytes_prove_what_needs_no_more(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_ask_kernel", lambda *_: (_ for _ in ()).throw(OSError("refused")))
    with client_of(link) as client:
        client.ping()
        assert [one.local for one in connections(link.host, link.port)]
        changes = ran(link, "latency")
    assert changes[1].state is FaultState.PROVEN and "is not seen from here" in changes[1].evidence.seen
    assert Path("/proc/net/tcp").exists()
