"""Tasks that are ended with their leases: Redis is silent for longer than a lease while they run."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from server_process import Server
from table_support import stat
from waiting import until
from worker_support import Tested, forget_results, surroundings

from locked_retry.adapter import results
from locked_retry.adapter.handover import Handover, Mark
from locked_retry.adapter.lease_guard import LeaseGuard
from locked_retry.broker.turns import Claim
from locked_retry.options import Options
from locked_retry.worker.session import Held, Session

LEASE_S = 2.0
MORE = """

from locked_retry import LeaseLost

@app.task(bind=True, name="long")
def long(self, name, work_s, ends=True):
    note("begin", name, os.getpid(), time.monotonic())
    if not ends:  # as an extension that does not come back to Python would
        import signal
        from locked_retry.adapter import lease_guard as guard
        signal.pthread_sigmask(signal.SIG_BLOCK, [guard.SIGNAL])
    try:
        time.sleep(work_s if self.request.delivery_info["redelivered"] is False else 0.1)
    except LeaseLost:
        note("lost", name, time.monotonic(), self.lease.valid())
        raise
    note("end", name)


@app.task(bind=True, name="answers")
def answers(self, name, gate, size, fails=False):
    note("begin", name)
    while not os.path.exists(gate):
        time.sleep(0.01)
    note("end", name)
    if fails:
        raise ValueError(name)
    return name * size


class Slow(Exception):
    # Celery writes it out to tell how the task ended: its lease nearly does meanwhile
    def __str__(self):
        lease = app.current_task.lease if app.current_task else None
        while lease and lease.left_s > 0.08 * lease.lease_s:
            time.sleep(0.01)
        return "slow"

    __repr__ = __str__


@app.task(bind=True, name="slowly", max_retries=1)
def slowly(self, name, how, gate):
    note("begin", name, self.request.retries)
    if self.request.retries == 0 and not self.request.delivery_info["redelivered"]:
        while not os.path.exists(gate):
            time.sleep(0.01)
        raise self.retry(exc=Slow(), countdown=0) if how == "retry" else Slow()
    note("end", name)


from celery import signals
for kind in ("failure", "retry", "success"):
    signal = getattr(signals, f"task_{kind}")
    signal.connect(lambda sender=None, kind=kind, **_: note("signal", kind, sender.name), weak=False)


@app.task(bind=True, name="careless", base=LockedTask, exclusive=False)
def careless(self, name, work_s):
    note("begin", name)
    time.sleep(work_s)
    note("end", name)
"""


@pytest.fixture
def tested(server: Server, tmp_path: Path) -> Iterator[Tested]:
    with surroundings(server.url, tmp_path) as one:
        with (tmp_path / "tested_app.py").open("a") as app:
            app.write(MORE)
        conf = {"result_backend": server.url, "task_ignore_result": False}
        one.app.conf.update(**conf)
        one.worker(options=f'{{"lease_s": {LEASE_S}, "exclusive": True, "max_crashes": 1}}', conf=repr(conf))
        yield one
        forget_results(one.app)


def _silent(server: Server) -> None:
    os.kill(server.process.pid, signal.SIGSTOP)


def _speaks(server: Server) -> None:
    os.kill(server.process.pid, signal.SIGCONT)


def test_a_task_is_told_before_its_lease_ends_and_runs_again(tested: Tested, server: Server) -> None:
    tested.send("long", "a", 60.0)
    until(lambda: tested.notes("begin", "a"), "it runs")
    until(lambda: server.client.hget(next(server.client.scan_iter("lr:t:*")), "s") == b"1", "its start is told")
    _silent(server)
    silent_at_s = time.monotonic()
    try:
        ((_, _, lost_at_s, valid),) = until(lambda: tested.notes("lost", "a"), "it is told", 10)
        assert valid == "True", "while nobody else can have it"
        assert float(lost_at_s) <= silent_at_s + LEASE_S
    finally:
        _speaks(server)
    until(lambda: tested.notes("end", "a"), "it runs again", 20)
    until(lambda: not list(server.client.scan_iter("lr:t:*")), "settled")
    assert stat(server.client, "crashed") == stat(server.client, "dead") == 0
    assert "Task long" not in tested.log() or "raised unexpected" not in tested.log()


def test_a_task_that_does_not_react_is_killed_before_its_lease_ends(tested: Tested, server: Server) -> None:
    tested.send("long", "b", 60.0, False)
    ((_, _, pid, _),) = until(lambda: tested.notes("begin", "b"), "it runs")
    until(lambda: server.client.hget(next(server.client.scan_iter("lr:t:*")), "s") == b"1", "its start is told")
    _silent(server)
    silent_at_s = time.monotonic()
    try:
        until(lambda: not _runs(int(pid)), "its process is gone", 10)
        assert time.monotonic() <= silent_at_s + LEASE_S
        assert "event=killed" in tested.log()
    finally:
        _speaks(server)
    until(lambda: tested.notes("end", "b"), "it runs again", 20)
    assert stat(server.client, "crashed") == stat(server.client, "dead") == 0
    assert tested.workers[0].poll() is None


def test_a_task_that_is_not_exclusive_runs_on(tested: Tested, server: Server) -> None:
    tested.send("careless", "c", 2 * LEASE_S)
    until(lambda: tested.notes("begin", "c"), "it runs")
    _silent(server)
    try:
        until(lambda: tested.notes("end", "c"), "it ends by itself", 10)
    finally:
        _speaks(server)
    assert len(tested.notes("begin", "c")) == 1


def test_a_task_whose_lease_is_renewed_is_left_alone(tested: Tested, server: Server) -> None:
    tested.send("long", "d", 3 * LEASE_S)
    until(lambda: tested.notes("end", "d"), "it ends", 20)
    assert len(tested.notes("begin", "d")) == 1 and not tested.notes("lost")


@pytest.mark.parametrize(("size", "state"), [(1, "SUCCESS"), (3_000_000, "SUCCESS"), (1, "FAILURE")])
def test_a_result_outlives_the_lease_of_its_task(tested: Tested, server: Server, size: int, state: str) -> None:
    """It was given up when the task was told, and the task settled."""
    gate = tested.folder / "gate"
    task = tested.app.signature("answers")
    sent = [task.delay(f"{n}", str(gate), size, state == "FAILURE") for n in range(2)]
    until(lambda: len(tested.notes("begin")) == 2, "both run")
    _silent(server)
    try:
        gate.touch()
        until(lambda: len(tested.notes("end")) == 2, "their bodies have ended")
        until(lambda: tested.log().count("event=result_left") == 2, lambda: f"left to the worker\n{tested.log()}", 10)
    finally:
        _speaks(server)
    results = [tested.app.AsyncResult(one.id) for one in sent]
    until(lambda: all(one.state == state for one in results), "stored", 20)
    if state == "SUCCESS":
        assert [one.result for one in results] == [f"{n}" * size for n in range(2)]
    until(lambda: not list(server.client.scan_iter("lr:t:*")) or state == "FAILURE", "settled")
    until(lambda: stat(server.client, "dead") == 2 * (state == "FAILURE"), "what failed is a dead letter")
    assert "event=result_lost" not in tested.log() and "event=killed" not in tested.log()


@pytest.mark.parametrize("how", ["retry", "failure"])
def test_what_celery_tells_of_a_task_that_was_done_is_not_cut_short(tested: Tested, server: Server, how: str) -> None:
    """LeaseLost, raised where Celery finds out how a task ended, was told to everybody as the task's failure."""
    gate = tested.folder / "gate"
    tested.send("slowly", "s", how, str(gate))
    until(lambda: tested.notes("begin", "s"), "it runs")
    _silent(server)
    try:
        gate.touch()
        until(lambda: "event=lease_ends" in tested.log(), "it is told", 10)
        until(lambda: tested.notes("signal"), lambda: f"it is said how it ended\n{tested.log()}", 10)
    finally:
        _speaks(server)
    until(lambda: not list(server.client.scan_iter("lr:t:*")) or stat(server.client, "dead"), "settled", 20)
    assert tested.notes("signal")[0] == ["signal", how, "slowly"]
    assert "Exception raised outside body" not in tested.log()


class Hostile(dict[str, int]):
    """JSON to whoever stores it; what happens when it is made again is its own business."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (str(self["how"]),)


def _made(how: str) -> Any:
    raise SystemExit(how)


def test_what_is_handed_over_is_made_where_it_keeps_nobody_from_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A type that exits, when it was read by the guard, left every exclusive task of the worker unguarded."""
    handover, session = Handover(), Session(Options(lease_s=1.0))
    stored: list[str] = []
    monkeypatch.setattr(results, "_handover", handover)
    monkeypatch.setattr(results, "_app", Celery(set_as_current=False))
    monkeypatch.setattr(results, "_writer", None)
    monkeypatch.setattr(session, "result_stored", stored.append)
    session.held["7"] = Held(Claim("row", "7", 0, 0, 1, b"{}"), 1.0, 3)
    handover.give("7", Mark("task", "mark_as_done", ("id", Hostile(how=1)), {}))
    results.receive()
    assert session.held["7"].left
    until(lambda: stored == ["7"], "given up, and settled")
    handover.give("7", Mark("task", "mark_as_done", ("id", Hostile(how=2)), {}))
    results.receive()
    until(lambda: stored == ["7", "7"], "the writer goes on")
    results.end()


def test_a_chain_that_cannot_be_sent_before_the_lease_ends_is_sent_by_another_attempt(
    tested: Tested, server: Server
) -> None:
    """Celery takes an error there for a success: the rest of the chain was lost."""
    gate = tested.folder / "gate"
    first = tested.app.signature("answers", args=("first", str(gate), 1))
    (first | tested.app.signature("answers", args=("second", str(gate), 1), immutable=True)).apply_async()
    until(lambda: tested.notes("begin", "first"), "it runs")
    _silent(server)
    try:
        gate.touch()
        until(lambda: tested.notes("end", "first"), "its body has ended")
        until(lambda: "event=lease_ends" in tested.log(), "it is told", 10)
    finally:
        _speaks(server)
    until(lambda: tested.notes("end", "second"), lambda: f"the rest of the chain\n{tested.log()}", 20)
    assert "mark_as_failure" not in tested.log(), "nobody who waits for it is told that it has failed"


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_the_guard_goes_on_whatever_it_receives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it nobody would end a task with its lease."""
    asked = threading.Semaphore(0)

    def broken() -> None:
        asked.release()
        raise OSError("too many open files")

    monkeypatch.setattr(results, "receive", broken)
    guard = LeaseGuard(Session(Options(lease_s=1.0)))
    guard.start()
    try:
        assert all(asked.acquire(timeout=10) for _ in range(3))
    finally:
        guard.stop()
        guard.join(10)
