"""The pools without processes: gevent (greenlets, a loop that blocks while they are all busy) and solo."""

from __future__ import annotations

import importlib.util
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import chord
from celery.concurrency.thread import TaskPool
from celery.exceptions import TaskRevokedError
from celery_support import Fleet, fleet_on, got
from table_support import stat
from waiting import until

from locked_retry import submit_many
from locked_retry.adapter.shutdown import prepare_end


@pytest.fixture(params=["gevent", "solo"])
def fleet(
    request: Any, require: Callable[[str, bool, str], None], shared_server: Any, tmp_path: Path
) -> Iterator[Fleet]:
    if request.param == "gevent":
        require("gevent", importlib.util.find_spec("gevent") is not None, "gevent is not installed")
    with fleet_on(shared_server, tmp_path) as one:
        one.pool = request.param
        one.worker(pool=one.pool, options='{"lease_s": 0.9}', more=("-c4",))
        yield one


def test_retries_results_and_canvas_work(fleet: Fleet) -> None:
    assert got(fleet.task("add").delay(1, 2)) == 3
    assert got(fleet.task("flaky").apply_async(("f", 2), {"countdown": 0.05})) == "f"
    with pytest.raises(ValueError, match="never"):
        got(fleet.task("hopeless").delay("h"))
    header = [fleet.s("flaky", f"c{n}", 1, countdown=0) for n in range(3)]
    assert got(chord(header, fleet.s("collect", "body"), app=fleet.app)()) == ["c0", "c1", "c2"]
    assert got(fleet.task("replaced").delay("r")) == "r"
    assert got(fleet.task("note").apply_async(("eta",), countdown=0.5)) == "eta"
    fleet.settle()
    assert len(fleet.notes("collect", "body")) == 1 and fleet.redis.zcard("lr:dead") == 1


def test_a_revoke_is_heard_between_tasks_that_were_claimed_together(fleet: Fleet) -> None:
    """Solo runs them one after the other, in the loop that would hear of it."""
    if fleet.pool == "gevent":
        pytest.skip("they begin at once")
    submit_many([("note", (f"n{number}", 1.0), {}, {"task_id": f"n{number}"}) for number in range(3)], app=fleet.app)
    until(lambda: fleet.notes("begin", "n0"), "the first one has begun")
    assert fleet.redis.zcard("lr:lease") == 3, "all three were claimed"
    fleet.app.control.revoke("n2")
    with pytest.raises(TaskRevokedError):
        got(fleet.app.AsyncResult("n2"))
    fleet.settle()
    assert len(fleet.notes("end")) == 2 and not fleet.notes("begin", "n2")


def test_leases_are_kept_while_tasks_block_the_loop(fleet: Fleet) -> None:
    """Tasks longer than a lease, more of them than the pool has room for, and a worker that would take them over."""
    count = 10 if fleet.pool == "gevent" else 3
    for number in range(count):
        fleet.task("note").apply_async((f"n{number}", 1.5), ignore_result=True)
    fleet.worker(options='{"lease_s": 0.9}')
    until(lambda: len(fleet.notes("end")) == count, "all ran", 30)
    fleet.settle()
    assert len(fleet.notes("begin")) == count
    assert stat(fleet.redis, "stale") == stat(fleet.redis, "reaped") == 0


def test_an_ended_task_keeps_its_lease_until_it_is_settled(
    require: Callable[[str, bool, str], None], shared_server: Any, tmp_path: Path
) -> None:
    """The loop waits for a free greenlet, and with it the settle of a task that is over."""
    require("gevent", importlib.util.find_spec("gevent") is not None, "gevent is not installed")
    with fleet_on(shared_server, tmp_path) as fleet:
        for name, work_s in (("short", 0.2), ("long", 5.0), ("next", 0.0)):
            fleet.task("note").apply_async((name, work_s), ignore_result=True)
        fleet.worker(pool="gevent", options='{"lease_s": 2.0}', more=("-c1",))
        until(lambda: fleet.notes("begin", "long"), "the long one runs, and the next is waited with")
        fleet.worker(options='{"lease_s": 2.0}')
        until(lambda: fleet.notes("end", "long") and fleet.notes("end", "next"), "all ran", 20)
        fleet.settle()
        assert [n[1] for n in fleet.notes("begin")] == ["short", "long", "next"]
        assert stat(fleet.redis, "stale") == stat(fleet.redis, "reaped") == 0


def test_a_worker_that_ends_gives_back_what_it_holds(fleet: Fleet) -> None:
    for number in range(10):
        fleet.task("note").apply_async((f"n{number}", 0.5), ignore_result=True)
    until(lambda: fleet.notes("begin"), "it works")
    os.kill(fleet.workers[0].pid, signal.SIGTERM)
    fleet.workers[0].wait(60)
    assert fleet.redis.zcard("lr:lease") == 0
    fleet.worker()
    until(lambda: len(fleet.notes("end")) == 10, "the rest runs", 20)
    fleet.settle()
    assert len(fleet.notes("begin")) == 10


def test_a_pool_of_threads_can_be_stopped_while_a_task_is_submitted() -> None:
    """Celery stops it in the handler; the executor's lock is then held by the same thread, which hung for ever."""
    pool = TaskPool(limit=1, app=None)
    pool.start()
    prepare_end(SimpleNamespace(pool=pool))

    def submit_and_stop() -> None:
        with pool.executor._shutdown_lock:  # as `submit` does
            pool.stop()

    thread = threading.Thread(target=submit_and_stop, daemon=True)
    thread.start()
    thread.join(10.0)
    assert not thread.is_alive()
