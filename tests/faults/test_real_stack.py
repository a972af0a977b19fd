"""Every fault on a real stack: it bites, it is proven, it heals, and healing twice does no harm."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis as redis_py
from stack_support import ran
from talking import talking
from waiting import until

from taskchaos.faults.base import Evidence, FaultError, On, PingResult, Undo
from taskchaos.faults.command_api import CommandClient
from taskchaos.faults.nemesis import Change, Nemesis
from taskchaos.faults.network import Latency, LinkFault
from taskchaos.faults.process import KillTree, Pause, Restart
from taskchaos.faults.schedule import PlannedFault, Schedule, faults_on
from taskchaos.faults.state import FaultState
from taskchaos.harness.case.stack_options import StackOptions
from taskchaos.harness.errors import StackError
from taskchaos.harness.stack.local.stack import LocalStack
from taskchaos.harness.stack.procfs import alive
from taskchaos.harness.workload import LoadModel, Workload

pytestmark = pytest.mark.usefixtures("linux")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """One stack for the module; every test leaves it healed, which the last fixture step checks."""
    folder = tmp_path_factory.mktemp("stack")
    workload = Workload(model=LoadModel.PREFILL, prefill=1)
    with LocalStack(folder, "stock_best", workload, StackOptions()) as running:
        running.start_workers()
        yield running
        assert running.whole() == ""


PARAMETERS = {"latency": {"round_trip_ms": 40}, "slow_close": {"delay_ms": 300}}
EXPECTED = {
    "latency": PingResult.PONG,
    "refused": PingResult.REFUSED,
    "black_hole": PingResult.SILENCE,
    "black_hole_requests": PingResult.SILENCE,
    "black_hole_replies": PingResult.SILENCE,
    "reset": PingResult.RESET,
    "jitter": PingResult.PONG,
    "bandwidth": PingResult.PONG,
    "slicing": PingResult.PONG,
    "limit_data": PingResult.PONG,
    "slow_close": PingResult.PONG,
}


@pytest.mark.parametrize("kind", faults_on(On.LINK))
def test_a_link_fault_bites_and_heals(stack: LocalStack, kind: str) -> None:
    planned = PlannedFault(kind, "producer-1", parameters=PARAMETERS.get(kind, {}))
    fault = planned.make(stack.links, stack.workers)
    link = stack.links["producer-1"]
    with talking(link):
        assert fault.prove() is None, "no evidence before it is injected"
        fault.inject()
        try:
            if kind in EXPECTED:  # flapping is now this and now that
                assert link.ping(0.3).result is EXPECTED[kind]
            assert "of producer-1" in until(fault.prove).seen
            assert fault.holds()
            assert not fault.healed()
        finally:
            fault.heal()
        assert fault.verify_healed()
        assert fault.prove() is None and not fault.holds(), "no evidence after it was healed"
    fault.heal()
    assert fault.verify_healed()
    assert stack.links["worker-1"].ping().result is PingResult.PONG


def test_a_one_way_black_hole_executes_what_it_hides(stack: LocalStack) -> None:
    """Requests arrive and replies vanish, or the other way round: Redis knows which."""
    link, server = stack.links["producer-1"], stack.redis.client
    for kind, executed in (("black_hole_replies", True), ("black_hole_requests", False)):
        client = redis_py.Redis(host=link.host, port=link.port, socket_timeout=0.3)
        client.ping()
        fault = PlannedFault(kind, "producer-1").make(stack.links, stack.workers)
        fault.inject()
        try:
            with pytest.raises(redis_py.TimeoutError):
                client.execute_command("SET", f"seen-{kind}", 1)
        finally:
            fault.heal()
        assert fault.verify_healed()
        assert bool(server.exists(f"seen-{kind}")) is executed
        client.close()


#: By kind of command fault: its parameters, what the client meets, and whether Redis has executed the command.
AT_A_COMMAND: dict[str, tuple[dict[str, int | str], type[Exception] | None, bool]] = {
    "reply_lost": ({"how": "reset"}, redis_py.ConnectionError, True),
    "cut_before": ({"how": "reset"}, redis_py.ConnectionError, False),
    "error_reply": ({"error": "READONLY for a test"}, redis_py.exceptions.ReadOnlyError, False),
    "reply_late": ({"delay_ms": 50}, None, True),
    "request_late": ({"delay_ms": 50}, None, True),
}


def test_every_command_fault_is_tried_here() -> None:
    assert {*AT_A_COMMAND, "together"} == {*faults_on(On.COMMAND)}


def test_two_commands_about_one_task_go_together(stack: LocalStack) -> None:
    """On two links; the other way round there is no evidence, before and after neither."""
    where: dict[str, int | str] = {"command": "GETSET", "longest_ms": 5000}
    links = [stack.links[name] for name in ("producer-1", "worker-1")]
    faults = [PlannedFault("together", link.name, parameters=where).make(stack.links, stack.workers) for link in links]
    clients = [redis_py.Redis(host=link.host, port=link.port, socket_timeout=10, retry=None) for link in links]
    for fault in faults:
        assert fault.prove() is None
        fault.inject()
    try:
        with ThreadPoolExecutor() as threads:
            first = threads.submit(clients[0].execute_command, "GETSET", "lock:op-7", 1)
            api = CommandClient.beside(links[0].api)
            until(lambda: [rule.held for rule in api.rules(links[0].name)] == [1])
            assert not any(fault.prove() for fault in faults), "one alone is none"
            second = threads.submit(clients[1].execute_command, "GETSET", "lock:op-7", 2)
            assert {first.result(10), second.result(10)} in ({None, b"1"}, {None, b"2"})
        for fault in faults:
            evidence = until(fault.prove)
            assert "GETSET" in evidence.seen and "let go at the same moment" in evidence.seen
            assert [hit.op for hit in fault.hits()] == [7]
            assert fault.holds() and not fault.healed()
    finally:
        for fault in faults:
            fault.heal()
        for client in clients:
            client.close()
    for fault in faults:
        assert fault.verify_healed()
        fault.heal()
        assert fault.verify_healed()


@pytest.mark.parametrize("kind", AT_A_COMMAND)
def test_a_command_fault_bites_once_and_heals(stack: LocalStack, kind: str) -> None:
    """The second INCR of a key is hit, and no other command."""
    parameters, met, executed = AT_A_COMMAND[kind]
    key = f"hit-by-{kind}"
    where: dict[str, int | str] = {"command": "INCR", "key": key, "nth": 2}
    fault = PlannedFault(kind, "producer-1", parameters={**where, **parameters}).make(stack.links, stack.workers)
    link = stack.links["producer-1"]
    client = redis_py.Redis(host=link.host, port=link.port, socket_timeout=5, retry=None)
    fault.inject()
    try:
        assert client.execute_command("INCR", key) == 1
        assert fault.prove() is None, "the first one is not it"
        began = time.monotonic()
        if met is None:
            client.execute_command("INCR", key)
            assert time.monotonic() - began >= 0.05
        else:
            with pytest.raises(met):
                client.execute_command("INCR", key)
        evidence = fault.prove()
        assert evidence is not None
        assert "INCR" in evidence.seen
        assert int(stack.redis.client.get(key)) == (2 if executed else 1)
        client.execute_command("INCR", key)
    finally:
        fault.heal()
        client.close()
    assert fault.verify_healed()
    fault.heal()
    assert fault.verify_healed()


@pytest.mark.parametrize("kind", faults_on(On.WORKER))
def test_a_worker_fault_bites_and_heals(stack: LocalStack, kind: str) -> None:
    worker = stack.workers["worker-2"]
    before = (worker.pid, *worker.children())
    fault = PlannedFault(kind, "worker-2").make(stack.links, stack.workers)
    assert fault.prove() is None
    fault.inject()
    evidence = until(fault.prove)
    assert kind == "kill_loop" or set(evidence.killed_pids) <= set(before)
    assert not any(alive(pid) for pid in evidence.killed_pids)
    fault.heal()
    assert fault.verify_healed()
    fault.heal()
    assert fault.verify_healed()
    assert len(worker.children()) == 2
    assert stack.revive() == [], "a fault's doing is no unexpected death"


def test_a_kill_loop_tells_in_the_end_whom_it_killed(stack: LocalStack) -> None:
    """Most after its evidence was found: what they were doing ended there as well."""
    course = ran(stack, PlannedFault("kill_loop", "worker-2", 0.0, 1.0, {"every_ms": 100}))
    early, late = (set(course.evidence(state).killed_pids) for state in (FaultState.PROVEN, FaultState.HEALED))
    assert early < late and not any(alive(pid) for pid in late)
    assert stack.revive() == [], "a fault's doing is no unexpected death"


def test_a_kill_says_whom_it_killed(stack: LocalStack) -> None:
    worker = stack.workers["worker-2"]
    victims = {worker.pid, *worker.children()}
    fault = KillTree(worker)
    fault.inject()
    evidence = fault.prove()
    fault.heal()
    assert evidence is not None
    assert set(evidence.killed_pids) == victims
    assert fault.verify_healed()


def test_a_pause_says_whom_it_stopped(stack: LocalStack) -> None:
    worker = stack.workers["worker-2"]
    fault = Pause(worker)
    fault.inject()
    evidence = fault.prove()
    fault.heal()
    assert evidence is not None
    assert evidence.stopped_pids == (worker.pid, *worker.children()) and not evidence.killed_pids
    assert fault.verify_healed()


@pytest.mark.parametrize(("grace_s", "at_least_s"), [(0, 0.0), (20, 0.1)])
def test_a_restart_kills_what_has_not_ended_within_its_grace(
    stack: LocalStack, grace_s: int, at_least_s: float
) -> None:
    worker = stack.workers["worker-2"]
    tree = (worker.pid, *worker.children())
    fault = Restart(worker, grace_s=grace_s)
    began = time.monotonic()
    fault.inject()
    assert at_least_s <= time.monotonic() - began < 10.0
    evidence = fault.prove()
    assert evidence is not None and evidence.killed_pids == tree
    assert stack.revive() == [], "a fault's doing is no unexpected death"
    fault.heal()
    assert fault.verify_healed() and worker.pid not in tree


@pytest.mark.parametrize(
    ("told", "says"), [("SIGTERM", "Warm shutdown"), ("SIGINT", "Warm shutdown"), ("SIGQUIT", "Cold shutdown")]
)
def test_a_restart_tells_the_worker_as_it_is_to(stack: LocalStack, told: str, says: str) -> None:
    worker = stack.workers["worker-2"]
    log = stack.logs / "worker-2.log"
    before = log.read_text().count(says)
    fault = Restart(worker, grace_s=20, told=told)
    fault.inject()
    evidence = fault.prove()
    fault.heal()
    assert evidence is not None and told in evidence.seen
    assert log.read_text().count(says) == before + 1
    assert fault.verify_healed()


# --- the nemesis ---------------------------------------------------------------------------------------------------


def _nemesis(stack: LocalStack, schedule: Schedule) -> tuple[Nemesis, list[Change], list[tuple[int, Undo]]]:
    changes: list[Change] = []
    undo: list[tuple[int, Undo]] = []
    return (
        Nemesis(schedule, stack.links, stack.workers, changes.append, lambda i, u: undo.append((i, u))),
        changes,
        undo,
    )


def test_a_schedule_runs_its_course(stack: LocalStack) -> None:
    schedule = Schedule.of(
        PlannedFault("latency", "producer-1", 0.0, 0.2, {"round_trip_ms": 30}),
        PlannedFault("refused", "worker-1-results", 0.1, 0.2),
    )
    nemesis, changes, undo = _nemesis(stack, schedule)
    with talking(stack.links["producer-1"], stack.links["worker-1-results"]):
        nemesis.start(time.monotonic())
        assert nemesis.join(10.0)
    assert nemesis.heal_all()
    for index in (0, 1):
        states = [c.state for c in changes if c.index == index]
        assert states == [FaultState.INJECTED, FaultState.PROVEN, FaultState.HELD, FaultState.HEALED]
    assert [i for i, _ in undo] == [0, 1]


def test_a_fault_waits_for_a_late_one_of_its_kind_on_its_target(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine a proof or a heal takes longer than planned; the next cut then was refused by the proxy."""
    schedule = Schedule.of(*(PlannedFault("black_hole_replies", "worker-1", at_s, 0.2) for at_s in (0.0, 0.3)))
    nemesis, changes, _ = _nemesis(stack, schedule)
    may_heal, heal = threading.Event(), LinkFault.heal

    def late(fault: LinkFault) -> None:
        may_heal.wait(10.0)
        heal(fault)

    monkeypatch.setattr(LinkFault, "heal", late)
    with talking(stack.links["worker-1"]):
        begun_s = time.monotonic()
        nemesis.start(begun_s)
        until(lambda: time.monotonic() > begun_s + 0.5)
        assert not any(change.index == 1 for change in changes), "the second has to wait"
        may_heal.set()
        assert nemesis.join(10.0)
    assert nemesis.done and nemesis.heal_all()
    course = [FaultState.INJECTED, FaultState.PROVEN, FaultState.HELD, FaultState.HEALED]
    assert [(c.index, c.state) for c in changes] == [(index, state) for index in (0, 1) for state in course]


def test_heal_all_ends_a_schedule_in_the_middle(stack: LocalStack) -> None:
    nemesis, changes, _ = _nemesis(stack, Schedule.of(PlannedFault("refused", "producer-1", 0.0, hold_s=600.0)))
    nemesis.start(time.monotonic())
    link = stack.links["producer-1"]
    until(lambda: link.ping().result is PingResult.REFUSED)
    assert nemesis.heal_all()
    assert link.ping().result is PingResult.PONG
    assert changes[-1].state is FaultState.HEALED


def test_a_fault_that_does_nothing_is_unproven(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Latency, "_apply", lambda self: None)
    monkeypatch.setattr(Latency, "proof_deadline_s", 0.2)
    nemesis, changes, _ = _nemesis(stack, Schedule.of(PlannedFault("latency", "producer-1", 0.0, 0.1)))
    nemesis.start(time.monotonic())
    assert nemesis.join(10.0)
    assert FaultState.UNPROVEN in [c.state for c in changes]
    assert FaultState.PROVEN not in [c.state for c in changes]


def test_a_heal_that_does_nothing_is_reported(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    heal: Callable[[LinkFault], None] = LinkFault.heal
    monkeypatch.setattr(LinkFault, "heal", lambda self: None)
    monkeypatch.setattr(LinkFault, "heal_deadline_s", 0.2)
    planned = PlannedFault("refused", "producer-1", 0.0, 0.1)
    nemesis, changes, _ = _nemesis(stack, Schedule.of(planned))
    nemesis.start(time.monotonic())
    assert nemesis.join(10.0)
    assert changes[-1].state is FaultState.HEAL_FAILED
    assert not nemesis.heal_all()
    monkeypatch.setattr(LinkFault, "heal", heal)
    assert nemesis.heal_all(), "healing again later succeeds"


def test_undo_is_written_before_the_fault_is_injected(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def inject(self: Latency) -> None:
        order.append("inject")
        raise FaultError("the proxy is gone")

    monkeypatch.setattr(Latency, "inject", inject)
    schedule = Schedule.of(PlannedFault("latency", "producer-1", 0.0, 0.1))
    changes: list[Change] = []
    nemesis = Nemesis(schedule, stack.links, stack.workers, changes.append, lambda i, u: order.append(u.target))
    nemesis.start(time.monotonic())
    assert nemesis.join(10.0)
    assert order == ["producer-1", "inject"]
    assert changes[0] == Change(0, schedule.faults[0], FaultState.UNPROVEN, Evidence("the proxy is gone"))


def test_links_are_plain_values(tmp_path: Path, stack: LocalStack) -> None:
    """Links are plain values: two of the same name and port are equal."""
    link = stack.links["producer-1"]
    assert link == type(link)(link.name, link.host, link.port, link.api)


# --- Redis itself


@pytest.mark.parametrize("kind", ["redis_kill", "redis_restart", "redis_empty", "redis_pause"])
def test_a_fault_of_redis_bites_and_heals(stack: LocalStack, kind: str) -> None:
    until(lambda: stack.redis.clients() > 0, "somebody is connected again")
    stack.redis.client.set("kept", 1)
    pid = stack.redis.pid
    fault = PlannedFault(kind, "redis").make(stack.links, stack.workers, stack.servers)
    assert fault.prove() is None, "no evidence before it is injected"
    fault.inject()
    try:
        evidence = until(fault.prove)
        assert str(pid) in evidence.seen
        assert (evidence.forgot_since_ns is None) == (kind in ("redis_restart", "redis_pause"))
        assert fault.holds() and not fault.healed()
        assert stack.links["producer-1"].ping(0.2).result is not PingResult.PONG
        stack.check()  # what is down on purpose alarms nobody
    finally:
        fault.heal()
    assert fault.verify_healed()
    assert fault.prove() is None and not fault.holds(), "no evidence after it was healed"
    fault.heal()
    assert fault.verify_healed()
    assert stack.redis.client.exists("kept") == (kind != "redis_empty")
    assert (stack.redis.pid == pid) == (kind == "redis_pause")
    until(lambda: stack.whole() == "" or (stack.revive(), False)[1], 20)


def test_a_redis_that_ends_by_itself_is_the_stacks_trouble(tmp_path: Path) -> None:
    with LocalStack(tmp_path, "stock_best", Workload(model=LoadModel.PREFILL, prefill=1), StackOptions()) as own:
        own.redis.process.signal(signal.SIGKILL)
        until(lambda: not own.redis.running())
        with pytest.raises(StackError, match="redis ended with status -9"):
            own.check()


def test_a_setting_that_was_left_behind_is_seen(stack: LocalStack) -> None:
    stack.redis.ask("CONFIG", "SET", "maxmemory", "100mb")
    try:
        assert stack.whole() == "redis is not set up as it was: maxmemory"
    finally:
        stack.redis.ask("CONFIG", "SET", "maxmemory", "0")
    stack.redis.ask("ACL", "SETUSER", "guest", "on")
    try:
        assert "its users" in stack.whole()
    finally:
        stack.redis.ask("ACL", "DELUSER", "guest")
