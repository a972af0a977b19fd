"""The compose stack: cases judged on it, what it survives, and that nothing of it stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner
from docker_support import ROOT, docker, left, missing
from waiting import until

from taskchaos.faults.base import PingResult
from taskchaos.faults.network import Latency
from taskchaos.faults.process import KillChild, KillParent, KillTree, Pause, Restart
from taskchaos.harness.case.stack_options import ProxyKind, StackKind, StackOptions
from taskchaos.harness.cli import main
from taskchaos.harness.errors import UsageError
from taskchaos.harness.judge.reader import read_ledger
from taskchaos.harness.record.history import History
from taskchaos.harness.record.layout import LEDGER
from taskchaos.harness.record.ledger_tail import ledger_tail
from taskchaos.harness.stack.containers import engine, images
from taskchaos.harness.stack.containers.stack import ComposeStack
from taskchaos.harness.stack.containers.subject_code import Code, code_of
from taskchaos.harness.stack.procfs import alive, children_of
from taskchaos.harness.workload import LoadModel, Workload


@pytest.fixture(scope="module")
def ready() -> str:
    """What is missing; the images built when nothing is."""
    lacking = missing()
    if not lacking:
        for proxy in ProxyKind:
            images.prepare(StackOptions(place=StackKind.COMPOSE, proxy=proxy))
    return lacking


@pytest.fixture
def stack(
    request: pytest.FixtureRequest, tmp_path: Path, ready: str, require: Callable[[str, bool, str], None]
) -> Iterator[ComposeStack]:
    """A started stack without workers, whose 20 operations wait to be sent; parametrize to choose the proxy."""
    require("docker", not ready, ready)
    proxy = getattr(request, "param", ProxyKind.TOXIPROXY)
    options = StackOptions(place=StackKind.COMPOSE, proxy=proxy)
    workload = Workload(model=LoadModel.PREFILL, prefill=20)
    with ComposeStack(tmp_path / "case", "stock_best", workload, options) as one:
        yield one
    assert left(one.project) == []


BOTH = pytest.mark.parametrize("stack", list(ProxyKind), indirect=True)


@BOTH
def test_operations_run_and_the_ledger_comes_back(stack: ComposeStack) -> None:
    stack.begin_load(1)
    until(stack.load_done)
    stack.start_workers()
    tail = ledger_tail(stack.folder, stack.alive)

    def done() -> bool:
        tail.follow()
        return len(tail.effects) == 20

    until(done)
    history = History()
    read_ledger(stack.folder / LEDGER, history)
    assert sorted(history.effects.op) == list(range(20))
    known = {pid for worker in stack.workers.values() for pid in worker.children()}
    assert set(history.attempts.pid) <= known, "pids of the ledger are unique in the case, and those that faults know"
    assert stack.whole() == ""


def test_each_kill_ends_what_it_says_and_no_more(stack: ComposeStack) -> None:
    stack.start_workers()
    worker, other = stack.workers["worker-1"], stack.workers["worker-2"]
    seen: list[tuple[int, ...]] = []
    for fault in (KillChild(worker), KillParent(worker), KillTree(worker), Restart(worker)):
        before = (worker.pid, *worker.children())
        fault.inject()
        evidence = []
        until(lambda f=fault, e=evidence: bool(e.extend([found] if (found := f.prove()) else []) or e))  # type: ignore[misc]
        assert set(evidence[0].killed_pids) <= set(before)
        assert not any(map(worker.alive, evidence[0].killed_pids))
        assert worker.died() is None, "a fault's doing is no crash"
        fault.heal()
        assert fault.verify_healed()
        seen.append(before)
    assert len({before[0] for before in seen}) == 3, "the parent was another after each kill of it"
    assert other.starts == 1 and other.ready()


def test_a_container_that_dies_by_itself_is_found_and_started_again(stack: ComposeStack) -> None:
    stack.start_workers()
    worker = stack.workers["worker-1"]
    worker.container.kill()
    until(lambda: worker.died() is not None)
    assert "container exited with 137" in (worker.died() or "")
    assert [role for role, _ in stack.revive()] == ["worker-1"]
    worker.wait_ready()
    assert worker.starts == 2 and stack.workers["worker-2"].starts == 1


def test_a_paused_container_is_whole_again_when_it_goes_on(stack: ComposeStack) -> None:
    stack.start_workers()
    worker = stack.workers["worker-1"]
    fault = Pause(worker)
    fault.inject()
    found = fault.prove()
    assert found is not None and found.seen == "3 process(es) stopped"
    assert found.stopped_pids == (worker.pid, *worker.children())
    assert worker.alive(worker.pid) and worker.died() is None
    assert stack.whole() == "worker-1 is stopped"
    fault.heal()
    fault.heal()
    assert fault.verify_healed() and stack.whole() == ""


def test_a_proxy_whose_api_hangs_is_restarted_and_set_right(stack: ComposeStack) -> None:
    """Paused, it answers as little as one that is deadlocked."""
    fault = Latency(stack.links["worker-1"], round_trip_ms=40)
    fault.inject()
    stack._containers["toxiproxy"].pause()
    stack.links["worker-2"].api.set_enabled("worker-2", False)
    said = stack.repairs()
    assert len(said) == 1 and "restarted" in said[0]
    assert stack.repairs() == []
    stack.check()
    assert fault.holds(), "the toxic is there again"
    assert stack.links["worker-2"].ping().result is PingResult.REFUSED
    stack.links["worker-2"].api.set_enabled("worker-2", True)
    fault.heal()
    assert fault.verify_healed() and stack.whole() == "worker-1 does not run"


def _run(out: Path, *arguments: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "taskchaos.harness.cli", "run", "--stack", "compose", "--out", str(out), *arguments]
    return subprocess.Popen(argv, cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("proxy", list(ProxyKind))
def test_the_reference_passes_and_the_control_is_caught(
    tmp_path: Path, proxy: ProxyKind, ready: str, require: Callable[[str, bool, str], None]
) -> None:
    """The same command as on the local stack: the reference passes, the known-bad control is caught."""
    require("docker", not ready, ready)
    subjects = ("-s", "locked_retry", "-s", "interview_inside")
    process = _run(tmp_path / "run", "transient_error", *subjects, "--proxy", proxy.value, "-n", "2")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    verdict = json.loads((tmp_path / "run" / "verdict.json").read_text())
    assert verdict["stack"] == "compose" and verdict["server"]["name"] in ("redis", "valkey")
    found = {case["subject"]: (case["outcome"], "lost" in case["failed_rules"]) for case in verdict["cases"]}
    assert found == {"locked_retry": ("pass", False), "interview_inside": ("fail", True)}


def test_what_a_killed_harness_leaves_is_removed_by_its_label(
    tmp_path: Path, ready: str, require: Callable[[str, bool, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    require("docker", not ready, ready)
    name = f"bystander-{uuid4().hex[:8]}"
    docker("network", "create", name)
    docker("volume", "create", name)
    docker("create", "--name", name, "--network", name, "--volume", f"{name}:/data", "redis:7")
    process = _run(tmp_path / "run", "transient_error", "-s", "locked_retry", "-n", "1")
    try:
        mine: list[engine.Found] = []
        child: list[int] = []

        def whole() -> bool:
            """The stack belongs to the child that the command's guard has the cases run in."""
            owners = {engine.owner_of(pid): pid for pid in children_of(process.pid)}
            mine[:] = [s for s in engine.stacks() if s.owner in owners and len(s.containers) == 4]
            child[:] = [owners[s.owner] for s in mine]
            return bool(mine)

        until(whole, "the stack is whole", 60.0)
        assert mine[0].state == f"in use by process {child[0]}"
        assert mine[0] not in engine.heal(engine.stacks()), "a stack in use is nobody's orphan"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        until(lambda: not alive(child[0]), "the child has ended with its guard")
        everything = engine.stacks
        project = mine[0].stack
        monkeypatch.setattr(engine, "stacks", lambda: tuple(s for s in everything() if s.stack == project))
        listed = CliRunner().invoke(main, ["ps", "--json"], standalone_mode=False)
        assert json.loads(listed.output)[0]["state"] == "left behind"
        healed = CliRunner().invoke(main, ["heal", "--all"], standalone_mode=False)
        assert "1 of 1 stacks removed" in healed.output
        assert left(project) == []
        assert docker("ps", "--all", "--quiet", "--filter", f"name={name}")
        assert docker("network", "ls", "--quiet", "--filter", f"name={name}")
        assert docker("volume", "ls", "--quiet", "--filter", f"name={name}")
    finally:
        process.kill()
        docker("rm", "--force", name)
        docker("network", "rm", name)
        docker("volume", "rm", name)


def test_the_code_of_a_subject_is_found(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("class Mine: ...\n")
    assert code_of(f"{tmp_path}/mine.py:Mine") == Code("/subject/mine.py:Mine", tmp_path)
    assert code_of("locked_retry") == Code("taskchaos.suites.subjects.locked_retry:LockedRetry")
    with pytest.raises(UsageError, match="CHAOS_WORKER_IMAGE"):
        code_of("celery.app.task:Task")


def test_the_code_of_an_own_package_or_an_own_image_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ownpkg").mkdir()
    (tmp_path / "ownpkg" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert code_of("ownpkg.mod:Subject") == Code("ownpkg.mod:Subject", tmp_path)
    monkeypatch.setenv("CHAOS_WORKER_IMAGE", "mine")
    assert code_of("celery.app.task:Task") == Code("celery.app.task:Task")


@pytest.mark.parametrize(
    ("host", "message"),
    [("unix:///no/such/socket", "no Docker engine answers"), ("tcp://192.0.2.1:2375", "is not on this machine")],
)
def test_a_missing_engine_is_one_line_and_exit_code_4(host: str, message: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "taskchaos.harness.cli", "run", "--stack", "compose"],
        env={**os.environ, "DOCKER_HOST": host},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 4 and message in done.stderr and len(done.stderr.splitlines()) == 1
