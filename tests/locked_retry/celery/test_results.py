"""Celery's result backend: states, values, tracebacks and callbacks of tasks whose retries no one publishes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery.exceptions import MaxRetriesExceededError
from celery_support import Fleet, fleet_on, got, ready
from redis import Redis
from release_support import since_celery
from waiting import until


@pytest.fixture(scope="module", params=["prefork", "threads"])
def fleet(request: Any, shared_server: Any, tmp_path_factory: Any) -> Iterator[Fleet]:
    with fleet_on(shared_server, tmp_path_factory.mktemp("results")) as one:
        one.worker(pool=request.param)
        yield one


@pytest.fixture
def results(shared_server: Any) -> Iterator[Redis]:
    with Redis(port=shared_server.port, db=1) as one:
        yield one


def test_successes_and_failures_are_stored(fleet: Fleet) -> None:
    assert got(fleet.task("add").delay(2, 3)) == 5
    failed = fleet.task("boom").delay("bang")
    with pytest.raises(ValueError, match="bang"):
        got(failed)
    assert failed.state == "FAILURE" and "raise {" in failed.traceback
    expected = fleet.task("boom").delay("thrown", kind="KeyError")
    with pytest.raises(KeyError):
        got(expected)


def test_a_retried_task_goes_through_retry_to_one_success(fleet: Fleet, results: Redis) -> None:
    result = fleet.task("flaky").apply_async(("r", 1), {"countdown": 1.0})
    until(lambda: result.state == "RETRY", "state RETRY")
    assert isinstance(result.result, ValueError) and "not yet" in result.traceback
    assert got(result) == "r" and result.state == "SUCCESS"
    assert [k for k in results.scan_iter("celery-task-meta-*") if result.id.encode() in k] == [
        f"celery-task-meta-{result.id}".encode()
    ]
    assert [t[2] for t in fleet.notes("try", "r")] == ["0", "1"]


def test_running_out_of_retries_is_a_failure_with_the_cause(fleet: Fleet) -> None:
    result = fleet.task("hopeless").delay("h")
    with pytest.raises(ValueError, match="never"):
        got(result)
    assert result.state == "FAILURE"
    without_cause = fleet.task("hopeless").apply_async(("m",), {"cause": False})
    with pytest.raises(MaxRetriesExceededError, match="Can't retry hopeless"):
        got(without_cause)


@since_celery(5, 6, "ignore_result of a call")
def test_ignored_results_are_not_stored(fleet: Fleet, results: Redis) -> None:
    fleet.task("note").apply_async(("ignored",), ignore_result=True, task_id="ignored")
    fleet.task("flaky").apply_async(("ignored2", 1), {"countdown": 0}, ignore_result=True, task_id="ignored2")
    failed = fleet.task("errors_only").apply_async((True,))
    fine = fleet.task("errors_only").apply_async((False,), task_id="errors_only")
    with pytest.raises(ValueError, match="kept"):
        got(fleet.app.AsyncResult(failed.id))
    until(lambda: fleet.notes("end", "ignored"), "it ran")
    until(lambda: len(fleet.notes("try", "ignored2")) == 2, "it was retried")
    until(lambda: "success" in fleet.signals("ignored2") and "success" in fleet.signals(fine.id), "they ended")
    kept = {key.decode().removeprefix("celery-task-meta-") for key in results.scan_iter("celery-task-meta-*")}
    assert failed.id in kept and not kept & {"ignored", "ignored2", "errors_only"}


def test_the_state_started_is_tracked(fleet: Fleet) -> None:
    result = fleet.task("tracked").delay(1.0)
    until(lambda: result.state == "STARTED", "state STARTED")
    assert result.info["pid"]
    assert got(result) == 1.0


def test_callbacks_of_retried_tasks_are_called_once(fleet: Fleet) -> None:
    linked = fleet.task("flaky").apply_async(("linked", 2), {"countdown": 0.01}, link=fleet.s("heard"))
    errbacks = [fleet.s("errback"), fleet.s("errback_inline")]
    failed = fleet.task("hopeless").apply_async(("unlinked",), link=fleet.s("heard"), link_error=errbacks)
    assert got(linked) == "linked"
    ready(failed)
    until(lambda: fleet.notes("heard", "linked") and fleet.notes("errback", failed.id), "callbacks ran")
    fleet.settle()
    assert len(fleet.notes("heard", "linked")) == len(fleet.notes("errback", failed.id)) == 1
    assert fleet.notes("errback_inline") == [["errback_inline", failed.id, "ValueError"]]
    assert not fleet.notes("heard", "unlinked")
