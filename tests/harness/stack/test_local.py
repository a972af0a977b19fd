"""The local stack: what starts, what is left when it stops, and what is said when it cannot start."""

from __future__ import annotations

import os
import signal
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from stack_support import effects, tail_of
from waiting import until

from taskchaos.faults.base import PingResult
from taskchaos.faults.toxiproxy import Stream
from taskchaos.harness.case.stack_options import Pool, WorkerStart
from taskchaos.harness.errors import StackError, SubjectError, UsageError
from taskchaos.harness.judge.reader import read_ledger
from taskchaos.harness.record.history import History
from taskchaos.harness.record.layout import LEDGER
from taskchaos.harness.stack import redis_server
from taskchaos.harness.stack import zygote_client as spawn
from taskchaos.harness.stack.local.stack import LocalStack
from taskchaos.harness.stack.procfs import alive, children_of
from taskchaos.harness.stack.redis_server import RedisServer, find_binary
from taskchaos.harness.subject import Settings

pytestmark = pytest.mark.usefixtures("linux")
Prefilled = Callable[..., LocalStack]


def _drain(stack: LocalStack, operations: int) -> History:
    """Send everything, start the workers, wait for every effect."""
    stack.begin_load(1)
    until(stack.load_done)
    stack.start_workers()
    tail = tail_of(stack)
    until(lambda: len(effects(tail)) == operations)
    history = History()
    read_ledger(stack.folder / LEDGER, history)
    return history


@pytest.mark.parametrize("pool", list(Pool))
def test_every_pool_runs_the_operations(prefilled: Prefilled, pool: Pool) -> None:
    history = _drain(prefilled(pool=pool, operations=20), 20)
    assert sorted(history.effects.op) == list(range(20))
    assert set(history.deliveries.op) == set(range(20))
    assert history.torn_records == 0


def test_a_worker_from_the_command_line_runs_the_operations(prefilled: Prefilled) -> None:
    stack = prefilled(worker_start=WorkerStart.COMMAND_LINE, operations=10)
    assert sorted(_drain(stack, 10).effects.op) == list(range(10))
    cmdline = Path(f"/proc/{stack.workers['worker-1'].pid}/cmdline").read_bytes()
    assert b"celery" in cmdline and b"--pool=prefork" in cmdline


@pytest.mark.parametrize("start", list(WorkerStart))
def test_an_autoscaled_worker_has_as_many_processes_as_it_needs(prefilled: Prefilled, start: WorkerStart) -> None:
    settings = Settings(concurrency=3, autoscale=True, visibility_timeout_s=30)
    stack = prefilled(operations=12, work_ms=500, workers=1, settings=settings, worker_start=start)
    stack.start_workers()
    worker = stack.workers["worker-1"]
    assert len(worker.children()) == 1
    stack.begin_load(1)
    until(lambda: len(worker.children()) == 3, "it grows")
    tail = tail_of(stack)
    until(lambda: len(effects(tail)) == 12)


@pytest.mark.parametrize("soft_s", [0, 10])
def test_a_worker_that_gets_sigquit_waits_for_its_tasks_if_it_is_to(prefilled: Prefilled, soft_s: int) -> None:
    """With early acknowledgement: what it does not wait for is lost."""
    settings = Settings(concurrency=1, soft_shutdown_s=soft_s)
    stack = prefilled("stock_defaults", operations=1, work_ms=700, workers=1, settings=settings)
    stack.begin_load(1)
    until(stack.load_done)
    stack.start_workers()
    history = History()

    def runs() -> bool:
        read_ledger(stack.folder / LEDGER, history)
        return bool(history.attempts.op)

    until(runs, "the task runs")
    worker = stack.workers["worker-1"]
    worker.expect_death()
    worker.terminate(20.0, signal.SIGQUIT)
    assert not worker.ready()
    assert effects(tail_of(stack)) == ({0} if soft_s else set())


def test_each_role_has_a_link_of_its_own(prefilled: Prefilled) -> None:
    stack = prefilled()
    assert set(stack.links) == {"producer-1", "worker-1", "worker-1-results", "worker-2", "worker-2-results"}
    assert len({link.port for link in stack.links.values()}) == 5
    assert {link.ping().result for link in stack.links.values()} == {PingResult.PONG}


def test_a_distance_slows_the_workers_links_and_is_no_fault(prefilled: Prefilled) -> None:
    stack = prefilled(distance_ms=200)
    assert all((link.ping().took_s >= 0.2) is name.startswith("worker") for name, link in stack.links.items())
    stack.start_workers()
    until(lambda: stack.whole() == "")
    stack.links["worker-1"].api.add_toxic("worker-1", "noop", stream=Stream.UPSTREAM, attributes={}, name="left_behind")
    assert stack.whole() == "link worker-1 still carries a fault"


def test_what_is_in_use_is_counted(prefilled: Prefilled) -> None:
    """Connections of the server, keys that stay, and files of the workers' processes."""
    stack = prefilled()
    stack.start_workers()
    before = stack.usage()
    assert before is not None and set(before.files) == {"worker-1", "worker-2"}
    tree = (stack.workers["worker-1"].pid, *stack.workers["worker-1"].children())
    assert before.files["worker-1"] == sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in tree) > 20
    with redis_server.direct_client("127.0.0.1", stack.redis.port) as client:
        client.set("stays", "x" * 5_000_000)
        client.set("goes", 1, ex=100)
        after = stack.usage()
        assert after is not None
        assert after.keys == before.keys + 1
        assert after.memory_bytes >= before.memory_bytes + 3_000_000

    def one_more() -> bool:  # workers that have just started may still connect
        without = stack.usage()
        with redis_server.direct_client("127.0.0.1", stack.redis.port) as client:
            client.ping()
            found = stack.usage()
        return without is not None and found is not None and found.connections == without.connections + 1

    until(one_more, "a connection is counted")
    stack.redis.process.stop()
    assert stack.usage() is None


def test_nothing_is_left_when_a_stack_stops(prefilled: Prefilled) -> None:
    stack = prefilled(pool=Pool.PREFORK)
    stack.start_workers()
    pids = [stack.redis.process.pid]
    for worker in stack.workers.values():
        pids += [worker.pid, *worker.children()]
    ports = [stack.redis.port, *(link.port for link in stack.links.values())]
    assert all(alive(pid) for pid in pids)
    stack.stop()
    until(lambda: not any(alive(pid) for pid in pids), "they end", 2.0)
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
    stack.stop()  # once more: nothing happens


def test_stacks_run_side_by_side(prefilled: Prefilled) -> None:
    first, second = prefilled(operations=10), prefilled(operations=10)
    results: list[History] = []
    threads = [threading.Thread(target=lambda s=s: results.append(_drain(s, 10))) for s in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sorted(h.effects.op) for h in results] == [list(range(10))] * 2


def test_a_worker_that_dies_by_itself_is_noticed_and_started_again(prefilled: Prefilled) -> None:
    stack = prefilled()
    stack.start_workers()
    worker = stack.workers["worker-1"]
    dead = worker.pid
    os.kill(dead, 9)
    found: list[tuple[str, str]] = []

    def noticed() -> bool:
        found.extend(stack.revive())
        return bool(found)

    until(noticed)
    assert found[0][0] == "worker-1"
    assert "status" in found[0][1]
    until(worker.ready)
    assert worker.pid != dead


def test_an_expected_death_is_not_reported(prefilled: Prefilled) -> None:
    stack = prefilled()
    stack.start_workers()
    worker = stack.workers["worker-1"]
    worker.expect_death()
    dead = worker.pid
    os.kill(dead, 9)
    until(lambda: not alive(dead))
    assert stack.revive() == []
    worker.respawn()
    assert worker.ready() and worker.pid != dead


def test_a_death_caused_by_a_fault_during_the_check_is_not_reported(
    prefilled: Prefilled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kill falls between the two looks that a check consists of: it must not count as a crash."""
    stack = prefilled()
    stack.start_workers()
    worker = stack.workers["worker-1"]
    looks = worker._all[-1]
    alive_before = looks.alive

    def killed_meanwhile() -> bool:
        worker.expect_death()
        os.kill(worker.pid, 9)
        until(lambda: not alive_before())
        return alive_before()

    monkeypatch.setattr(looks, "alive", killed_meanwhile)
    assert worker.died() is None


def test_children_are_found_oldest_first(prefilled: Prefilled) -> None:
    stack = prefilled(pool=Pool.PREFORK)
    stack.start_workers()
    children = stack.workers["worker-1"].children()
    assert len(children) == 2
    assert children == tuple(sorted(children)) == children_of(stack.workers["worker-1"].pid)


# --- what cannot start ---------------------------------------------------------------------------------------------


def _executable(path: Path, content: str) -> Path:
    path.write_text(content)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_taken_port_is_replaced_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = iter([taken.getsockname()[1], redis_server.free_port()])
        monkeypatch.setattr(redis_server, "free_port", lambda: next(ports))
        server = RedisServer(find_binary(None), tmp_path / "redis", tmp_path / "redis.log")
        try:
            assert server.client.ping()
            assert server.port != taken.getsockname()[1]
        finally:
            server.stop()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("#!/bin/sh\necho cannot run >&2\nexit 3\n", "redis ended with status 3 while starting: cannot run"),
        ("\x7fELF not for this machine", "redis cannot be started: .*Exec format error"),
    ],
)
def test_a_binary_that_does_not_run_is_a_clear_error(tmp_path: Path, content: str, message: str) -> None:
    binary = _executable(tmp_path / "redis-server", content)
    with pytest.raises(StackError, match=message):
        RedisServer(binary, tmp_path / "redis", tmp_path / "redis.log")


def test_a_server_that_never_answers_runs_into_its_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_server, "START_DEADLINE_S", 0.3)
    binary = _executable(tmp_path / "redis-server", "#!/bin/sh\nexec tail -f /dev/null\n")
    with pytest.raises(StackError, match=r"redis was not ready within 0\.3 s"):
        RedisServer(binary, tmp_path / "redis", tmp_path / "redis.log")


def test_a_missing_binary_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="give the path of a redis-server"):
        find_binary("/no/such/redis-server")


def test_a_subject_that_breaks_in_the_worker_is_a_clear_error(tmp_path: Path, prefilled: Prefilled) -> None:
    """It imports here and not there: the error says why, and that it is the subject."""
    path = tmp_path / "breaks.py"
    path.write_text(
        "import os\nfrom taskchaos.harness.subject import CelerySubject\n"
        "if os.environ.get('TASKCHAOS_OWNER'): raise RuntimeError('only in workers')\n"
        "class Breaks(CelerySubject):\n    name = 'breaks'\n"
    )
    why = r"subject in producer-1: subject file .*: importing it raised .*only in workers"
    with pytest.raises(SubjectError, match=why):
        prefilled(subject=f"{path}:Breaks")


def test_a_broker_that_refuses_is_a_clear_error(prefilled: Prefilled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawn, "READY_DEADLINE_S", 1.5)
    stack = prefilled()
    link = stack.links["worker-1"]
    link.api.set_enabled(link.name, False)
    with pytest.raises(StackError, match=r"worker-1 was not ready within 1\.5 s: .*[Cc]onnection refused"):
        stack.start_workers()
