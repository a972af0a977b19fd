"""The worker's own settings: concurrency, prefetch, rate limits, autoscale, queues, priorities, remote control."""

from __future__ import annotations

import importlib.util
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from celery_support import Fleet, got
from kombu import Exchange
from kombu.common import Broadcast
from release_support import since_celery
from table_support import stat
from waiting import until


def _notes(fleet: Fleet, count: int, work_s: float, **options: Any) -> None:
    for number in range(count):
        fleet.task("note").apply_async((f"n{number}", work_s), ignore_result=True, **options)


def _running(fleet: Fleet) -> int:
    return len(fleet.notes("begin")) - len(fleet.notes("end"))


def _all_ran_once(fleet: Fleet, count: int) -> None:
    until(lambda: len(fleet.notes("end")) >= count, "all ran", 30)
    fleet.settle()
    names = [n[1] for n in fleet.notes("begin")]
    assert len(names) == len(set(names)) == count


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_every_process_has_work_and_little_waits_beside_it(fleet: Fleet, pool: str) -> None:
    """Slow tasks: as many run as there are processes; few more are held, so that other workers can have them."""
    fleet.worker(pool=pool, more=("-c7",))
    _notes(fleet, 300, 0.7)
    until(lambda: len(fleet.notes("end")) >= 21, "three rounds", 30)

    def few_are_held() -> bool:
        # What is held ahead covers two round trips, and those take their time on a busy machine.
        return _running(fleet) == 7 and fleet.redis.zcard("lr:lease") < 60 and fleet.redis.llen("celery") > 150

    until(few_are_held, "all seven are busy still, and others could have what waits")


def test_prefetching_can_be_limited(fleet: Fleet) -> None:
    fleet.worker(conf='{"worker_prefetch_multiplier": 1}')
    _notes(fleet, 6, 0.5)
    until(lambda: _running(fleet) == 2, "both are busy")
    assert fleet.held() == 2
    _all_ran_once(fleet, 6)


@since_celery(5, 6, "worker_disable_prefetch")
def test_prefetching_can_be_disabled(fleet: Fleet) -> None:
    fleet.worker(conf='{"worker_disable_prefetch": True}')
    _notes(fleet, 6, 0.5)
    until(lambda: _running(fleet) == 2, "both are busy")
    assert fleet.held() == 2
    _all_ran_once(fleet, 6)


def test_a_rate_limit_holds_tasks_under_lease(fleet: Fleet) -> None:
    """They wait in the worker for longer than a lease, are not offered again, and go back when it ends."""
    fleet.worker(options='{"lease_s": 0.6}')
    for number in range(8):
        fleet.task("rated").apply_async((f"r{number}",), ignore_result=True)
    until(lambda: len(fleet.notes("begin")) == 7, "seven ran", 20)
    times = sorted(float(n[2]) for n in fleet.notes("begin"))
    assert times[-1] - times[0] > 1.0
    until(lambda: len(fleet.notes("begin")) == 8, "all ran", 20)
    fleet.app.control.rate_limit("rated", "1/h", reply=True)
    for number in range(8, 11):
        fleet.task("rated").apply_async((f"r{number}",), ignore_result=True)
    until(lambda: fleet.held() == 2, "one ran, two are held")
    fleet.app.control.shutdown()
    fleet.workers[0].wait(60)
    assert fleet.redis.zcard("lr:lease") == 0 and fleet.redis.llen("celery") == 2
    assert int(fleet.redis.hget("lr:stats", "reaped") or 0) == 0
    assert len({n[1] for n in fleet.notes("begin")}) == len(fleet.notes("begin"))


def test_the_pool_grows_and_shrinks(fleet: Fleet) -> None:
    """By autoscale, which goes by what is held, and by remote control."""
    fleet.worker(more=("--autoscale=6,1",))
    _notes(fleet, 40, 0.4)
    until(lambda: _running(fleet) == 6, "it has scaled up", 20)
    _all_ran_once(fleet, 40)


def test_the_pool_is_resized_by_remote_control(fleet: Fleet) -> None:
    fleet.worker(more=("-c1",))
    _notes(fleet, 30, 0.3)
    until(lambda: _running(fleet) == 1, "one is busy")
    assert fleet.app.control.pool_grow(2, reply=True)[0]["w0@test"] == {"ok": "pool will grow"}
    until(lambda: _running(fleet) == 3, "three are busy")
    _all_ran_once(fleet, 30)
    assert fleet.app.control.pool_shrink(1, reply=True)[0]["w0@test"] == {"ok": "pool will shrink"}
    stats = fleet.app.control.inspect(timeout=20.0, limit=1).stats
    until(lambda: len(stats()["w0@test"]["pool"]["processes"]) == 2, "two are left")
    _notes(fleet, 8, 0.5)
    until(lambda: _running(fleet) == 2, "both are busy")


def test_replaced_children_lose_no_task(fleet: Fleet) -> None:
    fleet.worker(more=("--max-tasks-per-child=3", "-Ofair"))
    _notes(fleet, 30, 0.0)
    _all_ran_once(fleet, 30)
    assert len({n[3] for n in fleet.notes("begin")}) >= 9
    assert fleet.redis.hget("lr:stats", "crashes") is None


def test_queues_routes_and_priorities_are_kept_to(fleet: Fleet) -> None:
    """Several queues, one added and one cancelled while it runs; a route; priority steps, retries included."""
    routes = '{"task_routes": {"add": {"queue": "sums"}}, "broker_transport_options": {"priority_steps": [0, 5, 9]}}'
    fleet.app.conf.task_routes = {"add": {"queue": "sums"}}
    fleet.worker(conf=routes, more=("-c1", "-Qcelery,sums"))
    assert got(fleet.task("add").delay(1, 2)) == 3
    note = fleet.task("note")
    note.apply_async(("elsewhere",), queue="later")
    assert got(note.apply_async(("here",), queue="celery")) == "here"
    assert not fleet.notes("begin", "elsewhere")
    fleet.app.control.add_consumer("later", reply=True)
    until(lambda: fleet.notes("end", "elsewhere"), "an added queue is served")
    assert fleet.notes("begin", "elsewhere")[0][4] == "later"
    fleet.app.control.cancel_consumer("later", reply=True)
    note.apply_async(("cancelled",), queue="later")
    assert got(note.apply_async(("here2",), queue="celery")) == "here2"
    assert fleet.redis.llen("later") == 1 and not fleet.notes("begin", "cancelled")
    assert {q["name"] for q in fleet.app.control.inspect().active_queues()["w0@test"]} == {"celery", "sums"}


def test_the_best_priority_goes_first_also_for_retries(fleet: Fleet) -> None:
    steps = {"priority_steps": [0, 5, 9]}
    fleet.app.conf.broker_transport_options = {**fleet.app.conf.broker_transport_options, **steps}
    for priority in (9, 5, 0):
        fleet.task("flaky").apply_async((f"p{priority}", 1), {"countdown": 0}, priority=priority)
    assert fleet.redis.llen("celery\x06\x169") == 1
    fleet.worker(conf=str({"broker_transport_options": steps}), more=("-c1",))
    until(lambda: len(fleet.notes("try")) == 6, "all ran")
    order = [n[1] for n in fleet.notes("try") if n[2] == "0"]
    assert order == ["p0", "p5", "p9"]
    fleet.settle()


def test_remote_control_sees_tasks_and_queues(fleet: Fleet) -> None:
    fleet.worker(more=("-c1",))
    note, inspect = fleet.task("note"), fleet.app.control.inspect(timeout=20.0, limit=1)
    assert fleet.app.control.ping(timeout=20.0, limit=1) == [{"w0@test": {"ok": "pong"}}]
    assert "note" in inspect.registered()["w0@test"]
    note.apply_async(("active", 5.0), task_id="active", ignore_result=True)
    note.apply_async(("reserved",), task_id="reserved", ignore_result=True)
    note.apply_async(("eta",), countdown=60, task_id="eta", ignore_result=True)
    until(lambda: fleet.notes("begin", "active"), "one runs")
    until(lambda: fleet.redis.zcard("lr:delay") == 1, "one waits in Redis")
    assert [r["id"] for r in inspect.active()["w0@test"]] == ["active"]
    assert [r["id"] for r in inspect.reserved()["w0@test"]] == ["reserved"]
    assert [r["request"]["id"] for r in inspect.scheduled()["w0@test"]] == ["eta"]
    assert inspect.query_task("active")["w0@test"]["active"][0] == "active"
    assert inspect.stats()["w0@test"]["prefetch_count"] == 512
    fleet.app.control.revoke("eta")


def test_a_broadcast_queue_reaches_every_worker(fleet: Fleet) -> None:
    """Fanout is kombu's: each worker gets a copy, without a lease."""
    conf = '{"task_queues": [__import__("kombu").Queue("celery"), __import__("kombu.common").common.Broadcast("all")]}'
    fleet.worker(conf=conf)
    fleet.worker(conf=conf)
    fleet.app.conf.task_queues = [Broadcast("all")]
    # Celery's producer does not declare a Broadcast queue, and kombu takes an undeclared exchange for a direct one.
    declare = [Exchange("all", type="fanout")]
    until(lambda: fleet.redis.pubsub_numpat() >= 2, "both listen")
    fleet.task("note").apply_async(("everyone",), queue="all", declare=declare, ignore_result=True)
    until(lambda: len(fleet.notes("end", "everyone")) == 2, "both ran it")
    until(lambda: fleet.redis.hlen("unacked") == 0, "both acknowledged it")
    assert not list(fleet.redis.scan_iter("lr:t:*"))


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_cold_shutdown_gives_everything_back(fleet: Fleet, pool: str) -> None:
    """SIGQUIT: what ran is run again by another worker at once, and is told so."""
    fleet.worker(pool=pool, more=("-c1",))  # one process: a signal in the middle of a write to another hangs Celery
    fleet.task("told").apply_async(("long", 30.0 if pool == "prefork" else 3.0), task_id="long", ignore_result=True)
    _notes(fleet, 4, 0.0)
    # Celery cancels what it knows to run; for what it does not know to have begun, even a cold shutdown waits.
    until(lambda: fleet.redis.hget("lr:t:long", "s") == b"1", "it runs, and the main process knows")
    until(lambda: fleet.held() == 5, "the others wait")
    fleet.workers[0].send_signal(signal.SIGQUIT)
    fleet.workers[0].wait(60)
    begun = time.monotonic()
    fleet.worker(pool=pool)
    until(lambda: len({n[1] for n in fleet.notes("end")}) == 4, "the rest runs", 20)
    if pool == "prefork":
        until(lambda: len(fleet.notes("told")) == 2, "it runs again", 20)
        assert time.monotonic() - begun < 20  # not after a lease of 30 s
        assert fleet.notes("told")[1][2] == "True"
    assert "NotImplementedError" not in fleet.log(), "it has tried to end a thread"
    # Celery ends a thread that runs it by leaving it alone: it may be given back before it has ended.
    assert len(fleet.notes("told")) in ((2,) if pool == "prefork" else (1, 2))
    assert len(fleet.notes("begin")) == len(fleet.notes("end")) == 4


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_task_that_ends_during_a_warm_shutdown_is_settled_then(fleet: Fleet, pool: str) -> None:
    """Not when the last task ends: by then the worker may have been killed."""
    fleet.worker(pool=pool)
    fleet.task("note").apply_async(("long", 6.0), task_id="long", ignore_result=True)
    fleet.task("note").apply_async(("short", 1.0), task_id="short", ignore_result=True)
    until(lambda: _running(fleet) == 2, "both run")
    fleet.workers[0].send_signal(signal.SIGTERM)
    until(lambda: fleet.redis.exists("lr:done:short"), "the short one is settled")
    assert not fleet.notes("end", "long") and fleet.workers[0].poll() is None


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent"])
def test_a_lease_is_kept_while_a_warm_shutdown_waits(
    fleet: Fleet, pool: str, require: Callable[[str, bool, str], None]
) -> None:
    """A task that is longer than its lease, and another worker that would take it over."""
    require("gevent", pool != "gevent" or importlib.util.find_spec("gevent") is not None, "gevent is not installed")
    fleet.worker(pool=pool, options='{"lease_s": 2.0}')
    fleet.task("note").apply_async(("long", 7.0), task_id="long", ignore_result=True)
    until(lambda: _running(fleet) == 1, "it runs")
    fleet.workers[0].send_signal(signal.SIGTERM)
    fleet.worker(pool=pool, options='{"lease_s": 2.0}')
    until(lambda: fleet.workers[0].poll() is not None, "the worker ends")
    fleet.settle()
    assert len(fleet.notes("begin")) == len(fleet.notes("end")) == 1
    assert stat(fleet.redis, "stale") == stat(fleet.redis, "reaped") == 0


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_lease_is_kept_during_a_soft_shutdown(fleet: Fleet, pool: str) -> None:
    """Celery sleeps in its signal handler, for longer than a lease; what ends meanwhile has run once."""
    short_lease = '{"lease_s": 2.0}'
    fleet.worker(pool=pool, options=short_lease, conf='{"worker_soft_shutdown_timeout": 8.0}')
    fleet.task("note").apply_async(("long", 6.0), task_id="long", ignore_result=True)
    until(lambda: _running(fleet) == 1, "it runs")
    assert fleet.held() == 1  # the loop answers: it is not in the midst of starting a thread, which it could not end
    fleet.workers[0].send_signal(signal.SIGQUIT)
    fleet.worker(pool=pool, options=short_lease)
    until(lambda: fleet.workers[0].poll() is not None, "the worker ends")
    fleet.settle()
    assert len(fleet.notes("begin")) == len(fleet.notes("end")) == 1
    assert stat(fleet.redis, "reaped") == 0


def test_a_task_given_to_a_process_as_the_worker_ends_runs_once(fleet: Fleet) -> None:
    """Celery 5.7 forgets it when the process has not yet said that it began: run twice, 30 s later."""
    fleet.worker(more=("-c1",))
    child = int(got(fleet.task("whoami").delay()))
    fleet.settle()
    os.kill(child, signal.SIGSTOP)
    fleet.task("note").apply_async(("given",), task_id="given", ignore_result=True)
    until(lambda: fleet.held() == 1, "it is held")
    assert fleet.app.control.ping(timeout=20.0, limit=1)  # by now the loop has written it into the process's pipe
    fleet.workers[0].send_signal(signal.SIGTERM)
    until(lambda: fleet.redis.pubsub_numpat() == 0, "the consumer has ended")
    os.kill(child, signal.SIGCONT)
    until(lambda: fleet.workers[0].poll() is not None, "the worker ends", 15)
    assert fleet.redis.exists("lr:done:given") and fleet.redis.llen("celery") == 0
    assert len(fleet.notes("begin", "given")) == 1
