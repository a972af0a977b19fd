"""How a task ended does not depend on its result backend: it is away, hangs, or never comes back."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery_support import Fleet, fleet_on, got, ready
from hostile import good
from server_process import Server
from table_support import row, stat
from waiting import until
from worker_support import at_rest


@pytest.fixture
def results(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "results"
    folder.mkdir()
    server = Server(folder)
    yield server
    server.stop()


@pytest.fixture
def fleet(shared_server: Server, results: Server, tmp_path: Path) -> Iterator[Fleet]:
    with fleet_on(shared_server, tmp_path, results=results.url) as one:
        yield one


def start(fleet: Fleet, results: Server, pool: str = "prefork", **options: float) -> None:
    fleet.worker(pool=pool, conf=repr({"results": results.url}), options=repr(options))


POOLS = ["prefork", "threads", "solo"]


@pytest.mark.parametrize("pool", POOLS)
def test_a_result_is_stored_when_its_backend_is_back(fleet: Fleet, results: Server, pool: str) -> None:
    start(fleet, results, pool)
    gate = fleet.folder / "gate"
    result = fleet.task("waits").delay("one", str(gate))
    until(lambda: fleet.notes("begin", "one"), "it runs")
    results.kill()
    gate.touch()
    until(lambda: fleet.notes("end", "one"), "it has ended")
    results.start()
    assert got(ready(result)) == "one"
    until(lambda: at_rest(fleet.redis), "settled")
    assert len(fleet.notes("begin", "one")) == 1 and stat(fleet.redis, "dead") == 0


@pytest.mark.parametrize("pool", POOLS)
def test_a_retry_needs_no_backend(fleet: Fleet, results: Server, pool: str) -> None:
    """It was a dead letter, "ConnectionError", after the first attempt."""
    start(fleet, results, pool)
    gate = fleet.folder / "gate"
    result = fleet.task("waits_and_retries").delay("one", str(gate))
    until(lambda: fleet.notes("begin", "one", 0), "it runs")
    results.kill()
    gate.touch()
    until(lambda: fleet.notes("end", "one"), lambda: f"it is tried again\n{fleet.log()[-2000:]}", 60)
    results.start()
    assert got(ready(result)) == "one"
    until(lambda: at_rest(fleet.redis), "settled")
    assert [line[2] for line in fleet.notes("begin", "one")] == ["0", "1"] and stat(fleet.redis, "dead") == 0


@pytest.mark.parametrize("pool", POOLS)
def test_a_lost_result_is_reported_and_loses_no_task(fleet: Fleet, results: Server, pool: str) -> None:
    start(fleet, results, pool, result_wait_s=0.5)
    gate = fleet.folder / "gate"
    fleet.task("waits").apply_async(("one", str(gate)), task_id="one")
    until(lambda: fleet.notes("begin", "one"), "it runs")
    results.kill()
    gate.touch()
    until(lambda: at_rest(fleet.redis), lambda: f"settled\n{fleet.log()[-2000:]}", 60)
    assert fleet.redis.exists("lr:done:one") and stat(fleet.redis, "dead") == 0
    assert 'event=result_lost result="mark_as_done one"' in fleet.log()


def test_the_loop_does_not_wait_for_a_backend_that_hangs(fleet: Fleet, results: Server) -> None:
    """What it has to store itself, of a message that nobody can run, is stored later."""
    start(fleet, results)
    payload = good(1)
    payload["headers"]["eta"] = ""
    os.kill(results.process.pid, signal.SIGSTOP)
    try:
        fleet.redis.lpush("celery", json.dumps(payload))
        until(lambda: stat(fleet.redis, "dead") == 1, "it is a dead letter")
        for number in range(3):
            fleet.task("note").apply_async((f"n{number}",), ignore_result=True)
        until(lambda: len(fleet.notes("end")) == 3, "others run meanwhile", 10)
    finally:
        os.kill(results.process.pid, signal.SIGCONT)
    until(lambda: fleet.app.AsyncResult("hostile-1").status == "FAILURE", "its result is stored")
    assert row(fleet.redis, "hostile-1")["err"].startswith("header eta")


def test_ends_are_kept_while_the_redis_of_broker_and_results_is_away(server: Server, tmp_path: Path) -> None:
    """Six of six running tasks were dead letters afterwards, of which three had succeeded."""
    with fleet_on(server, tmp_path) as fleet:
        fleet.worker(more=("-c6",))
        gate = fleet.folder / "gate"
        names = [("waits" if number % 2 else "waits_and_retries", f"n{number}") for number in range(6)]
        found = [fleet.task(task).delay(name, str(gate)) for task, name in names]
        until(lambda: len(fleet.notes("begin")) == 6, "all run")
        server.kill()
        gate.touch()
        until(lambda: len(fleet.notes("end")) >= 3, "those that succeed have ended")
        server.start()
        assert [got(ready(result)) for result in found] == [name for _, name in names]
        until(lambda: at_rest(fleet.redis), "settled")
        assert stat(fleet.redis, "dead") == 0
        assert len(fleet.notes("end")) == 6
