"""Beside plain Celery, under a key prefix, in another database, and when Celery rebuilds its consumer."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

from redis import Redis
from table_support import message, row, stat
from waiting import until
from worker_support import settled, surroundings


def test_a_rebuilt_consumer_takes_over_held_tasks(redis: Redis, shared_server: Any, tmp_path: Path) -> None:
    """The running tasks go on and are settled; what had not begun comes back when its lease ends."""
    with surroundings(shared_server.url, tmp_path) as one:
        one.worker(options='{"lease_s": 2.0}')
        for number in range(20):
            one.send("note", f"n{number}", 0.2)
        until(lambda: len(one.notes("begin")) > 3, "it is busy")
        one.app.control.broadcast("rebuild")
        until(lambda: "made by the test" in one.log(), "the consumer was torn down")
        until(lambda: len({n[1] for n in one.notes("end")}) == 20 and settled(redis), "all ran", 30)
        names = [n[1] for n in one.notes("begin")]
        assert len(names) == len(set(names)) == 20
        assert one.workers[0].poll() is None and "Unrecoverable" not in one.log()


def test_a_key_prefix_and_a_database_are_kept_to(redis: Redis, shared_server: Any, tmp_path: Path) -> None:
    url = shared_server.url.replace("/0", "/3")
    with surroundings(url, tmp_path, global_keyprefix="shop:") as one:
        one.worker(conf='{"broker_transport_options": {"global_keyprefix": "shop:"}}')
        one.send("flaky", "a")
        one.send("note", "b", priority=6)
        until(lambda: one.notes("end", "a") and one.notes("end", "b"), "both ran")
        assert redis.dbsize() == 0
        there = Redis(port=shared_server.port, db=3)
        until(lambda: there.zcard("shop:lr:lease") == 0, "settled")
        assert all(key.startswith(b"shop:") for key in there.scan_iter())
        assert one.app.control.ping(timeout=20.0, limit=1)


def test_messages_left_by_a_plain_worker_are_restored_beside_traffic(
    redis: Redis, shared_server: Any, tmp_path: Path
) -> None:
    """kombu's restore WATCHes the whole hash and retries for ever inside the event loop (kombu#1568)."""
    payload = json.loads(message("left", tag="left-tag"))
    payload["headers"]["task"] = "note"
    payload["body"] = "W1sibGVmdCJdLCB7fSwge31d"  # [["left"], {}, {}]
    payload["properties"]["delivery_info"] = {"exchange": "", "routing_key": "celery"}
    stop = threading.Event()

    def traffic() -> None:
        with Redis(port=shared_server.port) as other:
            while not stop.is_set():
                other.hset("unacked", "busy", "x")

    thread = threading.Thread(target=traffic)
    thread.start()
    try:
        with surroundings(shared_server.url, tmp_path) as one:
            quick = '{"broker_transport_options": {"visibility_timeout": 1, "unacked_restore_interval": 0.2}}'
            one.worker(conf=quick)
            # after the sweep at boot, so that the periodic one has to find it
            redis.hset("unacked", "left-tag", json.dumps([payload, "", "celery"]))
            redis.zadd("unacked_index", {"left-tag": time.time() - 100})
            until(lambda: one.notes("end", "left"), "it runs", 20)
            until(lambda: not redis.hexists("unacked", "left-tag"), "its record is gone")
    finally:
        stop.set()
        thread.join()
    assert redis.zcard("unacked_index") == 0


def test_the_solo_pool_runs_and_retries(redis: Redis, shared_server: Any, tmp_path: Path) -> None:
    with surroundings(shared_server.url, tmp_path) as one:
        one.worker(pool="solo")
        for number in range(5):
            one.send("note", f"n{number}")
        one.send("flaky", "a")
        until(lambda: len(one.notes("end")) == 6 and settled(redis), "all ran")
        assert stat(redis, "retry") == 2 and stat(redis, "stale") == 0


def test_the_solo_pool_keeps_its_leases_during_a_long_task(redis: Redis, shared_server: Any, tmp_path: Path) -> None:
    """Its loop takes no turns meanwhile, and another worker would take over whatever lease ends."""
    with surroundings(shared_server.url, tmp_path) as one:
        one.worker(pool="solo", options="{'lease_s': 0.6}")
        one.worker(options="{'lease_s': 0.6}", more=("-Q", "other"))
        one.send("note", "long", 2.5, task_id="long")
        until(lambda: row(redis, "long").get("s") == "1", "Redis knows that it was started")
        assert until(lambda: one.notes("end", "long"), "it ends")[0][3] == "True", "its lease is valid to the end"
        until(lambda: settled(redis), "it is settled")
        assert len(one.notes("begin", "long")) == 1 and stat(redis, "reaped") == stat(redis, "stale") == 0
