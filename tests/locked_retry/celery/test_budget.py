"""Retry budgets and buried tasks in real workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.result import AsyncResult
from redis import Redis
from table_support import row
from waiting import until
from worker_support import Tested, surroundings


@pytest.fixture
def tested(redis: Redis, shared_server: Any, tmp_path: Path) -> Iterator[Tested]:
    with surroundings(shared_server.url, tmp_path) as one:
        yield one


def test_retries_beyond_the_budget_wait(tested: Tested, redis: Redis) -> None:
    # No refill: on a busy machine the first may have succeeded before the last asks for a token.
    tested.worker(conf="{'task_annotations': {'flaky': {'budget': locked_retry.Budget(tokens=2, refill=0)}}}")
    for number in range(4):
        tested.send("flaky", f"f{number}", 1, task_id=f"f{number}")
    until(lambda: len(tested.notes("end")) == 2, "two that had a token")
    until(lambda: redis.hget("lr:stats", "held_back") == b"2", "two that are held back")
    held_back = [name.decode() for name in redis.zrange("lr:delay", 0, -1)]
    assert len(held_back) == 2
    assert all("a" not in row(redis, name) for name in held_back)
    assert [redis.hget("lr:stats", name) for name in ("retry", "held_back")] == [b"4", b"2"]


def test_a_task_whose_crashes_are_used_up_fails_for_its_caller(tested: Tested, redis: Redis) -> None:
    """Its process dies each time: the worker that holds it buries it."""
    tested.worker(
        conf=f"{{'result_backend': '{tested.url}', 'task_ignore_result': False}}", options="{'max_crashes': 2}"
    )
    tested.app.conf.result_backend = tested.url
    error = tested.app.signature("note", args=("errback",), immutable=True)
    tested.send("ends", "exit", task_id="exit", link_error=error)
    result: AsyncResult[Any] = AsyncResult("exit", app=tested.app)
    until(lambda: result.state == "FAILURE", "FAILURE is stored", 20)
    assert "WorkerLostError" in repr(result.result)
    until(lambda: tested.notes("end", "errback"), "the errback runs")
    assert len(tested.notes("ends", "exit")) == 2


def test_a_task_whose_workers_died_fails_for_its_caller(tested: Tested, redis: Redis) -> None:
    """Nobody who held it is left: the worker whose turn reaps it does it."""
    backend = f"{{'result_backend': '{tested.url}', 'task_ignore_result': False}}"
    options = "{'max_crashes': 1, 'lease_s': 1.0}"
    tested.app.conf.result_backend = tested.url
    worker = tested.worker(conf=backend, options=options)
    tested.send("note", "doomed", 60, task_id="doomed")
    until(lambda: tested.notes("begin", "doomed"), "it runs")
    until(lambda: row(redis, "doomed").get("s") == "1", "Redis knows that it was started")
    os.killpg(worker.pid, signal.SIGKILL)
    tested.worker(conf=backend, options=options)
    result: AsyncResult[Any] = AsyncResult("doomed", app=tested.app)
    until(lambda: result.state == "FAILURE", "FAILURE is stored", 20)
    assert row(redis, "doomed")["st"] == "x"
