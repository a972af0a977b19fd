"""Command faults as schedules use them; and the promise that one planned for a command fires on that command."""

import hashlib
import threading
import time

import pytest
import redis
from resp_support import Wire

from taskchaos.faults.base import FaultError, Link, On
from taskchaos.faults.command import CommandFault, ErrorReply
from taskchaos.faults.nemesis import Change, Nemesis
from taskchaos.faults.schedule import PlannedFault, Schedule, faults_on
from taskchaos.faults.state import FaultState
from taskchaos.faults.toxiproxy import ToxiproxyClient

LOST = (redis.ConnectionError, redis.TimeoutError, ConnectionResetError)


def link_of(wire: Wire) -> Link:
    return Link(wire.name, "127.0.0.1", wire.port, ToxiproxyClient(wire.api.host, wire.api.port))


#: It takes two: test_together.py.
ALONE = [kind for kind in faults_on(On.COMMAND) if kind != "together"]


@pytest.mark.parametrize("kind", ALONE)
def test_a_command_fault_bites_on_its_command_alone_and_heals(wire: Wire, kind: str) -> None:
    parameters: dict[str, int | str] = {"command": "LPUSH, RPUSH", "key": "celery", "nth": 2}
    if kind.endswith("_late"):
        parameters["delay_ms"] = 20
    fault = PlannedFault(kind, wire.name, parameters=parameters).make({wire.name: link_of(wire)}, {})
    assert isinstance(fault, CommandFault)
    assert fault.prove() is None
    fault.heal()
    fault.inject()
    assert not fault.healed()
    client = wire.client()
    assert client.lpush("celery", "1") == 1
    assert fault.prove() is None, "the first one is not planned"
    if kind.endswith("_late"):
        client.rpush("celery", "2")
    else:
        with pytest.raises((redis.ResponseError, *LOST)):
            client.rpush("celery", "2")
    evidence = fault.prove()
    assert evidence is not None and "fired once, last on RPUSH" in evidence.seen
    assert wire.direct.llen("celery") == (1 if kind in ("cut_before", "error_reply") else 2)
    fault.heal()
    assert fault.verify_healed()
    fault.heal()
    assert client.rpush("celery", "3") >= 2


@pytest.mark.parametrize(("kind", "executed"), [("reply_lost", True), ("cut_before", False)])
def test_silence_is_a_dead_connection_until_it_is_healed(wire: Wire, kind: str, executed: bool) -> None:
    parameters: dict[str, int | str] = {"command": "SET", "how": "silence", "nth": 1}
    fault = PlannedFault(kind, wire.name, parameters=parameters).make({wire.name: link_of(wire)}, {})
    fault.inject()
    failures: list[BaseException] = []
    client = wire.client(timeout_s=None)

    def call() -> None:
        try:
            client.set("k", 1)
        except LOST as error:
            failures.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    while fault.prove() is None:
        pass
    assert bool(wire.direct.exists("k")) is executed
    assert thread.is_alive()
    fault.heal()
    thread.join(10)
    assert len(failures) == 1
    assert fault.verify_healed()


def test_the_nemesis_injects_proves_and_heals_it(wire: Wire) -> None:
    """A schedule injects, proves by the firing, and heals."""
    planned = PlannedFault("error_reply", wire.name, 0.0, 0.3, {"command": "GET", "error": "BUSY now", "first": 1})
    changes: list[Change] = []
    nemesis = Nemesis(Schedule.of(planned), {wire.name: link_of(wire)}, {}, changes.append, lambda index, undo: None)
    nemesis.start(time.monotonic())
    client = wire.client()
    seen = 0
    while not any(change.state is FaultState.HEALED for change in changes):
        try:
            client.get("k")
        except redis.ResponseError:
            seen += 1
    assert nemesis.heal_all()
    assert seen == 1
    assert [change.state for change in changes] == [
        FaultState.INJECTED,
        FaultState.PROVEN,
        FaultState.HELD,
        FaultState.HEALED,
    ]
    assert changes[-1].evidence is not None and "fired once, last on GET" in changes[-1].evidence.seen, "in all"


def test_a_rule_that_the_server_refuses_is_an_error(wire: Wire) -> None:
    fault = ErrorReply(link_of(wire), nth=1, every=2)
    with pytest.raises(FaultError, match="only one of nth, every and first"):
        fault.inject()
    fault.heal()


def test_the_seventh_evalsha_of_a_worker_is_hit_in_100_of_100_runs(wire: Wire) -> None:
    """Two workers with two connections each, at once; the plan is for one of them and hits it exactly."""
    source = "-- claim.lua\nreturn redis.call('INCR', KEYS[1])"
    sha = hashlib.sha1(source.encode()).hexdigest()
    wire.direct.script_load(source)
    wire.api.name_script(sha, "claim")
    workers = [wire.client(client_name=f"worker-{number}/{each}") for number in (1, 2) for each in "ab"]
    for run in range(100):
        rule = wire.rule("after", "error", error="BUSY x", script="claim", connection="worker-2/*", nth=7)
        hits: list[tuple[int, str]] = []

        def turn(number: int, run: int = run, hits: list[tuple[int, str]] = hits) -> None:
            for _ in range(5):
                try:
                    workers[number].evalsha(sha, 1, f"count-{run}-{number // 2}")
                except redis.ResponseError as error:
                    hits.append((number, str(error)))

        threads = [threading.Thread(target=turn, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        state = wire.state(rule)
        assert (state.seen, state.fired, len(hits)) == (10, 1, 1), f"run {run}"
        assert hits[0][0] in (2, 3)
        wire.api.remove_rule(wire.name, rule)
    assert wire.direct.get("count-99-1") == b"10", "all were executed"
