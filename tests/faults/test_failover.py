"""Failovers of a real primary and replica by real Sentinels: followed, measured, healed."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from power_client import Setter
from waiting import until

from taskchaos.faults.base import Evidence, FaultError
from taskchaos.faults.redis_failover import Failover, FailoverKill, FailoverPlanned
from taskchaos.faults.schedule import PlannedFault
from taskchaos.harness.case.stack_options import Fsync, Pool, StackOptions
from taskchaos.harness.checker.evidence import NOTED_LATE_NS
from taskchaos.harness.clock import now_ns
from taskchaos.harness.errors import StackError, UsageError
from taskchaos.harness.stack.local.proxy_server import ProxyServer
from taskchaos.harness.stack.local.stack import LocalStack
from taskchaos.harness.stack.redis_group import RedisGroup
from taskchaos.harness.stack.redis_server import RedisServer, find_binary
from taskchaos.harness.workload import LoadModel, Workload

pytestmark = pytest.mark.usefixtures("linux", "sentinel")


@pytest.fixture
def sentinel(require: Callable[[str, bool, str], None]) -> None:
    try:
        find_binary(None)
    except UsageError as error:
        require("sentinel", False, str(error))


@dataclass
class Stage:
    """A group behind a link, and clients that set keys through it."""

    group: RedisGroup
    port: int
    number: int = 0

    def failed_over(self, make: Callable[[RedisGroup], Failover]) -> tuple[Evidence, Setter, int]:
        """Have it fail over under a client; the evidence, the client, and when it was injected. It is healed then."""
        self.number += 1
        setter = Setter(self.port, f"r{self.number}")
        fault = make(self.group)
        assert setter.enough.wait(10) and fault.prove() is None, "no evidence before it is injected"
        self.await_sample()
        fault.inject()
        injected_ns = now_ns()
        evidence = until(fault.prove)
        setter.join(stop=True)  # it may not have noticed, if it was between two commands
        assert self.group.died() == "" and fault.holds() and not fault.healed()
        fault.heal()
        assert fault.verify_healed(), self.group.whole()
        fault.heal()
        assert self.group.whole() == ""
        return evidence, setter, injected_ns

    def await_sample(self) -> None:
        """Wait until the primary was asked how far it is, after this."""
        now, offsets = now_ns(), self.group._offsets
        stream = str(self.group.figures("replication")["master_replid"])
        assert offsets is not None
        until(lambda: offsets.reached(stream, 1 << 60)[0] > now, "it is asked")

    def missing(self, setter: Setter) -> list[str]:
        """What was acknowledged and is not there."""
        keys = list(setter.acknowledged)
        return [key for key, value in zip(keys, self.group.client.mget(keys), strict=True) if value is None]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """One for each test: Sentinels may put off the next failover of a group for two minutes."""
    folder = tmp_path / "group"
    proxy = ProxyServer(folder / "proxy.log")
    proxy.connect()
    group = RedisGroup(find_binary(None), folder, folder / "logs", Fsync.EVERYSEC, proxy.client)
    try:
        port = proxy.client.create("link", f"127.0.0.1:{group.port}").port
        group.lead("link")
        yield Stage(group, port)
    finally:
        group.stop()
        proxy.stop()


@pytest.mark.parametrize(
    ("make", "loses"),
    [
        (FailoverKill, False),
        (FailoverPlanned, True),
        (lambda group: FailoverKill(group, lag_ms=300), True),
    ],
    ids=["killed", "planned", "killed, lagging"],
)
def test_no_more_is_lost_than_was_measured(stage: Stage, make: Callable[[RedisGroup], Failover], loses: bool) -> None:
    before = stage.group.port
    evidence, setter, injected_ns = stage.failed_over(make)
    assert stage.group.port != before and "Sentinel made redis-" in evidence.seen
    since_ns = evidence.forgot_since_ns
    assert since_ns is not None
    missing = [setter.acknowledged[key] for key in stage.missing(setter)]
    # A thread may note late what was acknowledged before: as late as the checker allows producers.
    assert all(since_ns <= at_ns <= injected_ns + NOTED_LATE_NS for at_ns in missing)
    assert min(setter.acknowledged.values()) < since_ns, "what was replicated is told apart"
    assert bool(missing) or not loses


def test_a_failover_that_is_not_begun_is_not_proven(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FailoverKill, "begin", lambda fault: None)
    setter = Setter(stage.port, "unproven")
    fault = FailoverKill(stage.group)
    fault.inject()
    assert fault.prove() is None and fault.healed()
    setter.join(stop=True)


def test_a_lag_that_was_none_is_not_proven(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It could not be stalled, and nothing was written: the replica had everything."""
    monkeypatch.setattr(stage.group, "stall_replication", lambda: None)
    fault = FailoverKill(stage.group, lag_ms=1)
    monkeypatch.setattr(fault, "await_clients", lambda: None)
    stage.await_sample()
    fault.inject()
    until(lambda: "it did not lag" in fault.missing(), "it was promoted")
    assert fault.prove() is None
    fault.heal()
    assert fault.verify_healed()


def test_a_failover_that_nobody_asked_for_is_the_stacks_trouble(stage: Stage) -> None:
    assert stage.group.died() == ""
    stage.group._sentinels.fail_over()  # type: ignore[union-attr]
    assert "although nothing was done to it" in until(stage.group.died)
    stage.group._wanted += 1
    stage.group.rejoin()
    assert stage.group.whole() == "" and stage.group.died() == ""


def test_it_needs_a_replica(tmp_path: Path) -> None:
    server = RedisServer(find_binary(None), tmp_path / "data", tmp_path / "log")
    try:
        with pytest.raises(FaultError, match="redis has no replica: run the case with failover=True"):
            FailoverKill(server).inject()
    finally:
        server.stop()


def test_a_stack_goes_on_at_the_new_primary(tmp_path: Path) -> None:
    """Workers, the harness's own eyes and its checks; and a primary that ends by itself is the stack's trouble."""
    workload = Workload(model=LoadModel.PREFILL, prefill=1)
    options = StackOptions(failover=True, workers=1, pool=Pool.SOLO)
    with LocalStack(tmp_path, "stock_best", workload, options) as stack:
        stack.start_workers()
        fault = PlannedFault("failover_planned", "redis").make(stack.links, stack.workers, stack.servers)
        fault.inject()
        assert fault.prove() is not None
        fault.heal()
        assert fault.verify_healed()
        until(lambda: stack.whole() == "", stack.whole)
        stack.inspector.rpush("no-queue", "no message")
        assert stack.reader.pending().opaque, "the harness's own eyes see the new primary"
        stack.check()
        stack.redis._other.server.process.signal(signal.SIGKILL)  # type: ignore[union-attr]
        with pytest.raises(StackError, match=r"redis redis-\d ended with status -9"):
            until(lambda: stack.check() or False, "it is seen")
