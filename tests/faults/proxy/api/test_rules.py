"""The routes of rules: what they refuse and how, and how rules end."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from proxy_support import Http
from resp_support import Wire, request
from waiting import until

from taskchaos.faults.command_api import CommandClient
from taskchaos.faults.toxiproxy import AlreadyExists, NotFound, ToxiproxyError

GOOD: dict[str, Any] = {"at": "before", "action": "reset"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"action": "reset"}, "missing required member: at"),
        ({"at": "before"}, "missing required member: action"),
        ({**GOOD, "at": "during"}, "at must be one of before, after"),
        ({**GOOD, "action": "explode"}, "action must be one of reset, close, silence, delay, error, truncate, hold"),
        ({**GOOD, "nht": 7}, "a rule has no member 'nht'"),
        ({**GOOD, "match": {"cmd": "GET"}}, "match has no member 'cmd'"),
        ({**GOOD, "match": []}, "match must be an object"),
        ({**GOOD, "match": {"command": [1]}}, "match.command must be a name"),
        ({**GOOD, "match": {"key": 1}}, "match.key must be a text"),
        ({**GOOD, "nth": -1}, "nth must be a whole number"),
        ({**GOOD, "nth": 1.5}, "nth must be a whole number"),
        ({**GOOD, "nth": True}, "nth must be a whole number"),
        ({**GOOD, "nth": 1, "every": 2}, "only one of nth, every and first"),
        ({**GOOD, "action": "delay"}, "delay (ms, more than 0) goes with"),
        ({**GOOD, "delay": 5}, "delay (ms, more than 0) goes with"),
        ({**GOOD, "action": "meet"}, "delay (ms, more than 0) goes with"),
        ({**GOOD, "at": "after", "action": "meet", "delay": 5}, "meet is for commands that have not been executed"),
        ({**GOOD, "action": "error"}, "error (a text such as"),
        ({**GOOD, "action": "error", "error": "A\r\n+OK"}, "error must be one line"),
        ({**GOOD, "action": "error", "error": "  "}, "error must be one line"),
        ({**GOOD, "mute": True}, "mute goes with the action silence only"),
        ({**GOOD, "mute": 1}, "mute must be true or false"),
        ({**GOOD, "scope": "group"}, "group goes with the scope group"),
        ({**GOOD, "scope": "world"}, "scope must be one of proxy, connection, group"),
        ({**GOOD, "after": 10**12}, "after must be a whole number from 0 to"),
        ([], "it must be a JSON object"),
        ("", "bad request body: EOF"),
    ],
)
def test_a_bad_rule_is_refused(wire: Wire, body: object, message: str) -> None:
    answer = Http(wire.api.host, wire.api.port)("POST", f"/proxies/{wire.name}/rules", body)
    assert answer.status == 400
    assert message in answer.json["error"]
    assert answer.json["status"] == 400
    assert wire.api.rules(wire.name) == ()


def test_what_does_not_exist_is_not_found(wire: Wire) -> None:
    for call in (
        lambda: wire.api.rule(wire.name, "none"),
        lambda: wire.api.release(wire.name, "none"),
        lambda: wire.api.rules("nobody"),
        lambda: wire.api.add_rule("nobody", **GOOD),
        lambda: wire.api.keep_journal("nobody"),
    ):
        with pytest.raises(NotFound):
            call()
    assert wire.api.remove_rule(wire.name, "none") is False


def test_rules_have_unique_names(wire: Wire) -> None:
    assert wire.api.add_rule(wire.name, **GOOD).name == "rule_1"
    assert wire.api.add_rule(wire.name, name="mine", **GOOD).name == "mine"
    assert wire.api.add_rule(wire.name, **GOOD).name == "rule_2"
    with pytest.raises(AlreadyExists, match="rule already exists"):
        wire.api.add_rule(wire.name, name="mine", **GOOD)
    assert [rule.name for rule in wire.api.rules(wire.name)] == ["rule_1", "mine", "rule_2"]


@pytest.mark.parametrize(("path", "status"), [("/journal?since=x", 400), ("/events?since=-1", 400), ("/rules", 404)])
def test_a_bad_query_is_refused(wire: Wire, path: str, status: int) -> None:
    assert Http(wire.api.host, wire.api.port)("GET", path).status == status


def test_scripts_are_checked(wire: Wire) -> None:
    with pytest.raises(ToxiproxyError, match="40 hexadecimal digits"):
        wire.api.name_script("abc", "x")
    with pytest.raises(ToxiproxyError, match="name must be a text"):
        wire.api.name_script("a" * 40, "")


def test_a_reset_removes_rules_and_releases_what_they_hold(wire: Wire) -> None:
    rule = wire.rule("after", "hold", command="GET")
    with wire.raw() as sock:
        sock.sendall(request("GET", "k"))
        until(lambda: wire.state(rule).held, "the hold")
        wire.api.reset()
        assert sock.recv(5) == b"$-1\r\n"
    assert wire.api.rules(wire.name) == ()


def test_toxics_come_after_rules(wire: Wire) -> None:
    """The toxics come after the rules: what a rule holds back or makes up meets them too."""
    wire.rule("before", "error", error="ERR x", command="GET")
    wire.api._call(
        wire.api._api.post,
        f"/proxies/{wire.name}/toxics",
        {"type": "slicer", "attributes": {"average_size": 1, "size_variation": 0, "delay": 0}},
    )
    with wire.raw() as sock:
        sock.sendall(request("SET", "a", "1") + request("GET", "k") + request("ECHO", "x"))
        received = b""
        while not received.endswith(b"$1\r\nx\r\n"):
            received += sock.recv(100)
    assert received == b"+OK\r\n-ERR x\r\n$1\r\nx\r\n"


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 10**19), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=5), inner, max_size=2)),
    max_leaves=4,
)
NAMES = ["at", "action", "match", "nth", "every", "first", "times", "scope", "group", "delay", "error", "mute", "for"]


@given(st.dictionaries(st.sampled_from(NAMES), json_values, max_size=5))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_body_breaks_the_server(wire: Wire, members: dict[str, Any]) -> None:
    api: CommandClient = wire.api
    answer = Http(api.host, api.port)("POST", f"/proxies/{wire.name}/rules", {**GOOD, **members})
    assert answer.status in (201, 400)
    for rule in api.rules(wire.name):
        api.remove_rule(wire.name, rule.name)
