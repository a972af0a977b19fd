"""What a rule notes of the commands that it acts on, and that the work of it is bounded."""

import time
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from proxy_support import Http
from resp_support import MakeWire, Wire, request

from taskchaos.faults.command import OPERATION
from taskchaos.faults.proxy.redis.capture import KEPT, LONGEST_BYTES, SEARCHED_BYTES, Capture, wrong_with

GOOD: dict[str, Any] = {"at": "before", "action": "reset"}


@pytest.mark.parametrize("pattern", [OPERATION, "", r"[a-z]{1,4}-\d{1,9}", r"id=(\w{4})", r"(?:a|b)c?", r"[+*(]\+\*"])
def test_a_bounded_pattern_is_accepted(pattern: str) -> None:
    assert wrong_with(pattern) == ""


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (r"op-(\d+)", "+ has no bound: write how many there may be, such as {1,18}"),
        ("a*", "* has no bound"),
        ("a{3,}", "{3,} has no bound"),
        ("(ab){1,9}", "a group cannot be repeated"),
        ("(?=a)", "(? is not allowed"),
        ("(?P<x>a)", "(? is not allowed"),
        (r"(a)\1", r"\1 is not allowed"),
        ("a{1,9}b{1,9}", "it may need 81 steps"),
        ("|".join("abcdefgh"), "it may need 128 steps"),
        ("a" * 201, "it may have 200 characters"),
        ("(a", "missing ), unterminated subpattern"),
        ("a{999999999999}", "it may need 999999999999 steps"),
    ],
)
def test_an_unbounded_pattern_is_refused(wire: Wire, pattern: str, why: str) -> None:
    assert why in wrong_with(pattern)
    answer = Http(wire.api.host, wire.api.port)("POST", f"/proxies/{wire.name}/rules", {**GOOD, "capture": pattern})
    assert answer.status == 400 and f"bad rule: capture: {why}" in answer.json["error"]


@given(st.text(alphabet=r"ab01(|)?{}[],\d-", max_size=14))
def test_what_is_accepted_is_searched_in_time(pattern: str) -> None:
    if wrong_with(pattern):
        return
    began = time.process_time()
    Capture(pattern)([b"ab0a1b" * 100])
    assert time.process_time() - began < 0.1


def test_only_so_much_is_searched_and_kept() -> None:
    capture = Capture(r"op-(\d{1,18})")
    assert capture([b"op-1 op-2", b"op-1", b"op-x", b"op-33"]) == ["1", "2", "33"]
    assert capture([b"-" * SEARCHED_BYTES, b"op-1"]) == []
    assert len(capture([b" ".join(b"op-%d" % n for n in range(1000))])) == KEPT
    assert Capture(r"[a]{1,64}")([b"a" * 100]) == ["a" * 64, "a" * 36] and LONGEST_BYTES == 64
    assert Capture("")([b"op-1"]) == []


def test_request_and_reply_are_captured(wire: Wire) -> None:
    wire.direct.rpush("queue", "message of op-17")
    rule = wire.rule("after", "delay", delay=1, command=["BRPOP", "LPUSH"], capture=OPERATION)
    client = wire.client()
    assert client.brpop(["queue"], timeout=1) == [b"queue", b"message of op-17"]
    client.lpush("queue", "op-4", "op-5 and op-4")
    assert client.brpop(["other"], timeout=0.05) is None
    firings = wire.state(rule).firings
    assert [(firing.command, firing.captured) for firing in firings] == [
        ("BRPOP", ("17",)),
        ("LPUSH", ("4", "5")),
        ("BRPOP", ()),
    ]
    assert {firing.client for firing in firings} == {one.client for one in wire.api.traffic(wire.name)[1]}, (
        "whose it was"
    )


@pytest.mark.parametrize("action", ["reset", "error", "silence"])
def test_a_command_that_never_arrives_is_captured(wire: Wire, action: str) -> None:
    more = {"error": {"error": "NO"}, "silence": {"mute": True}}.get(action, {})
    rule = wire.rule("before", action, command="SET", capture=OPERATION, **more)
    with pytest.raises((redis.RedisError, OSError)):
        wire.client(timeout_s=0.2).set("lock-op-8", 1)
    assert [firing.captured for firing in wire.state(rule).firings] == [("8",)]


def test_the_chosen_commands_of_a_block_are_captured(wire: Wire) -> None:
    """Its commands are chosen one by one, and met at the EXEC."""
    rule = wire.rule("after", "error", error="NO", command="SET", capture=OPERATION)
    with wire.raw() as sock:
        for block in (
            (("MULTI",), ("SET", "k", "op-1"), ("GET", "op-9"), ("SET", "k", "op-2"), ("EXEC",)),
            (("MULTI",), ("SET", "k", "op-3"), ("DISCARD",)),
            (("SET", "k", "op-4"),),
        ):
            for command in block:
                sock.sendall(request(*command))
                assert sock.recv(200)
    firings = wire.state(rule).firings
    assert [(firing.command, firing.captured) for firing in firings] == [("EXEC", ("1", "2")), ("SET", ("4",))]


def test_what_a_rule_has_seen_is_told_when_it_is_removed(make_wire: MakeWire) -> None:
    wire = make_wire()
    rule = wire.rule("before", "delay", delay=1, command="SET", capture=OPERATION)
    wire.client().set("op-6", 1)
    ended = wire.api.end_rule(wire.name, rule)
    assert ended is not None and ended.members["capture"] == OPERATION
    assert (ended.fired, ended.firings[0].captured) == (1, ("6",))
    assert wire.api.end_rule(wire.name, rule) is None
