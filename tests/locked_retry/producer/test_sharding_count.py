"""How shards end, and the join: each counts once, one join with the last; as tables of Redis state."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from batch_support import make_app
from celery import Celery
from kombu import Queue
from redis import Redis
from release_support import since_kombu
from server_process import Server
from server_support import Binary, binaries
from sharding_support import arguments, payloads, settle_of, split, summary, work
from table_support import SettlementKind, Worker, message, state
from waiting import until

from locked_retry import Job, JoinOn, Progress, shard
from locked_retry.operator.dead_letters import Tools
from locked_retry.producer import sharding


@pytest.fixture
def app(redis: Redis, shared_server: Server) -> Iterator[Celery]:
    one = make_app(shared_server.url)
    yield one
    one.close()


# --- counting


def test_a_shard_that_ends_twice_counts_once(redis: Redis, app: Celery) -> None:
    """Its turn is repeated, or its message comes again when the completion record is gone."""
    job = split(app)
    (raw,) = redis.lrange("q", -1, -1)  # type: ignore[misc]
    worker = Worker(redis)
    (claim,) = worker.turn(want=1).claims
    worker.end(claim, SettlementKind.OK)
    worker.again()
    assert job.progress().done == 1
    for kind in (SettlementKind.OK, SettlementKind.DEAD):
        redis.delete("lr:done:j/1")
        redis.rpush("q", raw)
        work(redis, kind, most=1)
        assert job.progress() == Progress(3, 1, 0, total=3), "done stays done"


def test_a_refused_settle_does_not_count(redis: Redis, app: Celery) -> None:
    job = split(app)
    worker = Worker(redis)
    (claim,) = worker.turn(want=1).claims
    assert Worker(redis, name="thief").end(claim, SettlementKind.OK) == "s"
    assert job.progress().done == 0


def test_retries_and_requeues_are_not_ends(redis: Redis, app: Celery) -> None:
    job = split(app)
    for kind in (SettlementKind.REQUEUE, SettlementKind.SNOOZE, SettlementKind.RETRY):
        work(redis, kind, most=1)
    assert job.progress() == Progress(3, 0, 0, total=3)
    until(lambda: work(redis) and job.progress().done == 3, "all are due and done")


def test_the_join_waits_for_the_splitter(
    redis: Redis, app: Celery, shared_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharding, "CHUNK", 1)

    def slow() -> Iterator[int]:
        yield from range(4)
        work(redis)
        assert (str(Job.open(app, "j").progress()), redis.llen("joins")) == ("1 of 1 so far done, 0 dead, 0 left", 0)

    split(app, slow())
    work(redis)
    assert arguments(shared_server.url, "joins") == [[summary(2, 2, 0)]]


@pytest.mark.parametrize("join_on", JoinOn)
def test_a_requeued_dead_shard_counts_as_done(
    redis: Redis, app: Celery, shared_server: Server, join_on: JoinOn
) -> None:
    job = split(app, join_on=join_on)
    work(redis, SettlementKind.DEAD, most=1)
    work(redis)
    early = join_on is JoinOn.ALL
    assert job.progress() == Progress(3, 2, 1, total=3, joined=early)
    assert job.dead() == ["j/1"]
    assert Tools(redis).requeue(job.dead()) == ["j/1"]
    assert job.progress() == Progress(3, 2, 0, total=3, joined=early) and job.dead() == []
    work(redis)
    assert job.progress() == Progress(3, 3, 0, total=3, joined=True)
    assert arguments(shared_server.url, "joins") == [[summary(3, 2, 1) if early else summary(3, 3, 0)]]


def test_a_requeued_shard_is_waited_for(redis: Redis, app: Celery) -> None:
    job = split(app)
    work(redis, SettlementKind.DEAD, most=1)
    Tools(redis).requeue(["j/1"])
    worker = Worker(redis)
    (again,) = worker.turn(want=1).claims
    work(redis)
    assert (again.row, str(job.progress())) == ("j/1", "2 of 3 done, 0 dead, 1 left")
    worker.end(again, SettlementKind.DEAD)
    assert (job.progress().joined, job.dead(), redis.llen("joins")) == (True, ["j/1"], 1)


def test_dead_shards_are_found_among_many(redis: Redis, app: Celery) -> None:
    job = split(app, range(40), 1)
    fell = {1, 2, 7, 8, 39}
    worker = Worker(redis)
    for number, claim in enumerate(worker.turn(want=40).claims, 1):
        worker.end(claim, SettlementKind.DEAD if number in fell else SettlementKind.OK)
    assert job.dead() == [f"j/{number}" for number in sorted(fell)]


def test_a_shard_whose_worker_dies_for_good_counts_as_dead(redis: Redis, app: Celery) -> None:
    """DeadLettered by the reaper, and by the worker that held it."""
    job = split(app)
    lost = Worker(redis, name="lost", lease_ms=1, max_crashes=1)
    (claim,) = lost.turn(want=1).claims
    redis.hset("lr:t:j/1", "s", "1")
    redis.hset("lr:t:j/1", "mc", "1")
    reaper = Worker(redis, name="reaper")
    until(lambda: reaper.turn().reaped, "the lease ends")
    assert (claim.row, state(redis, "j/1"), job.progress().dead) == ("j/1", "x", 1)
    worker = Worker(redis)
    (claim,) = worker.turn(want=1).claims
    assert worker.turn(settles=(settle_of(claim, SettlementKind.CRASH),)).codes == "x"
    assert job.progress().dead == 2


@pytest.mark.parametrize("shard_id", ["gone/1", "j/4", "j/0", "j/99999999999999999999", "j/007", "j", "/", "j/-1", 7])
def test_marks_of_no_shard_are_ignored(redis: Redis, app: Celery, shard_id: Any) -> None:
    split(app, keep_s=1)
    redis.delete("q")
    before = redis.hgetall("lr:job:j")
    worker = Worker(redis)
    (claim,) = worker.claim(message("a", lr_job=shard_id))
    assert worker.end(claim, SettlementKind.OK) == "o"
    assert redis.hgetall("lr:job:j") == before and redis.exists("lr:marks:j") == 0
    assert [key for key in redis.keys("lr:job:*") if key != b"lr:job:j"] == []


def test_without_a_job_nothing_is_written_for_one(redis: Redis) -> None:
    worker = Worker(redis)
    (claim,) = worker.claim(message("a"))
    assert redis.hexists("lr:t:a", "jb") == 0
    worker.end(claim, SettlementKind.OK)
    assert redis.keys("lr:job*") == redis.keys("lr:marks*") == []


# --- the join


def test_a_join_is_json_whatever_the_application_uses(redis: Redis, app: Celery, shared_server: Server) -> None:
    """Its arguments are JSON all the same; what JSON of Celery can carry is carried."""
    app.conf.update(task_serializer="pickle", task_compression="gzip", accept_content=["json", "pickle"])
    when = datetime(2026, 11, 24, tzinfo=UTC)
    join = app.signature("report", args=(when,), kwargs={"x": "\1total\1 %s ü"}).set(queue="joins", task_id="mine")
    split(app, join=join)
    work(redis)
    (found,) = payloads(shared_server.url, "joins")
    assert found.payload[:2] == [[summary(3, 3, 0), when], {"x": "\1total\1 %s ü"}]
    assert (found.headers["id"], found.headers["lang"], found.content_type) == ("mine", "py", "application/json")


def test_an_immutable_join_gets_only_its_own_arguments(redis: Redis, app: Celery, shared_server: Server) -> None:
    split(app, join=app.signature("report", args=(1,), immutable=True).set(queue="joins"))
    work(redis)
    assert arguments(shared_server.url, "joins") == [[1]]


def test_the_applications_own_keys_are_used(redis: Redis, shared_server: Server) -> None:
    app = make_app(shared_server.url, global_keyprefix="pre:", locked_retry={"namespace": "mine:"})
    join = app.signature("report").set(queue="joins", priority=6)
    job = shard(app.tasks["note"].s().set(queue="q", priority=3), range(2), 1, job_id="j", join=join)
    assert job.progress().total == 2
    assert set(redis.keys()) >= {b"pre:mine:job:j", b"pre:q\x06\x163"}
    lists = json.loads(json.dumps([redis.hget("pre:mine:job:j", "list").decode()]))  # type: ignore[union-attr]
    assert lists == ["pre:joins\x06\x166"]
    app.close()


@since_kombu(5, 7, "x-expires")
def test_lists_that_expire_are_kept_as_long_as_celery_keeps_them(redis: Redis, app: Celery) -> None:
    app.conf.task_queues = [
        Queue("q", queue_arguments={"x-expires": 60_000}),
        Queue("joins", queue_arguments={"x-expires": 90_000}),
    ]
    split(app)
    assert 0 < redis.pttl("q") <= 60_000
    work(redis)
    assert 60_000 < redis.pttl("joins") <= 90_000


@pytest.mark.parametrize("binary", binaries(), ids=lambda binary: binary.name)
def test_shards_are_counted_on_every_server(binary: Binary, tmp_path: Path) -> None:
    server = Server(tmp_path, binary.path)
    app = make_app(server.url)
    job = split(app)
    work(server.client, SettlementKind.DEAD, most=1)
    work(server.client)
    assert job.progress() == Progress(3, 2, 1, total=3, joined=True)
    assert (job.dead(), arguments(server.url, "joins")) == (["j/1"], [[summary(3, 2, 1)]])
    app.close()
    server.stop()
