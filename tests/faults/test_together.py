"""Two commands that go together, as schedules have it: what is evidence, what is not, and what is said then."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import redis
from resp_support import Wire

from taskchaos.faults.base import Link
from taskchaos.faults.schedule import PlannedFault
from taskchaos.faults.together import Together
from taskchaos.faults.toxiproxy import ToxiproxyClient


def together(wire: Wire, **parameters: int | str) -> Together:
    link = Link(wire.name, "127.0.0.1", wire.port, ToxiproxyClient(wire.api.host, wire.api.port))
    planned = PlannedFault("together", wire.name, parameters={"command": "GET", "longest_ms": 50, **parameters})
    made = planned.make({wire.name: link}, {})
    assert isinstance(made, Together)
    return made


@contextmanager
def in_force(fault: Together) -> Iterator[Together]:
    fault.inject()
    try:
        yield fault
    finally:
        fault.heal()
    assert fault.verify_healed()


def both(wire: Wire, one: str, other: str) -> None:
    """Two connections ask at the same time."""
    clients, ready = (wire.client(), wire.client()), threading.Barrier(2)

    def ask(client: redis.Redis[bytes], key: str) -> None:
        ready.wait(10)
        client.get(key)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(ask, clients, (one, other)))


def test_each_pair_is_told_and_whom_it_was_about(wire: Wire) -> None:
    with in_force(together(wire, longest_ms=10_000)) as fault:
        for number in (3, 4, 5):
            both(wire, f"lock:op-{number}", f"lock:op-{number}")
        evidence = fault.prove()
        assert evidence is not None and "fired 6 times, last on GET" in evidence.seen
        assert "let go at the same moment as one about the same task" in evidence.seen
        assert sorted({hit.op for hit in fault.hits()}) == [3, 4, 5]
        both(wire, "lock:op-6", "lock:op-6")
    assert "fired 8 times" in fault.in_all(), "what came after the evidence is told in the end"


@pytest.mark.parametrize("keys", [("lock:op-1", "lock:op-2"), ("lock", "lock")])
def test_what_is_about_two_tasks_or_none_is_no_evidence(wire: Wire, keys: tuple[str, str]) -> None:
    with in_force(together(wire)) as fault:
        both(wire, *keys)
        assert fault.prove() is None
        assert "GET came 2 times, and none met another one of the same task within 50 ms" in fault.missing()
        assert "delivered twice" in fault.missing()


def test_any_two_may_go_together(wire: Wire) -> None:
    with in_force(together(wire, about="any", longest_ms=10_000)) as fault:
        both(wire, "lock:op-1", "queue")
        evidence = fault.prove()
        assert evidence is not None and "as one of another connection" in evidence.seen
        assert fault.hits() == ()


def test_a_command_that_nobody_sends_is_said(wire: Wire) -> None:
    with in_force(together(wire)) as fault:
        wire.client().incr("other")
        assert fault.prove() is None
        assert "no GET came from" in fault.missing()


def test_healing_lets_go_of_who_waits(wire: Wire) -> None:
    fault = together(wire, longest_ms=60_000)
    client = wire.client()
    with ThreadPoolExecutor(1) as threads:
        with in_force(fault):
            waits = threads.submit(client.get, "lock:op-1")
        assert waits.result(10) is None
