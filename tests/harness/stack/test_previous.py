"""Workers of two releases on one stack; what the two differ in is in tests/cli/test_mixed.py."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from stack_support import effects, ran, tail_of
from waiting import until

from taskchaos.faults.base import FaultError, Release
from taskchaos.faults.process import KillTree
from taskchaos.faults.release import ChangeRelease
from taskchaos.faults.schedule import PlannedFault
from taskchaos.faults.state import FaultState
from taskchaos.harness.case.stack_options import StackOptions
from taskchaos.harness.errors import UsageError
from taskchaos.harness.judge.reader import read_ledger
from taskchaos.harness.record.history import History
from taskchaos.harness.record.layout import LEDGER
from taskchaos.harness.stack import environment
from taskchaos.harness.stack.local.stack import LocalStack
from taskchaos.harness.stack.procfs import alive
from taskchaos.harness.workload import LoadModel, Workload

pytestmark = pytest.mark.usefixtures("linux")
OPERATIONS = 40


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """One whose second worker begins with the other release, which is this one again."""
    workload = Workload(model=LoadModel.PREFILL, prefill=OPERATIONS, work_ms=20)
    options = StackOptions(previous=sys.executable, behind=1)
    with LocalStack(tmp_path_factory.mktemp("stack"), "locked_retry", workload, options) as running:
        running.start_workers()
        yield running


def test_the_last_workers_begin_with_the_other_release_and_both_do_tasks(stack: LocalStack) -> None:
    assert [worker.release for worker in stack.workers.values()] == [Release.PRESENT, Release.PREVIOUS]
    stack.begin_load(0)
    tail = tail_of(stack)
    until(lambda: len(effects(tail)) == OPERATIONS, "all done")
    history = History()
    read_ledger(stack.folder / LEDGER, history)
    assert [(one.release, one.effects > 0) for one in history.releases] == [("present", True), ("previous", True)]
    assert sum(one.effects for one in history.releases) == OPERATIONS
    assert all("celery" in one.versions for one in history.releases)


def test_a_worker_is_of_its_release_until_that_is_changed(stack: LocalStack) -> None:
    worker = stack.workers["worker-2"]
    parent = worker.pid
    killed = KillTree(worker)
    killed.inject()
    killed.heal()
    assert killed.verify_healed() and worker.release is Release.PREVIOUS and worker.pid != parent
    for to in (Release.PRESENT, Release.PREVIOUS):
        fault = ChangeRelease(worker, grace_s=10, to=to)
        fault.inject()
        until(fault.prove)
        assert not fault.healed() and worker.release is not to
        fault.heal()
        assert fault.verify_healed() and worker.release is to
        assert stack.whole() == ""
    course = ran(stack, PlannedFault("change_release", "worker-2", 0.0, 0.1, {"to": "present"}))
    assert FaultState.PROVEN in course.states(0) and FaultState.HEALED in course.states(0)
    assert stack.revive() == [], "a fault's doing is no unexpected death"


def test_an_environment_gets_nothing_of_the_working_directory(stack: LocalStack) -> None:
    homes = {os.readlink(f"/proc/{stack.workers[role].pid}/cwd") for role in ("worker-1",)}
    assert homes == {os.getcwd()}
    fault = ChangeRelease(stack.workers["worker-2"], to="previous")
    fault.inject()
    fault.heal()
    assert os.readlink(f"/proc/{stack.workers['worker-2'].pid}/cwd") == sys.prefix


def test_what_there_is_no_environment_for_is_an_error(stack: LocalStack) -> None:
    alone = LocalStack(stack.folder / "alone", "locked_retry", Workload(), StackOptions(workers=1))
    with alone:
        alone.start_workers()
        with pytest.raises(
            FaultError, match="worker-1: there is no previous release: needs --stack local and --previous"
        ):
            alone.workers["worker-1"].change_release(Release.PREVIOUS)


@pytest.mark.parametrize("stream", ["1", "2"])
def test_what_prints_without_end_is_no_python(tmp_path: Path, stream: str) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nexec yes at >&{stream}\n")
    python.chmod(0o755)
    with pytest.raises(UsageError, match=r"is no Python that can be used: at?$"):
        environment.check(str(python), ["locked_retry"])


def test_nothing_is_left_of_what_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor of what answers, and leaves something behind."""
    monkeypatch.setattr(environment, "ANSWERS_WITHIN_S", 1.0)
    started, said = tmp_path / "pid", ("exit 0", "wait")
    for last in said:
        python = tmp_path / "python"
        python.write_text(f"#!/bin/sh\nsleep 1000 &\necho $! > {started}\n{last}\n")
        python.chmod(0o755)
        with pytest.raises(UsageError, match="has said nothing for 1 s"):
            environment.check(str(python), ["locked_retry"])
        pid = int(started.read_text())
        until(lambda: not alive(pid), "its end")  # noqa: B023
