"""Which fault works on which stack, and that a case whose fault does not is left out before anything runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from taskchaos.faults.base import Ability, FaultError, On
from taskchaos.faults.schedule import FAULTS, PlannedFault, Schedule, faults_on
from taskchaos.harness.case.stack_options import Pool, ProxyKind, StackKind, StackOptions, WorkerStart
from taskchaos.harness.catalogue import fault_rows, with_where
from taskchaos.harness.profile import PROFILES
from taskchaos.harness.pytest.chaos import Chaos
from taskchaos.harness.run.folder import RunOptions
from taskchaos.harness.workload import Workload

LOCAL = StackOptions()
COMPOSE = StackOptions(place=StackKind.COMPOSE)
REAL = StackOptions(place=StackKind.COMPOSE, proxy=ProxyKind.TOXIPROXY)
HERE = {Ability.OWN_SERVER, Ability.DEBUG, Ability.PRELOAD, Ability.REPLICA, Ability.VOLATILE_DISK}
#: What takes a Redis or a process that is started for it: no container is.
STARTED_SO = {kind for kind, fault in FAULTS.items() if fault.needs & HERE}


def test_each_stack_offers_the_faults_that_it_can_do() -> None:
    assert LOCAL.abilities | {Ability.PRELOAD} == {Ability.COMMANDS, *HERE}
    assert COMPOSE.abilities == {Ability.COMMANDS, Ability.CONTAINERS}
    assert REAL.abilities == {Ability.CONTAINERS}


def test_each_stack_says_what_it_lacks() -> None:
    asked_for = {"change_release"}
    lacking = {kind for kind in FAULTS if LOCAL.missing(kind) - {Ability.PRELOAD}}
    assert lacking == {*faults_on(On.CONTAINER), *asked_for}
    assert {kind for kind in FAULTS if COMPOSE.lacks(kind)} == STARTED_SO | asked_for
    assert {kind for kind in FAULTS if REAL.lacks(kind)} == {*faults_on(On.COMMAND), *STARTED_SO, *asked_for}
    assert not replace(LOCAL, previous="python").lacks("change_release")
    assert "--previous PYTHON" in replace(COMPOSE, previous="python").lacks("change_release")
    assert "--proxy embedded" in REAL.lacks("reply_lost")
    assert "--stack compose" in LOCAL.lacks("disconnect")
    assert REAL.lacks("no_such_fault") == "", "whoever makes it says what is wrong"


def test_the_list_says_where_a_fault_works_and_why_not() -> None:
    rows = {row["fault"]: row for row in fault_rows()}
    where = {row["fault"]: row["where"] for row in with_where(list(rows.values()))}
    assert [rows["latency"][name] for name in ("local", "compose", "compose_toxiproxy")] == [True, True, True]
    assert where["latency"] == ""
    assert rows["disconnect"]["local"] == str(Ability.CONTAINERS) and rows["disconnect"]["compose"] is True
    assert where["disconnect"] == f"({Ability.CONTAINERS})"
    assert where["redis_loading"] == f"({Ability.OWN_SERVER})"


def test_a_container_fault_without_a_container_is_an_error() -> None:
    workers: dict[str, Any] = {"worker-1": object()}
    with pytest.raises(FaultError, match="disconnect: worker-1 is in no container"):
        PlannedFault("disconnect", "worker-1").make({}, workers)
    with pytest.raises(FaultError, match="disk_full: no target 'redis'; there are none on this stack"):
        PlannedFault("disk_full", "redis").make({}, workers)


@dataclass
class _Item:
    """As much of a pytest item as a case left out needs."""

    path: Path = Path("suites/test_container.py")
    name: str = "test_cut"
    nodeid: str = "suites/test_container.py::test_cut"


def _options(tmp_path: Path) -> RunOptions:
    return RunOptions(
        out=str(tmp_path / "run"),
        subjects=("stock_best",),
        seed=1,
        stack="local",
        profile=next(iter(PROFILES)),
        target_tps=None,
        proxy=ProxyKind.EMBEDDED,
        redis_server=None,
        pool=Pool.PREFORK,
        worker_start=WorkerStart.ZYGOTE,
        parallel=1,
        replay=None,
    )


def test_a_case_that_the_stack_cannot_run_is_left_out(tmp_path: Path) -> None:
    item: Any = _Item()
    with pytest.raises(pytest.skip.Exception, match="disconnect needs --stack compose"):
        Chaos(_options(tmp_path), item, "stock_best")(
            Workload(), Schedule.of(PlannedFault("disconnect", "worker-1", 0.0, 1.0))
        )
    assert not (tmp_path / "run").exists(), "nothing was run; that it is listed, the plugin sees to"


def test_what_a_machine_lacks_is_said_or_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a C compiler leaves out what needs one; where CHAOS_REQUIRE names it, that is a failure."""
    monkeypatch.setattr("taskchaos.harness.case.stack_options.compiler", lambda: None)
    schedule = Schedule.of(PlannedFault("clock", "redis", 0.0, 1.0))
    item: Any = _Item()
    with pytest.raises(pytest.skip.Exception, match="clock needs --stack local, Linux and a C compiler"):
        Chaos(_options(tmp_path), item, "stock_best")(Workload(), schedule)
    monkeypatch.setenv("CHAOS_REQUIRE", "linux,preload")
    with pytest.raises(pytest.fail.Exception, match="CHAOS_REQUIRE names preload, but clock needs"):
        Chaos(_options(tmp_path), item, "stock_best")(Workload(), schedule)
