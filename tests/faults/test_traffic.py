"""What passes on a link: what the proxy says of its connections, and what a fault has met of a role's."""

import socket
from functools import partial

import pytest
from proxy_support import Http
from resp_support import Wire
from waiting import until

from taskchaos.faults.base import Link, PingResult
from taskchaos.faults.command_api import Passed
from taskchaos.faults.toxiproxy import Stream, ToxiproxyClient
from taskchaos.faults.traffic import Flow, Met, ProxyTraffic, Sight, Traffic
from taskchaos.faults.watch import Watch


def link_of(wire: Wire) -> Link:
    return Link(wire.name, "127.0.0.1", wire.port, ToxiproxyClient(wire.api.host, wire.api.port))


def passed(wire: Wire, since_ns: int = 0) -> tuple[Passed, ...]:
    return wire.api.traffic(wire.name, since_ns)[1]


def local(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"{host}:{port}"


def ping(sock: socket.socket) -> None:
    sock.sendall(b"PING\r\n")
    assert sock.recv(16) == b"+PONG\r\n"


# What the proxy says.


def test_the_bytes_of_an_open_connection_are_counted(wire: Wire) -> None:
    assert wire.api.traffic(wire.name) == (0, ())
    with wire.raw() as sock:
        ping(sock)
        (one,) = passed(wire)
        assert (one.client, one.upstream_bytes, one.downstream_bytes) == (local(sock), 6, 7)
        assert one.closed_ns is None and not one.cut


def test_bytes_count_when_they_are_received_not_when_they_arrive(wire: Wire) -> None:
    for stream in Stream:
        wire.api.add_toxic(wire.name, "timeout", stream=stream, attributes={"timeout": 0})
    with wire.raw() as sock:
        sock.sendall(b"PING\r\n")
        until(lambda: passed(wire) and passed(wire)[0].upstream_bytes == 6)
        assert passed(wire)[0].downstream_bytes == 0


def test_a_connection_that_has_ended_is_remembered_and_who_ended_it(wire: Wire) -> None:
    with wire.raw() as sock:
        ping(sock)
    until(lambda: passed(wire)[0].closed_ns)
    with wire.raw() as cut:
        ping(cut)
        wire.api.set_enabled(wire.name, False)
        wire.api.set_enabled(wire.name, True)
        opened, both = wire.api.traffic(wire.name)
    assert opened == 2
    assert [(one.cut, one.upstream_bytes, one.downstream_bytes) for one in both] == [(False, 6, 7), (True, 6, 7)]
    first_ns = both[0].closed_ns
    assert first_ns is not None
    assert passed(wire, first_ns) == both and passed(wire, first_ns + 1) == both[1:]


@pytest.mark.parametrize("at", ["before", "after"])
def test_what_a_rule_ends_is_cut(wire: Wire, at: str) -> None:
    wire.rule(at, "reset", command="PING")
    with wire.raw() as sock:
        sock.sendall(b"PING\r\n")
        with pytest.raises(ConnectionResetError):
            sock.recv(16)
    until(lambda: passed(wire)[0].closed_ns)
    assert passed(wire)[0].cut


def test_what_a_reset_toxic_ends_is_cut_and_what_redis_ends_is_not(wire: Wire) -> None:
    with wire.raw() as sock:
        ping(sock)
        wire.direct.client_kill_filter(skipme=True)
        assert sock.recv(16) == b""
    until(lambda: passed(wire)[0].closed_ns)
    assert not passed(wire)[0].cut
    wire.api.add_toxic(wire.name, "reset_peer", stream=Stream.UPSTREAM, attributes={"timeout": 0})
    with wire.raw() as sock:
        sock.sendall(b"PING\r\n")
        with pytest.raises(ConnectionResetError):
            sock.recv(16)
    until(lambda: passed(wire)[1].closed_ns)
    assert passed(wire)[1].cut and passed(wire)[1].upstream_bytes == 6
    wire.raw().close()
    until(lambda: len(passed(wire)) == 3 and passed(wire)[2].closed_ns)
    assert not passed(wire)[2].cut, "the client was first"


def test_only_the_newest_are_remembered(wire: Wire) -> None:
    kept = 1024
    for _ in range(kept + 6):
        with wire.raw() as sock:
            ping(sock)
    until(lambda: all(one.closed_ns for one in passed(wire)))
    opened, connections = wire.api.traffic(wire.name)
    assert (opened, len(connections), connections[0].number) == (kept + 6, kept, 7)
    source = ProxyTraffic(wire.api, wire.name)
    assert source.used({one.client for one in connections}), "not all of them are known"


def test_the_route_answers_as_documented(wire: Wire) -> None:
    http = Http(wire.api.host, wire.api.port)
    assert http("GET", f"/proxies/{wire.name}/traffic").json == {"opened": 0, "connections": []}
    assert http("GET", f"/proxies/{wire.name}/traffic?since=x").status == 400
    assert http("GET", "/proxies/nobody/traffic").status == 404
    assert http("POST", f"/proxies/{wire.name}/traffic", {}).status == 405


# What of it is the role's, and what of that a fault has met.


def test_the_harness_s_own_connections_are_not_the_role_s(wire: Wire) -> None:
    link = link_of(wire)
    watch = Watch(link, {})
    for _ in range(3):
        assert link.ping().result is PingResult.PONG
    assert len(link.probes) == 3 and wire.api.traffic(wire.name)[0] == 3
    assert watch.met() == Met()
    assert not ProxyTraffic(link.api, link.name).used(link.probes)
    with wire.raw() as sock:
        ping(sock)
        assert watch.met() == Met(connections=1)
        assert ProxyTraffic(link.api, link.name).used(link.probes)


def test_a_toxic_meets_traffic_from_its_injection_on(wire: Wire) -> None:
    """From the moment of its injection: what a black hole swallows first may be all that it ever meets."""
    add = partial(wire.api.add_toxic, wire.name, "latency", attributes={"latency": 1})
    with wire.raw() as idle, wire.raw() as busy:
        ping(idle)
        ping(busy)
        watch = Watch(link_of(wire), {"up": Stream.UPSTREAM, "down": Stream.DOWNSTREAM})
        ping(busy)
        assert watch.met() == Met(connections=2), "there is no toxic yet"
        add(stream=Stream.UPSTREAM, name="up")
        ping(busy)
        add(stream=Stream.DOWNSTREAM, name="down")
        add(stream=Stream.DOWNSTREAM, name="other")
        assert watch.met() == Met(connections=2, hit=1, up=6, down=0)
        ping(busy)
        with wire.raw() as new:
            ping(new)
            assert watch.met() == Met(connections=3, hit=2, up=18, down=14)
        until(lambda: passed(wire)[-1].closed_ns or passed(wire)[0].closed_ns)
        assert watch.met() == Met(connections=3, hit=2, up=18, down=14), "of one that has ended too"
        wire.api.remove_toxic(wire.name, "up")
        ping(busy)
        assert watch.met().up == 6, "what is left of it is what ended with it"


def test_a_disabled_proxy_counts_as_a_cut(wire: Wire) -> None:
    with wire.raw() as ended:
        ping(ended)
    until(lambda: passed(wire)[0].closed_ns)
    with wire.raw() as sock:
        ping(sock)
        watch = Watch(link_of(wire), {})
        wire.api.set_enabled(wire.name, False)
        met = watch.met()
    assert met == Met(connections=1, hit=1, cut=1)
    assert watch.told(met) == f"1 connection of {wire.name} was cut"


@pytest.mark.parametrize(
    ("met", "text"),
    [
        (Met(3, 2, 0, 312, 0), "2 connections of worker-1, 312 bytes from it and 0 from Redis met it"),
        (Met(3, 3, 3), "3 connections of worker-1 were cut"),
        (Met(1, 0, sight=Sight.ROLE), "1 connection of worker-1 under it, what passed on them is not seen from here"),
    ],
)
def test_what_was_met_is_told_in_words(client: ToxiproxyClient, met: Met, text: str) -> None:
    assert Watch(Link("worker-1-results", "127.0.0.1", 9, client), {}).told(met) == text


def test_a_look_that_fails_is_a_look_at_nothing() -> None:
    link = Link("worker-1", "127.0.0.1", 9, ToxiproxyClient("127.0.0.1", 9))
    watch = Watch(link, {})
    assert watch.met().sight is Sight.NOTHING
    assert "the traffic of link worker-1 cannot be seen: Toxiproxy at 127.0.0.1:9 did not answer" in watch.nothing()
    assert watch.unused() == "", "that cannot be told"


def test_without_toxics_two_looks_tell_what_was_met() -> None:
    """One that was there goes on, one is new, one has ended meanwhile, one was over before."""
    before = Traffic({"on": Flow(10, 20), "cut": Flow(1, 2), "over": Flow(5, 5, open=False, cut=True)})
    now = Traffic(
        {
            "on": Flow(13, 20),
            "new": Flow(7, 1),
            "cut": Flow(1, 2, open=False, cut=True),
            "over": Flow(5, 5, open=False, cut=True),
        }
    )
    assert Met.since(before, now, {}) == Met(connections=3, hit=3, cut=1, up=10, down=1)
    nothing = Traffic(sight=Sight.NOTHING, trouble="gone")
    assert Met.since(before, nothing, {}) == Met.since(nothing, now, {}) == Met(sight=Sight.NOTHING, trouble="gone")
    up, down = Met(up=1), Met(down=1)
    assert up.passed(Stream.UPSTREAM) and not up.passed(Stream.DOWNSTREAM)
    assert down.passed(*Stream) and not down.passed(Stream.UPSTREAM)
