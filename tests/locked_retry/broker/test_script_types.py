"""Every script with each key replaced by each type: done whole, or refused with nothing changed; no message is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kombu import Exchange, Queue
from redis import Redis
from redis.exceptions import ResponseError
from server_process import Server
from table_support import KEYS, Renewal, SettlementKind, Worker, everything, message, row, settle, stat, state, where
from types_support import (
    CALLS,
    ENDED,
    INDEXES,
    KEYS_OF_ALL,
    LISTS,
    PLACES,
    TYPES,
    World,
    homes,
    refused,
    script,
    work_off,
)
from waiting import until
from worker_support import surroundings

from locked_retry import fencing
from locked_retry.broker.turns import Script, call, renewal_arguments
from locked_retry.operator.application import connect
from locked_retry.operator.dead_letters import Tools
from locked_retry.operator.statistics import collect


@pytest.fixture(scope="module")
def world(shared_server: Server) -> Iterator[World]:
    shared_server.client.flushall()
    yield World(shared_server.client)
    shared_server.client.flushall()


def lost_with(key: str) -> set[str]:
    """The messages that whoever wrote over this key has deleted."""
    listed = {name for name, place in PLACES.items() if place in LISTS}
    return {name for name in PLACES if (PLACES[name] == key if name in listed else key == f"lr:t:{name}")}


def test_the_world_has_everything_once(world: World) -> None:
    world.restore()
    found = homes(world.redis)
    assert {name: len(places) for name, places in found.items()} == dict.fromkeys(PLACES, 1)
    absent = {
        "lr:clock",
        "lr:paused",
        "lr:look",
        "lr:t:new1",
        "lr:done:held",
        "lr:done:new1",
        "lr:sub:s2",
        "lr:t:k/2",
        "joins",
        "order:effect:paid",
    }
    there = {key.decode() for key in world.redis.scan_iter()}
    assert set(KEYS_OF_ALL) - there <= {*absent, "lr:w:-", "lr:clock"}
    assert there - set(KEYS_OF_ALL) <= {"lr:w:w2", "lr:done:k/2", "lr:t:k/1"}


@pytest.mark.parametrize("key", KEYS_OF_ALL)
@pytest.mark.parametrize("name", CALLS)
def test_a_script_is_done_whole_or_not_at_all(world: World, name: str, key: str) -> None:
    lost = lost_with(key)
    for kind in TYPES:
        world.restore()
        world.break_key(key, kind)
        before = everything(world.redis)
        if refused(world, name):
            assert everything(world.redis) == before, f"{kind}: half done"
        elsewhere = {one for one in PLACES if key in INDEXES or (key.startswith("lr:wait:") and PLACES[one] == key)}
        ended = ENDED.get(name, set())
        for one, places in homes(world.redis).items():
            if one not in lost | elsewhere:
                least, most = one not in ended, 1 + (key == f"lr:sub:{one}")  # who submits again finds no mark
                assert least <= len(places) <= most, f"{kind}: {one} is in {places}"
        if kind in ("string", world.kinds.get(key)):  # one of another type, and nonsense of the right one
            check_all_ends(world, key, kind, lost | ENDED["purge"] if name == "purge" else lost)


def check_all_ends(world: World, key: str, kind: str, lost: set[str]) -> None:
    """The key is put right, and all that is left runs to its end, without anybody's help where none is announced."""
    redis = world.redis
    if (key in LISTS and redis.type(key) != b"list") or key in KEYS.indexes("w1"):
        redis.delete(key)
    if key.startswith(("lr:wait:", "lr:t:")) or key in INDEXES:
        Tools(redis).audit(repair=True)
    work_off(redis)
    for one in set(PLACES) - lost:
        ended = redis.exists(KEYS.done(one)) or state(redis, one) == "x"
        assert ended, f"{kind}: nothing becomes of {one}: {row(redis, one)}, {homes(redis)[one]}"


def test_a_broken_queue_stops_only_itself(redis: Redis) -> None:
    redis.set("mails", "a string")
    redis.lpush("celery", message("a"), message("b"))
    worker = Worker(redis, queues=("mails", "celery"))
    answer = worker.turn(want=10)
    assert ([claim.row for claim in answer.claims], answer.broken) == (["a", "b"], ("mails",))
    assert stat(redis, "broken") == 1
    assert [claim.row for claim in worker.again().claims] == ["a", "b"]
    redis.delete("mails")
    redis.lpush("mails", message("c"))
    answer = worker.turn(want=10)
    assert ([claim.row for claim in answer.claims], answer.broken) == (["c"], ())


@pytest.mark.parametrize("kind", [SettlementKind.RETRY, SettlementKind.REQUEUE])
def test_a_row_waits_until_its_queue_is_a_list_again(redis: Redis, kind: SettlementKind) -> None:
    worker = Worker(redis)
    (claim,) = worker.claim(message("a"))
    redis.set("q", "a string")
    worker.end(claim, kind)  # due at once
    answer = worker.turn(want=5)
    assert (answer.claims, answer.promoted, state(redis, "a"), where(redis, "a")) == ((), 0, "d", {"delay"})
    assert answer.due_ms is not None and 20_000 < answer.due_ms <= 30_000
    redis.delete("q")
    redis.zadd("lr:delay", {"a": 1})
    assert [claim.row for claim in worker.turn(want=5).claims] == ["a"]


def test_a_waiter_behind_a_row_of_a_broken_queue_gets_the_lock(redis: Redis) -> None:
    worker = Worker(redis, queues=("q", "mails"))
    (holder,) = worker.claim(message("holder", lr_lock="k"))
    redis.lpush("mails", message("first", lr_lock="k"))
    assert worker.turn(want=5).parked == 1
    redis.lpush("q", message("second", lr_lock="k"))
    assert worker.turn(want=5).parked == 1
    redis.set("mails", "a string")
    worker.end(holder, SettlementKind.OK)
    assert (where(redis, "first"), where(redis, "second")) == ({"delay"}, {"queue"})


def test_many_rows_of_a_broken_queue_do_not_keep_the_lock(redis: Redis) -> None:
    worker = Worker(redis, queues=("q", "mails"))
    (holder,) = worker.claim(message("holder", lr_lock="k"))
    redis.lpush("mails", *[message(f"m{number}", lr_lock="k") for number in range(210)])
    until(lambda: not worker.turn(want=100).parked, "all are parked")
    redis.lpush("q", message("last", lr_lock="k"))
    worker.turn(want=5)
    redis.set("mails", "a string")
    worker.end(holder, SettlementKind.OK)
    assert where(redis, "last") == {"wait"} and redis.zcard("lr:delay") == 200
    redis.zadd("lr:delay", {"m0": 1})
    assert [claim.row for claim in worker.turn(want=5).claims] == ["last"]


def test_an_effect_whose_record_is_something_else_is_refused(redis: Redis) -> None:
    redis.rpush("order:effect:paid", "x")
    with pytest.raises(ResponseError, match="WRONGTYPE order:effect:paid"):
        fencing.apply(redis, "order", 7, ("SET", "order", "paid"), effect="paid")
    assert not redis.exists("order", "order:fence")


def test_a_row_of_another_type_makes_no_duplicate_of_a_submission(redis: Redis) -> None:
    redis.set(KEYS.row("a"), "a string")
    redis.set(KEYS.done("b"), "a string, and no record")
    words = [word for name in "ab" for word in (name, message(name), "1")]
    assert script(redis, "submit", ("q",), "T", 1000, 2, 0, *words) == b"aa"


def test_counts_of_a_job_that_are_no_numbers_stop_no_turn(world: World) -> None:
    world.restore()
    world.redis.hset("lr:job:j", mapping={"total": 3, "done": "many", "dead": "few"})
    held = world.held["j/1"]
    assert world.worker.turn(settles=(settle(held, SettlementKind.OK),)).codes == "o"
    assert world.redis.hget("lr:job:j", "done") == b"1"


def test_a_count_that_is_no_number_begins_again(redis: Redis) -> None:
    redis.hset("lr:stats", "claimed", "many")
    (claim,) = Worker(redis).claim(message("a"))
    assert (claim.row, stat(redis, "claimed")) == ("a", 1)


def test_a_damaged_row_is_kept_as_dead(redis: Redis) -> None:
    worker = Worker(redis)
    (claim,) = worker.claim(message("a"))
    redis.hdel(KEYS.row("a"), "q", "msg")
    worker.end(claim, SettlementKind.REQUEUE)
    assert (state(redis, "a"), where(redis, "a")) == ("x", {"dead"})


@pytest.mark.parametrize(
    "wrong", [{"delay_ms": "soon"}, {"budget": "5"}, {"kind": "gone"}], ids=["delay", "budget", "kind"]
)
def test_a_malformed_settle_refuses_the_turn_whole(redis: Redis, wrong: dict[str, Any]) -> None:
    worker = Worker(redis)
    a, b = worker.claim(message("a"), message("b"))
    before = everything(redis)
    malformed = SimpleNamespace(**{**asdict(settle(b, SettlementKind.RETRY)), **wrong})
    malformed.kind = SimpleNamespace(value=str(malformed.kind))
    with pytest.raises(ResponseError, match="malformed"):
        worker.turn(settles=(settle(a, SettlementKind.OK), malformed))  # type: ignore[arg-type]
    assert everything(redis) == before


def test_a_malformed_renewal_refuses_all(redis: Redis) -> None:
    worker = Worker(redis)
    a, b = worker.claim(message("a"), message("b"))
    before = everything(redis)
    renewals = (Renewal("a", a.fence, 5), Renewal("b", b.fence, "long"))  # type: ignore[arg-type]
    with pytest.raises(ResponseError, match="malformed"):
        worker.turn(renewals=renewals)
    with pytest.raises(ResponseError, match="malformed"):
        call(redis, Script.load("renew"), renewal_arguments(KEYS, "w1", renewals))
    assert everything(redis) == before


def test_a_worker_serves_its_other_queues(shared_server: Server, redis: Redis, tmp_path: Path) -> None:
    """Also one that begins while the queue is broken; and says so once."""
    redis.set("mails", "a string")
    with surroundings(shared_server.url, tmp_path) as tested:
        tested.worker(more=("-Q", "celery,mails"))
        for number in range(3):
            tested.send("note", f"n{number}")
        until(lambda: len(tested.notes("end")) == 3, lambda: tested.log())
        redis.delete("mails")
        tested.send("note", "mailed", queue="mails")
        until(lambda: len(tested.notes("end")) == 4, lambda: tested.log())
        assert tested.log().count("event=broken_queue list=mails") == 1


@pytest.mark.parametrize("key", ["lr:stats", "lr:stale", "lr:w:w1"])
def test_a_record_that_nothing_depends_on_begins_anew(redis: Redis, key: str) -> None:
    worker = Worker(redis)
    (claim,) = worker.claim(message("a"))
    redis.delete(key)
    redis.xadd(key, {"x": "y"})
    assert worker.end(claim, SettlementKind.OK) == "o"
    assert stat(redis, "broken") == 1 and redis.type(key) != b"stream"


def test_an_end_waits_until_the_indexes_are_right(shared_server: Server, redis: Redis, tmp_path: Path) -> None:
    """It is not given up piece by piece, as what Redis refuses for good."""
    with surroundings(shared_server.url, tmp_path) as tested:
        tested.worker()
        tested.send("note", "a", 0.5)
        until(lambda: tested.notes("begin"), lambda: tested.log())
        redis.set("lr:dead", "a string")
        until(lambda: tested.notes("end"), lambda: tested.log())
        until(lambda: "lr:dead has to be a zset" in tested.log(), lambda: tested.log())
        redis.config_resetstat()
        until(lambda: redis.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0) >= 5, "it asks again")
        redis.delete("lr:dead")
        until(lambda: stat(redis, "ok") == 1, lambda: tested.log())
        assert len(tested.notes("begin")) == 1 and "turn_refused" not in tested.log()


def test_the_statistics_leave_a_broken_queue_out(shared_server: Server, redis: Redis, tmp_path: Path) -> None:
    with surroundings(shared_server.url, tmp_path) as tested, connect(tested.app) as broker:
        for name in LISTS:
            Queue(name, Exchange(name), name).bind(broker.channel).declare()
            tested.send("note", "a", queue=name)
        redis.set("mails", "a string")
        assert [(depth.queue, depth.length) for depth in collect(broker).queues] == [("celery", 1), ("mails", 0)]


def test_leftovers_for_a_broken_queue_hold_up_no_other(shared_server: Server, redis: Redis, tmp_path: Path) -> None:
    redis.set("mails", "a string")
    with surroundings(shared_server.url, tmp_path) as tested, connect(tested.app) as broker:
        for number, queue in enumerate(LISTS):  # the later one first
            redis.hset("unacked", queue, json.dumps([json.loads(message(queue)), "", queue]))
            redis.zadd("unacked_index", {queue: number})
        broker.channel.qos.restore_visible()
        assert redis.hkeys("unacked") == [b"mails"] and redis.llen("celery") == 1
        redis.delete("mails")
        vars(broker.channel.qos).pop("_foreign_at_s")
        broker.channel.qos.restore_visible()
        assert not redis.exists("unacked", "unacked_index") and redis.llen("mails") == 1
