"""Every fault, broken in every way: none of them passes as proven, held and healed, and none breaks the run.

All faults of links run at the same time, each on a link of its own; all faults of workers, producers and servers
likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from course import Course
from sabotage import CASES, Broken, Case, applies
from stack_support import add_link, started
from talking import talking
from waiting import until

from taskchaos.faults.base import Link, On
from taskchaos.faults.schedule import FAULTS, PlannedFault, faults_on
from taskchaos.faults.state import FaultState
from taskchaos.harness.case.stack_options import Pool, StackOptions
from taskchaos.harness.clock import now_ns
from taskchaos.harness.stack.local.stack import LocalStack
from taskchaos.harness.stack.redis_server import RedisServer, find_binary
from taskchaos.harness.stack.volatile_redis import VolatileRedis
from taskchaos.harness.workload import LoadModel, Workload

pytestmark = pytest.mark.usefixtures("linux")

PARAMETERS: dict[str, dict[str, int | str]] = {
    "latency": {"round_trip_ms": 20},
    "flapping": {"period_ms": 100},
    "kill_loop": {"every_ms": 50},
    **{kind: {"command": "INCRBY", "key": "talk", "every": 3} for kind in faults_on(On.COMMAND)},
    "reply_late": {"command": "INCRBY", "delay_ms": 20},
    "request_late": {"command": "INCRBY", "delay_ms": 20},
    "together": {"command": "INCRBY", "about": "any", "longest_ms": 50},
}
ON_LINKS = [*faults_on(On.LINK), *faults_on(On.COMMAND)]
ON_WORKERS = faults_on(On.WORKER)
ON_PRODUCERS = faults_on(On.PRODUCER)
#: A failover takes seconds: what comes of a broken one is in test_failover.py; of others, in test_sabotage_redis.py.
ON_SERVERS = ["redis_kill", "redis_restart", "redis_empty", "redis_pause", "redis_power_loss"]
#: A broken fault may keep the harness waiting for no longer than this, whatever it does.
NO_LONGER_S = 20.0

MakeStack = Callable[..., LocalStack]


@pytest.fixture(scope="module")
def stack_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeStack]:
    """One stack for all sabotages of faults of links, and one with a worker for each fault of workers."""
    made: dict[int, LocalStack] = {}

    def make(workers: int) -> LocalStack:
        if workers not in made:
            workload = Workload(model=LoadModel.PREFILL, prefill=1)
            options = StackOptions(workers=max(1, workers), pool=Pool.PREFORK if workers else Pool.SOLO)
            made[workers] = LocalStack(tmp_path_factory.mktemp("stack"), "stock_best", workload, options).__enter__()
            made[workers].start_workers()
        return made[workers]

    yield make
    for stack in made.values():
        stack.stop()


def _sabotaged(course: Course, case: Case, targets: dict[str, object]) -> dict[str, Broken]:
    """Break each fault of a nemesis that has not begun; by the name of its target."""
    broken = {}
    names = list(targets)
    for planned, fault in course.nemesis._plan:
        other = targets[names[(names.index(planned.target) + 1) % len(names)]]
        broken[planned.target] = Broken(fault, other)
        if applies(planned.kind, fault, case):
            case.sabotage(broken[planned.target])
    return broken


def _judge(course: Course, case: Case) -> None:
    """Every fault that was broken has come to what its sabotage comes to, and to no pass."""
    for index, (planned, fault) in enumerate(course.nemesis._plan):
        states = course.states(index)
        passes = FaultState.PROVEN in states and FaultState.HEALED in states and FaultState.VANISHED not in states
        if not applies(planned.kind, fault, case):
            assert passes and FaultState.UNPROVEN not in states, (planned.kind, states)
            continue
        assert not passes or FaultState.HEAL_FAILED in states, (planned.kind, states)
        assert case.has <= set(states) and not case.lacks & set(states), (planned.kind, states)
        assert case.said in course.said(next(iter(case.has)), index), planned.kind


def _run(
    stack: LocalStack, case: Case, faults: list[PlannedFault], targets: dict[str, object], links: list[Link]
) -> None:
    course = started(stack, *faults, links=links, begin=False)
    broken = _sabotaged(course, case, targets)
    course.begin()
    assert course.nemesis.join(NO_LONGER_S), "it hangs"
    _judge(course, case)
    course.nemesis.heal_all()
    for one in broken.values():
        one.mend()
    assert course.nemesis.heal_all(), course.nemesis.unhealed


@pytest.mark.parametrize("name", list(CASES))
def test_broken_faults_of_links_never_pass(stack_of: MakeStack, name: str) -> None:
    stack, case = stack_of(0), CASES[name]
    links = [add_link(stack, f"worker-{7 + number}") for number, _ in enumerate(ON_LINKS)]
    faults = [
        PlannedFault(kind, link.name, 0.0, case.hold_s, PARAMETERS.get(kind, {}))
        for kind, link in zip(ON_LINKS, links, strict=True)
    ]
    try:
        # Of the one that takes two connections there are two.
        with talking(*links, links[ON_LINKS.index("together")]):
            _run(stack, case, faults, {link.name: link for link in links}, links)
        until(lambda: stack.whole() == "", stack.whole)
    finally:
        for link in links:
            link.api.delete(link.name)


@pytest.mark.parametrize("name", list(CASES))
def test_broken_faults_of_workers_never_pass(stack_of: MakeStack, name: str) -> None:
    stack, case = stack_of(len(ON_WORKERS)), CASES[name]
    faults = [
        PlannedFault(kind, worker, 0.0, case.hold_s, PARAMETERS.get(kind, {}))
        for kind, worker in zip(ON_WORKERS, stack.workers, strict=True)
    ]
    _run(stack, case, faults, dict(stack.workers), [])
    until(lambda: stack.whole() == "", stack.whole)
    assert stack.revive() == [], "a fault's doing is no unexpected death"


@pytest.fixture(scope="module")
def sending(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack with a producer more than there are faults of them, all sending until the end."""
    workload = Workload(rate_tps=100, baseline_s=3600, fault_s=0, healed_s=0)
    options = StackOptions(producers=len(ON_PRODUCERS) + 1, workers=1, pool=Pool.SOLO)
    with LocalStack(tmp_path_factory.mktemp("sending"), "stock_best", workload, options) as stack:
        stack.begin_load(now_ns())
        yield stack


@pytest.mark.parametrize("name", list(CASES))
def test_broken_faults_of_producers_never_pass(sending: LocalStack, name: str) -> None:
    case, producers = CASES[name], sending.producers
    faults = [PlannedFault(kind, role, 0.0, case.hold_s) for kind, role in zip(ON_PRODUCERS, producers, strict=False)]
    _run(sending, case, faults, dict(producers), [])
    assert all(producer.running() for producer in producers.values())
    assert not sending.load_done(), "a fault's doing is no unexpected death"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RedisServer]]:
    """One for each fault of servers."""
    made: dict[str, RedisServer] = {}
    for kind in ON_SERVERS:
        folder = tmp_path_factory.mktemp(kind)
        make = VolatileRedis if kind == "redis_power_loss" else RedisServer
        made[kind] = make(find_binary(None), folder / "data", folder / "log")
        made[kind].name = kind
    yield made
    for server in made.values():
        server.stop()


@pytest.mark.parametrize("name", list(CASES))
def test_broken_faults_of_servers_never_pass(
    stack_of: MakeStack, servers: dict[str, RedisServer], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, case = stack_of(0), CASES[name]
    monkeypatch.setattr(stack, "servers", {**servers})
    api = stack.links["producer-1"].api
    links = [Link(kind, "127.0.0.1", server.port, api) for kind, server in servers.items()]
    with talking(*links):
        _run(stack, case, [PlannedFault(kind, kind, 0.0, case.hold_s) for kind in ON_SERVERS], {**servers}, [])
    assert [server.whole() for server in servers.values() if server.whole()] == []
    assert [server.died() for server in servers.values() if server.died()] == []


def test_no_fault_is_left_out() -> None:
    """What is done to containers has its own in tests/docker, what is sent to the queue in test_message.py, what
    else is done to Redis, and to clocks, in test_sabotage_redis.py.
    """
    elsewhere = faults_on(On.CONTAINER, On.QUEUE, On.SERVER, On.CLOCK)
    assert {*ON_LINKS, *ON_WORKERS, *ON_PRODUCERS, *elsewhere} == FAULTS.keys()
