"""`self.retry`, autoretry, handlers and signals: as Celery says, in the worker, eagerly and called directly."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import celery_app
import pytest
from celery.exceptions import Retry, SoftTimeLimitExceeded
from celery_support import Fleet, fleet_on, got


@pytest.fixture(scope="module", params=["prefork", "threads"])
def fleet(request: Any, shared_server: Any, tmp_path_factory: Any) -> Iterator[Fleet]:
    with fleet_on(shared_server, tmp_path_factory.mktemp("retry")) as one:
        one.pool = request.param
        one.worker(pool=one.pool)
        yield one


def test_a_retried_task_calls_its_handlers_and_signals(fleet: Fleet) -> None:
    assert got(fleet.task("handled").apply_async((1,), task_id="good")) == "fine"
    failed = fleet.task("handled").apply_async((9,), task_id="bad")
    with pytest.raises(ValueError, match="not yet"):
        got(failed)
    fleet.settle()
    handlers = [n for n in fleet.notes() if n[0].startswith(("on_", "after_")) and n[1] == "good"]
    assert handlers == [
        ["on_retry", "good", "ValueError"],
        ["on_success", "good", "fine"],
        ["after_return", "good", "SUCCESS"],
    ]
    assert [n[0] for n in fleet.notes() if n[1] == "bad"] == ["on_retry", "on_retry", "on_failure", "after_return"]
    once = ["received", "prerun"]
    assert fleet.signals("good") == [*once, "retry", "postrun", *once, "success", "postrun"]
    assert fleet.signals("bad")[-4:] == [*once, "failure", "postrun"]


def test_autoretry_retries_only_what_it_names(fleet: Fleet) -> None:
    """With Celery's backoff and jitter; what is excluded or not named fails at once."""
    results = {kind: fleet.task("auto").delay(kind, kind) for kind in ("KeyError", "IndexError", "ValueError")}
    for kind, result in results.items():
        with pytest.raises((LookupError, ValueError)):
            got(result)
        assert len(fleet.notes("try", kind)) == (3 if kind == "KeyError" else 1)


def test_a_retry_may_be_endless_or_due_at_a_moment(fleet: Fleet) -> None:
    """`max_retries=None`; countdown, aware and naive eta; arguments replaced."""
    endless = fleet.task("endless").delay("endless", 7)
    assert got(endless) == 7
    due = datetime.now(UTC) + timedelta(seconds=0.5)
    for name, eta in (("aware", due), ("naive", due.replace(tzinfo=None)), ("past", due - timedelta(hours=1))):
        assert got(fleet.task("at").delay(name, eta.isoformat())) == name
        assert len(fleet.notes("try", name)) == 2
    assert float(fleet.notes("try", "aware")[1][2]) >= due.timestamp() - 0.05
    assert float(fleet.notes("try", "naive")[1][2]) >= due.timestamp() - 0.05


def test_a_retry_with_other_arguments_moves_to_their_lock(fleet: Fleet) -> None:
    """As a published retry would: its key, and what monitoring shows, are those of the new arguments."""
    got(fleet.task("ordered").delay(1, 2))
    fleet.settle()
    assert fleet.notes("order") == [["order", "1", "order:1", "(1,2)"], ["order", "2", "order:2", "(2,)"]]
    assert not list(fleet.redis.scan_iter("lr:lock:*"))


def test_a_soft_time_limit_is_retried(fleet: Fleet) -> None:
    if fleet.pool == "threads":
        pytest.skip("threads cannot be limited")
    assert got(fleet.task("limited_softly").delay("soft")) == "soft"
    assert [n[2] for n in fleet.notes("try", "soft")] == ["0", "1"]
    assert issubclass(SoftTimeLimitExceeded, Exception)


def test_a_task_sees_its_request(fleet: Fleet) -> None:
    found = got(fleet.task("requested").apply_async(priority=3))
    assert found["retries"] == 0 and found["eager"] is False
    assert found["info"] == {"exchange": "", "routing_key": "celery", "priority": 3, "redelivered": False}


def test_a_requeued_task_is_told_that_it_was_delivered_before(fleet: Fleet) -> None:
    assert got(fleet.task("requeues").delay()) is True


def test_a_retry_outside_a_worker_is_celerys(tmp_path: Path) -> None:
    """Eagerly, by `apply`, and called directly: nothing of locked_retry is in the way."""
    app = celery_app.build("redis://127.0.0.1:1/0", str(tmp_path / "journal"), {}, task_always_eager=True)
    eager = app.tasks["flaky"].delay("eager", 2)
    assert eager.get() == "eager" and eager.state == "SUCCESS"
    applied = app.tasks["hopeless"].apply(("applied",))
    assert applied.state == "FAILURE" and isinstance(applied.result, ValueError)
    assert app.tasks["requested"].apply().get()["eager"] is True
    with pytest.raises(ValueError, match="not yet"):
        app.tasks["flaky"]("direct")
    with pytest.raises(Retry):
        app.tasks["endless"]("direct", 1)
    assert app.tasks["flaky"].fence == 0 and app.tasks["flaky"].lease.valid()
    tries = [line.split()[1] for line in (tmp_path / "journal").read_text().splitlines()]
    assert tries.count("eager") == 3 and tries.count("applied") == 2
