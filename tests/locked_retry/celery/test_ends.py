"""Ends that Celery decides in the worker's main process, and messages that it refuses."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.exceptions import WorkerLostError
from celery import chord
from celery_support import Fleet, fleet_on, got
from release_support import since_celery
from table_support import row, stat
from waiting import until

from locked_retry.adapter.poller import Poller
from locked_retry.broker.connection import Connection


def test_a_lost_process_is_a_failure_where_celery_says_so(fleet: Fleet) -> None:
    """Once, and not again as a crash."""
    fleet.worker()
    given_up = fleet.task("killed_and_given_up").apply_async(("given up",), task_id="given_up")
    with pytest.raises(WorkerLostError):
        got(given_up)
    fleet.settle()
    assert len(fleet.notes("try", "given")) == 1
    assert fleet.redis.hget("lr:stats", "crashes") is None
    assert set(fleet.redis.zrange("lr:dead", 0, -1)) == {b"given_up"}


@since_celery(5, 7, "a success that was stored, retry_on_worker_lost")
def test_a_lost_process_ends_as_celery_says(fleet: Fleet) -> None:
    """After its success was stored, as a retry: each once, and none of them again as a crash."""
    fleet.worker()
    assert got(fleet.task("succeeded_and_lost").delay("stored")) == "stored"
    assert got(fleet.task("lost_and_retried").delay("lost", 2)) == 2
    hopeless = fleet.task("lost_and_retried").apply_async(("hopeless", 9), task_id="hopeless")
    with pytest.raises(WorkerLostError):
        got(hopeless)
    fleet.settle()
    assert len(fleet.notes("try", "stored")) == 1
    assert [n[2] for n in fleet.notes("try", "lost")] == ["0", "1", "2"]
    assert [n[2] for n in fleet.notes("try", "hopeless")] == ["0", "1", "2"]
    assert fleet.redis.hget("lr:stats", "crashes") is None and stat(fleet.redis, "retry") == 4
    assert set(fleet.redis.zrange("lr:dead", 0, -1)) == {b"hopeless"}


def test_a_message_that_celery_refuses_is_kept_as_a_dead_letter(fleet: Fleet) -> None:
    """And the worker goes on: no body, no ETA, no such content, no lock for these arguments, no such task."""

    def send(name: str, task: str, /, *args: Any, body: str | None = None, **changes: Any) -> None:
        fleet.task(task).apply_async(args, task_id=name, queue="draft", ignore_result=True)
        payload = json.loads(fleet.redis.rpop("draft"))
        payload["headers"].update({k: v for k, v in changes.items() if k != "content"})
        payload["content-type"] = changes.get("content", payload["content-type"])
        if body is not None:
            payload["body"] = body
        if changes.get("lr_lock", "") is None:
            del payload["headers"]["lr_lock"]
        fleet.redis.lpush("celery", json.dumps(payload))

    send("body", "add", 1, 2, body="!!!!")
    send("padding", "add", 1, 2, body="abcde")
    send("broken", "add", 1, 2, body="e30x")  # base64 of: {}1
    send("eta", "add", 1, 2, eta="tomorrow")
    send("expires", "add", 1, 2, expires="tomorrow")
    send("content", "add", 1, 2, content="application/x-python-serialize")
    send("lock", "ordered", 1, lr_lock=None, body="W1tdLCB7fSwge31d")  # [[], {}, {}]
    send("unknown", "add", 1, 2, task="nowhere")
    fleet.worker()
    names = {b"body", b"padding", b"broken", b"eta", b"expires", b"content", b"lock", b"unknown"}
    until(lambda: set(fleet.redis.zrange("lr:dead", 0, -1)) == names, f"{fleet.redis.zrange('lr:dead', 0, -1)}")
    assert got(fleet.task("add").delay(1, 2)) == 3
    assert fleet.workers[0].poll() is None
    fleet.settle()
    assert "decoded" in row(fleet.redis, "broken")["err"]


@pytest.mark.parametrize("cancel", [False, True])
def test_a_rebuilt_consumer_cancels_or_leaves_running_as_configured(fleet: Fleet, cancel: bool) -> None:
    """What Celery cancels is delivered again at once, not after a lease; what it leaves running is settled."""
    conf = {"worker_cancel_long_running_tasks_on_connection_loss": cancel}
    fleet.worker(conf=str(conf), options='{"lease_s": 60}')
    result = fleet.task("told").apply_async(("long", 3.0))
    until(lambda: fleet.notes("told"), "it runs")
    fleet.app.control.broadcast("rebuild")
    until(lambda: "made by the test" in fleet.log(), "the consumer was torn down")
    got(result)
    fleet.settle()
    assert [n[2] for n in fleet.notes("told")] == (["False", "True"] if cancel else ["False"])


def test_apply_async_takes_what_celerys_takes(fleet: Fleet) -> None:
    """Its positional arguments, too: args, kwargs, task_id."""
    fleet.worker()
    result = fleet.task("ordered").apply_async((1,), {}, "third")
    assert result.id == "third"
    got(result)
    assert fleet.notes("order", 1, "order:1")


def test_a_worker_that_ends_by_an_error_sends_its_last_turn() -> None:
    """kombu has closed it by then; to fail here would leave all that is held to its leases."""
    poller = Poller()
    poller.poller.close()
    with socket.socket() as sock:
        line = Connection(1.0, SimpleNamespace(_sock=sock))
        poller.watch_line(object(), line, "TURN")


DIES_ONCE = """
import os, signal
from celery.backends.redis import RedisBackend

told = RedisBackend.on_chord_part_return


def dies_once(self, request, state, result, **more):
    if request.id == "victim" and not os.path.exists({gate!r}):
        open({gate!r}, "w").close()
        {first}
        os.kill(os.getpid(), signal.SIGKILL)
    return told(self, request, state, result, **more)


RedisBackend.on_chord_part_return = dies_once
"""


@pytest.mark.parametrize("first", ["", "told(self, request, state, result, **more)"])
def test_a_chord_whose_member_dies_around_its_count_goes_on(shared_server: Any, tmp_path: Path, first: str) -> None:
    """Its result is stored, and the chord had not heard of it: the body never ran, and nothing showed why."""
    with fleet_on(shared_server, tmp_path) as fleet:
        with (tmp_path / "tested_app.py").open("a") as file:
            file.write(DIES_ONCE.format(gate=str(tmp_path / "gate"), first=first or "pass"))
        fleet.worker()
        header = [fleet.s("note", "a").set(task_id="victim"), fleet.s("note", "b")]
        assert sorted(got(chord(header, fleet.s("collect", "body"), app=fleet.app)())) == ["a", "b"]
        fleet.settle()
        assert fleet.notes("collect") in ([["collect", "body", *names]] for names in (("a", "b"), ("b", "a")))
