"""Commands of two connections that wait for one another, on real Redis."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import redis
from proxy_support import receive
from resp_support import MakeWire, Wire, request
from waiting import until

OPERATION = r"op-(\d{1,18})"
LONG_MS = 60_000

Ask = Callable[..., Future[Any]]


@pytest.fixture
def ask(wire: Wire) -> Iterator[Ask]:
    """Have a client of the wire send a command, and do not wait for the answer."""
    with ThreadPoolExecutor(8) as threads:
        yield lambda client, *words: threads.submit(client.execute_command, *words)
        for rule in wire.api.rules(wire.name):
            wire.api.remove_rule(wire.name, rule.name)


def meet(wire: Wire, longest_ms: int = LONG_MS, **members: Any) -> str:
    return wire.rule("before", "meet", command="GET", delay=longest_ms, **members)


def held(wire: Wire, rule: str, number: int = 1) -> None:
    until(lambda: wire.state(rule).held == number, f"{number} held")


def test_two_about_the_same_pass_together(wire: Wire, ask: Ask) -> None:
    rule = meet(wire, capture=OPERATION)
    one, two = wire.client(), wire.client()
    first = ask(one, "GET", "lock:op-1")
    held(wire, rule)
    assert wire.state(rule).fired == 0, "to wait is not to have met"
    second = ask(two, "GET", "lock:op-1")
    assert first.result(10) is None and second.result(10) is None
    state = wire.state(rule)
    early, late = state.firings
    assert (state.fired, state.held) == (2, 0)
    assert (early.met, late.met) == (late.index, early.index) and early.connection != late.connection
    assert early.captured == late.captured == ("1",)


def test_who_looks_and_then_takes_is_always_wrong(wire: Wire) -> None:
    """Both have looked before either has taken it: each time, not now and then."""
    meet(wire, capture=OPERATION)
    clients = wire.client(), wire.client()

    def take(client: redis.Redis[Any], key: str) -> bool:
        return client.get(key) is None and bool(client.set(key, "mine"))

    with ThreadPoolExecutor(2) as threads:
        for number in range(50):
            assert all(threads.map(take, clients, [f"lock:op-{number}"] * 2))


def test_others_do_not_meet(wire: Wire, ask: Ask) -> None:
    rule = meet(wire, capture=OPERATION)
    one, two = wire.client(), wire.client()
    first = ask(one, "GET", "lock:op-1")
    held(wire, rule)
    second = ask(two, "GET", "lock:op-2")
    held(wire, rule, 2)
    assert wire.client().get("about nothing") is None
    assert wire.api.release(wire.name, rule) == 2
    assert first.result(10) is None and second.result(10) is None
    assert wire.state(rule).fired == 0


def test_without_a_capture_any_two_meet(wire: Wire, ask: Ask) -> None:
    rule = meet(wire)
    one, two = wire.client(), wire.client()
    first = ask(one, "GET", "a")
    held(wire, rule)
    assert ask(two, "GET", "b").result(10) is None and first.result(10) is None
    assert wire.state(rule).fired == 2


def test_a_connection_does_not_meet_itself(wire: Wire, ask: Ask) -> None:
    rule = meet(wire)
    with wire.raw() as sock:
        sock.sendall(2 * request("GET", "a"))
        held(wire, rule, 2)
        assert wire.state(rule).fired == 0
        assert ask(wire.client(), "GET", "a").result(10) is None, "but whoever comes"
        assert wire.state(rule).fired == 2


def test_who_meets_nobody_goes_on_alone(wire: Wire) -> None:
    rule = meet(wire, longest_ms=100, capture=OPERATION)
    client = wire.client()
    began = time.monotonic()
    assert client.get("lock:op-1") is None
    assert time.monotonic() - began >= 0.1
    assert (wire.state(rule).seen, wire.state(rule).fired, wire.state(rule).held) == (1, 0, 0)
    other = wire.client()
    began = time.monotonic()
    assert other.get("lock:op-1") is None, "nobody meets who has gone on"
    assert time.monotonic() - began >= 0.1


def test_who_has_left_is_met_by_nobody(wire: Wire, ask: Ask) -> None:
    rule = meet(wire, capture=OPERATION)
    one, two = wire.client(), wire.client()
    with wire.raw() as gone:
        gone.sendall(request("GET", "lock:op-1"))
        held(wire, rule)
    other = wire.raw()  # what has come before it, the proxy has seen
    other.sendall(request("PING"))
    assert receive(other, 7) == b"+PONG\r\n"
    first = ask(one, "GET", "lock:op-1")
    held(wire, rule, 2)
    assert ask(two, "GET", "lock:op-1").result(10) is None and first.result(10) is None
    assert wire.state(rule).fired == 2
    other.close()


def test_rules_of_one_group_meet_on_two_links(make_wire: MakeWire, ask: Ask, wire: Wire) -> None:
    other = make_wire()
    rules = [meet(each, capture=OPERATION, scope="group", group="both") for each in (wire, other)]
    first = ask(wire.client(), "GET", "lock:op-1")
    held(wire, rules[0])
    assert ask(other.client(), "GET", "lock:op-1").result(10) is None and first.result(10) is None
    assert [each.state(rule).fired for each, rule in zip((wire, other), rules, strict=True)] == [1, 1]
    first = ask(wire.client(), "GET", "lock:op-2")
    held(wire, rules[0])
    wire.api.remove_rule(wire.name, rules[0])
    assert first.result(10) is None, "the end of a rule lets go"
    alone = ask(other.client(), "GET", "lock:op-2")
    held(other, rules[1])
    other.api.remove_rule(other.name, rules[1])
    assert alone.result(10) is None
