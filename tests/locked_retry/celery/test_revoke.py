"""Revoking and expiry: never run (again), nothing left behind, the result says REVOKED."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import TaskRevokedError
from celery_support import Fleet, fleet_on, got
from waiting import until


@pytest.fixture(params=["prefork", "threads"])
def fleet(request: Any, shared_server: Any, tmp_path: Path) -> Iterator[Fleet]:
    with fleet_on(shared_server, tmp_path) as one:
        one.pool = request.param
        one.worker(pool=one.pool, options='{"lease_s": 3.0}', more=("-c2",))
        yield one


#: Come back when the worker has heard, which takes a busy machine more than the second that Celery waits.
HEARD = {"reply": True, "timeout": 30, "limit": 1}


def _gone(fleet: Fleet, task_id: str) -> None:
    """Its row is gone, and it is no dead letter."""
    fleet.settle()
    assert not fleet.redis.exists(f"lr:t:{task_id}") and fleet.redis.zcard("lr:dead") == 0


def test_tasks_that_are_revoked_or_expired_do_not_begin(fleet: Fleet) -> None:
    """Queued, waiting for its ETA, waiting for its retry, by a stamp; and those that have expired."""
    note, control = fleet.task("note"), fleet.app.control
    control.revoke("unborn", **HEARD)
    unborn = note.apply_async(("unborn",), task_id="unborn")
    later = note.apply_async(("later",), countdown=3, task_id="later")
    retried = fleet.task("flaky").apply_async(("retried", 1), {"countdown": 3}, task_id="retried")
    until(lambda: fleet.redis.zcard("lr:delay") == 2, "both wait in Redis")
    control.revoke(["later", "retried"], **HEARD)
    control.revoke_by_stamped_headers({"batch": ["b1"]}, **HEARD)
    stamped = fleet.s("note", "stamped")
    stamped.stamp(batch="b1")
    stamped_result = stamped.apply_async()
    expired = note.apply_async(("expired",), expires=-1)
    late = note.apply_async(("late",), expires=0.2, countdown=0.7)
    for result in (unborn, later, retried, stamped_result, expired, late):
        with pytest.raises(TaskRevokedError):
            got(result)
        assert result.state == "REVOKED"
        assert "revoked" in fleet.signals(result.id)
        _gone(fleet, result.id)
    assert not fleet.notes("begin") and len(fleet.notes("try", "retried")) == 1


def test_a_running_task_is_terminated(fleet: Fleet) -> None:
    """Once, by whatever signal, and the pool goes on."""
    if fleet.pool == "threads":
        pytest.skip("threads cannot be terminated")
    for how in ("SIGTERM", "SIGKILL"):
        result = fleet.task("note").apply_async((how, 30.0), task_id=how)
        until(lambda how=how: fleet.notes("begin", how), "it runs")  # type: ignore[misc]
        fleet.app.control.revoke(how, terminate=True, signal=how, reply=True)
        with pytest.raises(TaskRevokedError):
            got(result)
        _gone(fleet, how)
        assert len(fleet.notes("begin", how)) == 1
    assert got(fleet.task("note").delay("after")) == "after"
    assert fleet.redis.hget("lr:stats", "crashes") is None


def test_revoking_a_running_task_stops_its_retries_only(fleet: Fleet) -> None:
    result = fleet.task("flaky").apply_async(("running", 3), {"countdown": 0.5}, task_id="running")
    until(lambda: fleet.notes("try", "running"), "it runs")
    fleet.app.control.revoke("running", reply=True)
    with pytest.raises(TaskRevokedError):
        got(result)
    _gone(fleet, "running")
    assert 1 <= len(fleet.notes("try", "running")) <= 2


def test_revokes_survive_the_worker(shared_server: Any, tmp_path: Path) -> None:
    with fleet_on(shared_server, tmp_path) as fleet:
        state = f"--statedb={tmp_path / 'state'}"
        fleet.worker(more=(state,))
        fleet.task("note").apply_async(("later",), countdown=3, task_id="later")
        fleet.task("note").apply_async(("later2",), task_id="later2", queue="other")
        until(lambda: fleet.redis.zcard("lr:delay") == 1, "it waits in Redis")
        fleet.app.control.revoke(["later", "later2"], reply=True)
        fleet.workers[0].send_signal(signal.SIGTERM)
        fleet.workers[0].wait(60)
        fleet.worker(more=(state, "-Qcelery,other"))
        until(lambda: "revoked" in fleet.signals("later") and "revoked" in fleet.signals("later2"), "both are revoked")
        _gone(fleet, "later")
        assert not fleet.notes("begin")
