"""Which commands a rule takes: names, keys, arguments, scripts, connections, occurrences, windows."""

import hashlib
from typing import Any

import pytest
import redis
from resp_support import MakeWire, Wire
from waiting import until

from taskchaos.faults.toxiproxy import ToxiproxyError


def outcomes(client: "redis.Redis[Any]", count: int, *command: str) -> str:
    """One letter for each call: x where the rule answered."""
    letters = ""
    for _ in range(count):
        try:
            client.execute_command(*command)
            letters += "."
        except redis.ResponseError:
            letters += "x"
    return letters


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, "xxxxxxxx"),
        ({"nth": 3}, "..x....."),
        ({"every": 3}, "..x..x.."),
        ({"first": 3}, "xxx....."),
        ({"times": 2}, "xx......"),
        ({"every": 2, "times": 3}, ".x.x.x.."),
    ],
)
def test_a_rule_acts_on_the_planned_occurrences(wire: Wire, members: dict[str, Any], expected: str) -> None:
    rule = wire.rule("before", "error", error="ERR x", command="GET", **members)
    client = wire.client()
    assert outcomes(client, 8, "GET", "k") == expected
    state = wire.state(rule)
    assert (state.seen, state.fired) == (8, expected.count("x"))
    assert [firing.command for firing in state.firings] == ["GET"] * state.fired


@pytest.mark.parametrize(
    ("match", "hit", "miss"),
    [
        ({"command": "get"}, ("GET", "k"), ("TTL", "k")),
        ({"command": ["TTL", "PTTL"]}, ("pttl", "k"), ("GET", "k")),
        ({"command": "*PUSH"}, ("RPUSH", "l", "1"), ("LLEN", "l")),
        ({"key": "unacked*"}, ("HGET", "unacked_x", "f"), ("HGET", "other", "unacked")),
        ({"key": "b"}, ("MGET", "a", "b"), ("MGET", "a", "c")),
        ({"key": "b"}, ("EXISTS", "b"), ("SET", "a", "b")),
        ({"key": "d"}, ("EVAL", "return 1", "2", "c", "d", "e"), ("EVAL", "return 1", "1", "c", "d")),
        ({"argument": '*"id": "7"*'}, ("LPUSH", "l", '{"id": "7"}'), ("LPUSH", "l", '{"id": "8"}')),
        ({"key": "[[]x]"}, ("GET", "[x]"), ("GET", "x")),
    ],
)
def test_a_rule_takes_what_matches_and_nothing_else(
    wire: Wire, match: dict[str, Any], hit: tuple[str, ...], miss: tuple[str, ...]
) -> None:
    wire.rule("before", "error", error="ERR x", **match)
    client = wire.client()
    assert outcomes(client, 1, *miss) == "."
    assert outcomes(client, 1, *hit) == "x"


@pytest.mark.parametrize("how", ["sha", "registered", "learned", "eval"])
def test_a_rule_finds_a_script_by_hash_or_name(wire: Wire, how: str) -> None:
    source = f"-- claim_{how}.lua\nreturn 7" if how == "learned" else f"return 7 -- {how}"
    sha = hashlib.sha1(source.encode()).hexdigest()
    client = wire.client()
    pattern = {"sha": sha, "registered": "claim_r*", "learned": "claim_learned", "eval": sha[:12] + "*"}[how]
    wire.rule("after", "error", error="ERR x", script=pattern)
    if how == "registered":
        wire.api.name_script(sha, "claim_registered")
    assert client.script_load(source) == sha, "loading is not calling"
    other = client.script_load("return 8")
    assert outcomes(client, 2, "EVALSHA", other, "0") == ".."
    call = ("EVAL", source, "0") if how == "eval" else ("EVALSHA", sha.upper(), "0")
    assert outcomes(client, 1, *call) == "x"


def test_a_rule_finds_a_connection_by_its_name(wire: Wire) -> None:
    wire.rule("before", "error", error="ERR x", command="GET", connection="worker-2*")
    named = wire.client(client_name="worker-2/consumer")
    other = wire.client(client_name="worker-1")
    assert outcomes(other, 1, "GET", "k") == "."
    assert outcomes(named, 1, "GET", "k") == "x"
    named.client_setname("worker-3")
    assert outcomes(named, 1, "GET", "k") == "."


def test_a_rule_finds_a_connection_by_its_first_command(wire: Wire) -> None:
    """Celery names no connection; what one is for shows in its first command after the handshake."""
    wire.rule("before", "error", error="ERR x", command="GET", connection="BRPOP")
    consumer, other = wire.client(), wire.client()
    other.llen("k")
    consumer.execute_command("BRPOP", "k", "0.01")
    assert outcomes(other, 1, "GET", "k") == "."
    assert outcomes(consumer, 1, "GET", "k") == "x"


class TestScope:
    def test_occurrences_are_counted_for_the_proxy(self, wire: Wire) -> None:
        wire.rule("before", "error", error="ERR x", command="GET", nth=3)
        one, two = wire.client(), wire.client()
        assert outcomes(one, 1, "GET", "k") + outcomes(two, 2, "GET", "k") == "..x"

    def test_occurrences_can_be_counted_for_each_connection(self, wire: Wire) -> None:
        wire.rule("before", "error", error="ERR x", command="GET", nth=2, scope="connection")
        one, two = wire.client(), wire.client()
        assert outcomes(one, 3, "GET", "k") + outcomes(two, 3, "GET", "k") == ".x..x."

    def test_occurrences_can_be_counted_for_a_group_of_proxies(self, make_wire: MakeWire) -> None:
        wires = [make_wire(), make_wire()]
        members: dict[str, Any] = {"error": "ERR x", "command": "GET", "nth": 3, "scope": "group", "group": "all"}
        rules = [wire.rule("before", "error", **members) for wire in wires]
        one, two = wires[0].client(), wires[1].client()
        assert outcomes(one, 1, "GET", "k") + outcomes(two, 3, "GET", "k") + outcomes(one, 1, "GET", "k") == "..x.."
        assert [wire.state(rule).fired for wire, rule in zip(wires, rules, strict=True)] == [0, 1]
        for wire, rule in zip(wires, rules, strict=True):
            wire.api.remove_rule(wire.name, rule)
        wires[0].rule("before", "error", **members)
        assert outcomes(one, 3, "GET", "k") == "..x", "a group that has been left by all counts again"


def test_the_first_rule_that_is_due_acts_and_all_count(wire: Wire) -> None:
    first = wire.rule("before", "error", error="ERR first", command="GET", nth=2)
    second = wire.rule("before", "error", error="OOM second", command="GET", nth=2)
    client = wire.client()
    client.get("k")
    with pytest.raises(redis.ResponseError, match="first"):
        client.get("k")
    assert [(wire.state(rule).seen, wire.state(rule).fired) for rule in (first, second)] == [(2, 1), (2, 0)]


class TestWindow:
    def test_a_rule_begins_after_a_time(self, wire: Wire) -> None:
        rule = wire.rule("before", "error", error="ERR x", command="GET", after_ms=800)
        client = wire.client()
        assert outcomes(client, 1, "GET", "k") == "."
        assert wire.state(rule).state == "waiting"
        assert wire.state(rule).seen == 0, "what comes before its time is not counted"
        until(lambda: wire.state(rule).state == "active", "its time")
        assert outcomes(client, 1, "GET", "k") == "x"

    def test_a_rule_ends_after_a_time(self, wire: Wire) -> None:
        rule = wire.rule("before", "error", error="ERR x", command="GET", for_ms=800)
        client = wire.client()
        assert outcomes(client, 1, "GET", "k") == "x"
        until(lambda: wire.state(rule).state == "over", "its end")
        assert outcomes(client, 1, "GET", "k") == "."
        assert wire.state(rule).fired == 1, "it can still be read"

    def test_the_end_releases_what_is_held(self, wire: Wire) -> None:
        wire.rule("after", "hold", command="GET", for_ms=150)
        assert wire.client().get("k") is None


def test_a_rule_can_be_changed(wire: Wire) -> None:
    rule = wire.rule("before", "error", error="ERR x", command="GET")
    client = wire.client()
    assert outcomes(client, 1, "GET", "k") == "x"
    changed = wire.api.change_rule(wire.name, rule, match={"command": "TTL"}, error="ERR y")
    assert (changed.members["match"]["command"], changed.fired) == (["TTL"], 1)
    assert outcomes(client, 1, "GET", "k") + outcomes(client, 1, "TTL", "k") == ".x"
    with pytest.raises(ToxiproxyError, match="keeps its name"):
        wire.api.change_rule(wire.name, rule, name="other")


def test_a_removed_rule_does_nothing_more(wire: Wire) -> None:
    rule = wire.rule("after", "reset", command="BRPOP")
    client = wire.client()
    connection = client.connection
    assert connection is not None
    connection.send_command("BRPOP", "q", 5)
    until(lambda: wire.state(rule).seen, "the request")
    wire.api.remove_rule(wire.name, rule)
    wire.direct.lpush("q", "1")
    assert connection.read_response() == [b"q", b"1"], "planned, and taken back before it happened"
    assert client.ping()
