"""What a worker publishes while the broker is away: the rest of a chain, callbacks, what a task sends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from celery.app.defaults import DEFAULTS
from celery_support import Fleet, fleet_on
from server_process import Server
from table_support import stat
from waiting import until

import locked_retry
from locked_retry.adapter.publishing import tries_in, wait_for_broker

OUTAGE_S = 2.5


@pytest.fixture
def fleet(server: Server, tmp_path: Path) -> Iterator[Fleet]:
    with fleet_on(server, tmp_path) as one:
        yield one


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_chain_goes_on_when_the_broker_is_back(fleet: Fleet, server: Server, pool: str) -> None:
    """It was a dead letter, though its body was done: an outage of a second broke every chain that was on its way."""
    fleet.worker(pool=pool, more=("-c1",))
    gate = fleet.folder / "gate"
    (fleet.s("note", "before") | fleet.si("note", "connected")).apply_async(ignore_result=True)
    until(lambda: fleet.notes("end", "connected"), "it has a connection: kombu tries for ever to make the first one")
    (fleet.s("waits", "first", str(gate)) | fleet.si("note", "second")).apply_async(ignore_result=True)
    until(lambda: fleet.notes("begin", "first"), "the first one runs")
    server.kill()
    gate.touch()
    until(lambda: fleet.notes("end", "first"), "it has ended")
    back_at_s = time.monotonic() + OUTAGE_S
    until(lambda: time.monotonic() > back_at_s, "the broker is away for longer than Celery tries")
    server.start()
    until(lambda: fleet.notes("end", "second"), lambda: f"the second one runs\n{fleet.log()[-3000:]}", 40)
    fleet.settle()
    assert stat(fleet.redis, "dead") == 0 and len(fleet.notes("begin", "second")) == 1


def test_the_number_of_tries_follows_from_the_time() -> None:
    assert [tries_in(wait_s) for wait_s in (0.0, 0.2, 3.0, 4.0, 30.0)] == [2, 3, 7, 8, 34]


@pytest.mark.parametrize(
    ("options", "policy", "tries"),
    [({}, None, 34), ({"publish_wait_s": 3}, None, 7), ({"publish_wait_s": 0}, None, 3), ({}, {"max_retries": 1}, 1)],
)
def test_the_users_retry_policy_comes_before_the_option(
    options: dict[str, float], policy: dict[str, int] | None, tries: int
) -> None:
    app = Celery("told", broker="redis://127.0.0.1:1/0", set_as_current=False)
    if policy:
        app.conf.task_publish_retry_policy = policy
    locked_retry.install(app, **options)
    assert app.amqp.send_task_message is not None
    wait_for_broker(sender=type("Worker", (), {"app": app}))
    assert app.conf.task_publish_retry_policy["max_retries"] == tries
    assert DEFAULTS["task_publish_retry_policy"]["max_retries"] == 3, "other applications keep theirs"


@pytest.mark.parametrize("wait_s", [-1, float("nan"), float("inf")])
def test_a_time_that_is_no_duration_is_refused(wait_s: float) -> None:
    with pytest.raises(ValueError, match="publish_wait_s"):
        locked_retry.Options(publish_wait_s=wait_s)
