"""Celery's own API on locked_retry, with real workers of both kinds: every end of a task comes out as Celery says."""

from __future__ import annotations

import importlib.util
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from redis import Redis
from table_support import row, stat
from waiting import until
from worker_support import Tested, settled, surroundings


@pytest.fixture(params=["prefork", "threads"])
def tested(request: pytest.FixtureRequest, redis: Redis, shared_server: object, tmp_path: Path) -> Iterator[Tested]:
    with surroundings(shared_server.url, tmp_path) as one:  # type: ignore[attr-defined]
        one.pool = request.param
        one.worker(pool=one.pool, options='{"lease_s": 2.0}')
        yield one


def test_every_end_of_a_task_comes_out_as_celery_says(tested: Tested, redis: Redis) -> None:
    """One worker, many tasks: retries, changed arguments, autoretry, Ignore, Reject, replace, errors, early ack."""
    tested.send("flaky", "a", task_id="flaky")
    tested.send("changing", 1)
    tested.send("auto", "x", task_id="auto")
    for how in ("ignore", "reject", "requeue", "error", "replace"):
        tested.send("ends", how, task_id=how)
    tested.send("early")
    tested.send("plain")
    one, two = (tested.app.signature("note", args=(name,), immutable=True) for name in ("chained1", "chained2"))
    (one | two).apply_async()
    until(lambda: tested.notes("end", "chained2"), "the chain ends")
    until(lambda: tested.notes("end", "a") and len(tested.notes("plain")) == 3, "retries end")
    until(lambda: len(tested.notes("auto")) == 3 and tested.notes("end", "replaced"), "autoretry ends")
    until(lambda: len(tested.notes("early")) == 2 and settled(redis), "all is settled")
    assert [t[2] for t in tested.notes("try", "a")] == ["0", "1", "2"]
    fences = [int(t[3]) for t in tested.notes("try", "a")]
    assert fences == sorted(set(fences))
    assert [n[1] for n in tested.notes("number")] == ["1", "2", "3"]
    assert len(tested.notes("ends", "requeue")) == 2
    dead = {d.decode(): row(redis, d.decode())["err"] for d in redis.zrange("lr:dead", 0, -1)}  # type: ignore[union-attr]
    assert set(dead) == {"reject", "error", "auto"}
    assert "for good" in dead["error"] and "KeyError" in dead["auto"]
    assert stat(redis, "stale") == 0
    assert not list(redis.scan_iter("lr:lock:*")) and redis.zcard("lr:lease") == 0


def test_one_business_key_runs_one_at_a_time(tested: Tested, redis: Redis) -> None:
    """Also for producers that do not know the lock: the worker puts it into the message."""
    for number in range(6):
        tested.send("locked", number % 2, 0.05, f"t{number}")
    until(lambda: len(tested.notes("end")) == 6 and settled(redis), "all ran", 20)
    for order in ("0", "1"):
        kinds = [line[0] for line in tested.notes() if line[1] == order]
        assert kinds == ["begin", "end"] * 3
    assert stat(redis, "retry") == 0
    assert not list(redis.scan_iter("lr:lock:*")) + list(redis.scan_iter("lr:wait:*"))


def test_an_eta_waits_in_redis_not_in_the_worker(tested: Tested, redis: Redis) -> None:
    begun = time.time()
    tested.send("note", "later", countdown=1.5, task_id="later")
    tested.send("note", "eta", eta=datetime.now(UTC) + timedelta(seconds=1.5))
    until(lambda: redis.zcard("lr:delay") == 2, "both wait in Redis")
    until(lambda: len(tested.notes("end")) == 2, "they run")
    assert time.time() - begun > 1.4
    assert all(n[3] == "True" for n in tested.notes("begin"))


def test_a_hard_time_limit_leaves_a_dead_letter(tested: Tested, redis: Redis) -> None:
    if tested.pool == "threads":
        pytest.skip("threads cannot be limited")
    tested.send("limited", task_id="limited")
    until(lambda: redis.zscore("lr:dead", "limited"), "dead letter")
    assert "time limit" in row(redis, "limited")["err"]
    tested.send("limited_again", task_id="again")
    until(lambda: redis.zscore("lr:dead", "again"), "dead letter, after the crashes that it may have", 20)
    assert "time limit" in row(redis, "again")["err"] and len(tested.notes("limited_again")) == 2


@pytest.mark.parametrize("how", ["exit", "SystemExit"])
def test_a_task_that_ends_its_process_ends_as_a_dead_letter(tested: Tested, redis: Redis, how: str) -> None:
    if tested.pool == "threads":
        pytest.skip("it would take the worker along")
    tested.send("ends", how, task_id="exit")
    until(lambda: redis.zscore("lr:dead", "exit"), "dead letter", 20)
    assert len(tested.notes("ends", how)) == 3
    assert row(redis, "exit")["c"] == "3" and "a" not in row(redis, "exit")
    tested.send("note", "after")
    until(lambda: tested.notes("end", "after"), "the worker goes on")


@pytest.mark.parametrize("how", ["SIGTERM", "remote control"])
def test_a_warm_shutdown_gives_back_what_has_not_begun(tested: Tested, redis: Redis, how: str) -> None:
    for number in range(12):
        tested.send("note", f"n{number}", 0.4)
    until(lambda: len(tested.notes("begin")) >= 2, "two run")
    if how == "SIGTERM":
        os.kill(tested.workers[0].pid, signal.SIGTERM)
    else:
        tested.app.control.shutdown()
    tested.workers[0].wait(60)
    assert len(tested.notes("begin")) == len(tested.notes("end"))
    assert redis.zcard("lr:lease") == 0
    tested.worker()
    until(lambda: len(tested.notes("end")) == 12 and settled(redis), "the rest runs", 20)
    assert len({n[1] for n in tested.notes("begin")}) == len(tested.notes("begin")) == 12


@pytest.mark.parametrize("pool", ["threads", "gevent"])
def test_an_ended_task_is_settled_though_nothing_else_happens(
    redis: Redis, shared_server: object, tmp_path: Path, pool: str, require: Callable[[str, bool, str], None]
) -> None:
    """A thread or greenlet acknowledges it; the loop may be asleep, for 30 s from now."""
    require("gevent", pool != "gevent" or importlib.util.find_spec("gevent") is not None, "gevent is not installed")
    with surroundings(shared_server.url, tmp_path) as one:  # type: ignore[attr-defined]
        quiet = ("--without-heartbeat",)
        one.worker(pool=pool, options='{"idle_s": 30.0, "lease_s": 100.0, "flush_s": 0.01}', more=quiet)
        late = []
        for number in range(6):
            one.send("note", f"n{number}", 0.2)
            until(lambda number=number: one.notes("end", f"n{number}"), f"n{number} runs")  # type: ignore[misc]
            ended = time.monotonic()
            until(lambda: settled(redis), "it is settled")
            late.append(time.monotonic() - ended)
        assert sorted(late)[4] < 0.5, late


def test_any_list_of_any_queue_wakes_an_idle_worker(redis: Redis, shared_server: object, tmp_path: Path) -> None:
    """The doorbell, with the safety net out of reach: idle turns are 30 s apart."""
    with surroundings(shared_server.url, tmp_path) as one:  # type: ignore[attr-defined]
        one.worker(options='{"idle_s": 30.0, "lease_s": 100.0}', more=("-Qa,b",))
        waits = []
        for number in range(8):
            sent = time.monotonic()
            one.send("note", f"n{number}", queue="ab"[number % 2], priority=(0, 3, 6, 9)[number // 2])
            until(lambda number=number: one.notes("end", f"n{number}"), f"n{number} runs")  # type: ignore[misc]
            waits.append(time.monotonic() - sent)
        assert max(waits) < 2.0, waits
