"""Every fault of containers on a real stack: it bites, it is proven, it heals, and healing twice does no harm."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from course import Course
from docker_support import left, missing
from redis.exceptions import ResponseError
from sabotage import CASES, Broken, Case, applies
from waiting import until

from taskchaos.faults.base import Evidence, Fault, FaultError
from taskchaos.faults.nemesis import Change, Nemesis
from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.faults.state import FaultState
from taskchaos.harness.case.stack_options import Pool, ProxyKind, StackKind, StackOptions
from taskchaos.harness.clock import now_ns
from taskchaos.harness.stack.containers import images
from taskchaos.harness.stack.containers.stack import ComposeStack
from taskchaos.harness.workload import LoadModel, Workload


@pytest.fixture
def stack(
    request: pytest.FixtureRequest, tmp_path: Path, require: Callable[[str, bool, str], None]
) -> Iterator[ComposeStack]:
    """A stack whose workers run; parametrize to choose the pool."""
    lacking = missing()
    require("docker", not lacking, lacking)
    pool = getattr(request, "param", Pool.PREFORK)
    options = StackOptions(place=StackKind.COMPOSE, proxy=ProxyKind.TOXIPROXY, pool=pool, redis_disk_mb=8)
    images.prepare(options)
    workload = Workload(model=LoadModel.PREFILL, prefill=1)
    with ComposeStack(tmp_path / "case", "stock_best", workload, options) as one:
        one.start_workers()
        yield one
        assert one.whole() == ""
    assert left(one.project) == []


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeStack]:
    """One stack for all sabotages."""
    if lacking := missing():
        pytest.skip(lacking)
    options = StackOptions(place=StackKind.COMPOSE, proxy=ProxyKind.TOXIPROXY, redis_disk_mb=8)
    images.prepare(options)
    workload = Workload(model=LoadModel.PREFILL, prefill=1)
    with ComposeStack(tmp_path_factory.mktemp("sabotage") / "case", "stock_best", workload, options) as one:
        one.start_workers()
        yield one
    assert left(one.project) == []


def _make(stack: ComposeStack, kind: str, target: str) -> Fault:
    return PlannedFault(kind, target).make(stack.links, stack.workers, stack.servers)


def _proven(fault: Fault) -> Evidence:
    found: list[Evidence] = []

    def seen() -> bool:
        found.extend([evidence] if (evidence := fault.prove()) else [])
        return bool(found)

    until(seen, "evidence", fault.proof_deadline_s)
    return found[0]


def _heals(fault: Fault) -> None:
    fault.heal()
    assert fault.verify_healed()
    fault.heal()
    assert fault.verify_healed()


def test_a_worker_is_cut_off_and_comes_back_under_its_names(stack: ComposeStack) -> None:
    worker = stack.workers["worker-1"]
    before = worker._joined()
    address = stack._address("worker-1")
    fault = _make(stack, "disconnect", "worker-1")
    assert fault.prove() is None
    fault.inject()
    assert "no network" in _proven(fault).seen
    assert worker.ready() and not fault.healed() and worker._joined() == {}
    _heals(fault)
    assert worker._joined() == before
    assert stack._address("worker-1") == address, "no other container came meanwhile"
    assert stack.workers["worker-2"].connected()


def test_memory_runs_out_and_the_kernel_kills_one_pool_child(stack: ComposeStack) -> None:
    worker = stack.workers["worker-1"]
    parent, children = worker.pid, worker.children()
    fault = _make(stack, "out_of_memory", "worker-1")
    assert fault.prove() is None
    fault.inject()
    evidence = _proven(fault)
    assert evidence.killed_pids == children[:1] and "memory ran out" in evidence.seen
    _heals(fault)
    assert worker.pid == parent and worker.children()[:1] == children[1:], "the parent has replaced the child"
    assert stack.revive() == [] and worker.starts == 1


@pytest.mark.parametrize("stack", [Pool.THREADS, Pool.SOLO], indirect=True)
def test_without_pool_children_the_parent_is_killed(stack: ComposeStack) -> None:
    worker = stack.workers["worker-1"]
    parent = worker.pid
    fault = _make(stack, "out_of_memory", "worker-1")
    fault.inject()
    assert _proven(fault).killed_pids == (parent,)
    assert stack.revive() == [], "a fault's doing is no unexpected death"
    _heals(fault)
    assert worker.pid != parent and worker.starts == 2


def test_a_full_disk_makes_redis_refuse_writes(stack: ComposeStack) -> None:
    fault = _make(stack, "disk_full", "redis")
    assert fault.prove() is None
    assert stack.inspector.set("kept", 1)
    fault.inject()
    _proven(fault)
    until(lambda: "MISCONF" in stack.servers["redis"].refuses_writes())
    with pytest.raises(ResponseError, match="MISCONF"):
        stack.inspector.set("refused", 1)
    assert not fault.healed()
    _heals(fault)
    assert stack.inspector.get("kept") == b"1" and stack.inspector.set("again", 1)


def test_a_schedule_of_container_faults_is_proven_and_healed(stack: ComposeStack) -> None:
    changes: list[Change] = []
    schedule = Schedule.of(PlannedFault("disconnect", "worker-1", 0, 1), PlannedFault("disk_full", "redis", 0, 1.5))
    nemesis = Nemesis(schedule, stack.links, stack.workers, changes.append, lambda index, undo: None, stack.servers)
    nemesis.start(time.monotonic())
    assert nemesis.join(20) and nemesis.heal_all()
    for index in (0, 1):
        states = [change.state for change in changes if change.index == index]
        assert states == [FaultState.INJECTED, FaultState.PROVEN, FaultState.HELD, FaultState.HEALED]


@pytest.mark.parametrize("name", list(CASES))
def test_broken_faults_of_containers_never_pass(running: ComposeStack, name: str) -> None:
    """As tests/faults does it with all others: broken in any way, none of them passes as proven, held and healed."""
    case = CASES[name]
    _run_sabotaged(
        running,
        case,
        PlannedFault("disconnect", "worker-1", 0, case.hold_s),
        PlannedFault("out_of_memory", "worker-2", 0, case.hold_s),
    )
    _run_sabotaged(running, case, PlannedFault("disk_full", "redis", 0, case.hold_s))  # apart: it ends workers


def _run_sabotaged(running: ComposeStack, case: Case, *faults: PlannedFault) -> None:
    changes: list[Change] = []
    schedule, broken = Schedule.of(*faults), []
    nemesis = Nemesis(
        schedule, running.links, running.workers, changes.append, lambda index, undo: None, running.servers
    )
    course = Course(changes, nemesis)
    others = {"disconnect": running.workers["worker-2"], "out_of_memory": running.workers["worker-1"]}
    for planned, fault in nemesis._plan:
        if _breaks(planned.kind, fault, case):
            broken.append(Broken(fault, others.get(planned.kind)))
            case.sabotage(broken[-1])
    course.begin()
    assert nemesis.join(40), "it hangs"
    for index, (planned, fault) in enumerate(nemesis._plan):
        states = set(course.states(index))
        if _breaks(planned.kind, fault, case):
            assert case.has <= states and not case.lacks & states, (planned.kind, course.states(index))
        else:
            assert {FaultState.PROVEN, FaultState.HEALED} <= states, (planned.kind, course.states(index))
    nemesis.heal_all()
    for one in broken:
        one.mend()
    assert nemesis.heal_all(), nemesis.unhealed
    running.revive()
    until(lambda: running.whole() == "", running.whole)


def _breaks(kind: str, fault: Fault, case: Case) -> bool:
    """There is one Redis, so its fault has nowhere else to go."""
    return applies(kind, fault, case) and not (kind == "disk_full" and case.name == "elsewhere")


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeStack]:
    """A stack whose Redis is on the engine's disk, as it is unless a case asks for another."""
    if lacking := missing():
        pytest.skip(lacking)
    options = StackOptions(place=StackKind.COMPOSE, proxy=ProxyKind.TOXIPROXY)
    images.prepare(options)
    workload = Workload(model=LoadModel.PREFILL, prefill=1)
    with ComposeStack(tmp_path_factory.mktemp("usual") / "case", "stock_best", workload, options) as one:
        one.start_workers()
        yield one
    assert left(one.project) == []


def test_a_disk_of_the_machine_is_never_filled(usual: ComposeStack) -> None:
    with pytest.raises(FaultError, match="redis has no disk of its own to fill: run the case with redis_disk_mb"):
        _make(usual, "disk_full", "redis").inject()


@pytest.mark.parametrize("kind", ["redis_kill", "redis_restart", "redis_empty", "redis_pause"])
def test_a_fault_of_redis_bites_and_heals(usual: ComposeStack, kind: str) -> None:
    server = usual.servers["redis"]
    usual.inspector.set("kept", 1)
    pid = server.pid
    fault = _make(usual, kind, "redis")
    assert fault.prove() is None, "no evidence before it is injected"
    fault.inject()
    evidence = until(fault.prove)
    assert str(pid) in evidence.seen and (evidence.forgot_since_ns is None) == (
        kind in ("redis_restart", "redis_pause")
    )
    assert fault.holds() and not fault.healed()
    usual.check()  # what is down on purpose alarms nobody
    _heals(fault)
    assert fault.prove() is None and not fault.holds(), "no evidence after it was healed"
    assert usual.inspector.exists("kept") == (kind != "redis_empty")
    assert (server.pid == pid) == (kind == "redis_pause")
    usual.revive()
    until(lambda: usual.whole() == "", usual.whole)


def test_a_producer_beside_containers_is_killed_and_comes_back(
    tmp_path: Path, require: Callable[[str, bool, str], None]
) -> None:
    """It is a process of this machine on each stack, and so is who starts it again."""
    lacking = missing()
    require("docker", not lacking, lacking)
    options = StackOptions(place=StackKind.COMPOSE, proxy=ProxyKind.TOXIPROXY, producers=2)
    images.prepare(options)
    workload = Workload(rate_tps=100, baseline_s=600, fault_s=0, healed_s=0)
    with ComposeStack(tmp_path / "case", "stock_best", workload, options) as stack:
        stack.begin_load(now_ns())
        producer = stack.producers["producer-1"]
        first = producer.pid
        planned = PlannedFault("kill_producer", "producer-1")
        fault = planned.make(stack.links, stack.workers, producers=stack.producers)
        assert fault.prove() is None, "no evidence before it is injected"
        fault.inject()
        assert _proven(fault).killed_pids == (first,)
        assert fault.holds() and not fault.healed() and not stack.load_done()
        _heals(fault)
        assert producer.pid != first and producer.sent().begun > 0, "it has gone on sending"
        assert fault.prove() is None, "no evidence after it was healed"
    assert left(stack.project) == []
