"""Sharding: split once, count each end once, join once; as tables of Redis state."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from batch_support import make_app, noted, queued
from celery import Celery, chain, signals
from conftest import Server
from kombu import Connection, Exchange, Queue
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import OutOfMemoryError, ResponseError
from relay_support import Relay
from table_support import Kind, Worker, message, settle, state, until

from locked_retry import Job, JoinOn, Progress, UnknownJob, shard, sharding
from locked_retry.dead_letters import Tools


@pytest.fixture
def app(redis: Redis, shared_server: Server) -> Iterator[Celery]:
    one = make_app(shared_server.url)
    yield one
    one.close()


def split(app: Celery, items: Iterable[Any] = range(6), size: int = 2, **more: Any) -> Job:
    """Six items in three shards into "q", the join into "joins"; all of it named "j"."""
    given = {"join": app.signature("report").set(queue="joins"), "job_id": "j", **more}
    return shard(app.tasks["note"].s().set(queue="q"), items, size, **given)


def payloads(url: str, queue: str) -> list[Any]:
    """The messages of a queue as plain kombu reads them; they are taken."""
    with Connection(url) as connection, connection.SimpleQueue(queue, no_ack=True) as taken:
        return [taken.get(block=False) for _ in range(taken.qsize())]


def arguments(url: str, queue: str) -> list[Any]:
    return [one.payload[0] for one in payloads(url, queue)]


def summary(total: int, done: int, dead: int) -> dict[str, Any]:
    return {"job_id": "j", "total": total, "done": done, "dead": dead}


def work(redis: Redis, kind: Kind = Kind.OK, most: int = 100) -> int:
    """End up to so many queued shards; how many there were."""
    worker = Worker(redis, name=f"w-{kind}-{redis.incr('workers')}")
    claims = worker.turn(want=most).claims
    assert set(worker.turn(settles=tuple(settle_of(claim, kind) for claim in claims)).codes) <= {"o"}
    return len(claims)


def settle_of(claim: Any, kind: Kind) -> Any:
    return settle(claim, kind, reason="1 it died" if kind is Kind.CRASH else "")


def unread() -> Iterator[int]:
    yield pytest.fail("read although it was published whole")


# --- splitting


def test_one_task_for_each_shard_and_one_when_all_have_ended(redis: Redis, app: Celery, shared_server: Server) -> None:
    job = split(app, iter(range(7)), 3, keep_s=60)
    assert queued(redis) == ["j/1", "j/2", "j/3"]
    assert job.progress() == Progress(published=3, done=0, dead=0, total=3)
    assert work(redis, most=2) == 2
    assert (str(job.progress()), redis.llen("joins"), redis.ttl("lr:job:j")) == ("2 of 3 done, 0 dead, 1 left", 0, -1)
    assert work(redis) == 1
    assert job.progress() == Progress(published=3, done=3, dead=0, total=3, joined=True)
    assert all(0 < redis.pttl(key) <= 60_000 for key in ("lr:job:j", "lr:marks:j"))
    (join,) = payloads(shared_server.url, "joins")
    assert (join.headers["task"], join.headers["id"], join.payload[:2]) == (
        "report",
        "j/join",
        [[summary(3, 3, 0)], {}],
    )
    assert "'done': 3" in join.headers["argsrepr"]


def test_items_come_first_and_options_stay(redis: Redis, app: Celery, shared_server: Server) -> None:
    signature = app.signature("elsewhere", args=("a",), kwargs={"width": 80}).set(queue="q", headers={"mine": 1})
    shard(signature, ["x", "y", "z"], 2, job_id="j")
    found = payloads(shared_server.url, "q")
    assert [one.payload[:2] for one in found] == [[[["x", "y"], "a"], {"width": 80}], [[["z"], "a"], {"width": 80}]]
    assert [(one.headers["lr_job"], one.headers["mine"]) for one in found] == [("j/1", 1), ("j/2", 1)]


def test_a_task_instead_of_a_signature_and_no_join(redis: Redis, app: Celery) -> None:
    job = shard(app.tasks["note"], range(2), 1, job_id="j")
    assert queued(redis, "celery") == ["j/1", "j/2"]
    redis.rename("celery", "q")
    work(redis)
    assert job.progress().joined and redis.keys("celery*") == []


def test_nothing_to_split_joins_at_once(redis: Redis, app: Celery, shared_server: Server) -> None:
    assert split(app, []).progress() == Progress(0, 0, 0, total=0, joined=True)
    assert split(app, []).progress().joined, "again"
    assert arguments(shared_server.url, "joins") == [[summary(0, 0, 0)]]


def test_a_splitter_that_crashed_goes_on_where_it_was(
    redis: Redis, app: Celery, shared_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what it had published some is done, some is running, some is queued, some is dead."""
    monkeypatch.setattr(sharding, "CHUNK", 2)

    def failing() -> Iterator[int]:
        yield from range(11)
        raise OSError("the splitter's disk")

    with pytest.raises(OSError, match="disk"):
        split(app, failing())
    job = Job.open(app, "j")
    assert job.progress() == Progress(published=4, done=0, dead=0)
    work(redis, most=1)
    work(redis, Kind.DEAD, most=1)
    busy = Worker(redis)
    (running,) = busy.turn(want=1).claims
    split(app, range(13))
    assert queued(redis) == ["j/4", "j/5", "j/6", "j/7"]
    assert job.progress() == Progress(published=7, done=1, dead=1, total=7)
    busy.end(running, Kind.OK)
    work(redis)
    split(app, unread())
    assert arguments(shared_server.url, "joins") == [[summary(7, 6, 1)]]


def test_two_splitters_at_the_same_time_do_the_work_of_one(
    redis: Redis, app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second overtakes the first in the middle of its chunk, and stops early or closes the job."""
    monkeypatch.setattr(sharding, "CHUNK", 3)

    def overtaken(other: Callable[[], Any]) -> Iterator[int]:
        for item in range(30):
            if item == 9:
                other()
            yield item

    def stopping() -> None:
        def early() -> Iterator[int]:
            yield from range(21)
            raise OSError("stopped")

        with pytest.raises(OSError, match="stopped"):
            split(app, early())

    for other in (stopping, lambda: split(app, range(30))):
        redis.flushall()
        split(app, overtaken(other))
        assert queued(redis) == [f"j/{number}" for number in range(1, 16)]
        assert Job.open(app, "j").progress() == Progress(15, 0, 0, total=15)


def test_lost_replies_double_nothing(redis: Redis, shared_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharding, "CHUNK", 4)
    relay = Relay(shared_server.port, every=2)
    app = make_app(f"redis://127.0.0.1:{relay.port}/0")
    split(app, range(80))
    assert queued(redis) == [f"j/{number}" for number in range(1, 41)] and relay.cut >= 4
    app.close()
    relay.stop()


def test_other_items_or_another_task_under_the_same_id(redis: Redis, app: Celery) -> None:
    def failing() -> Iterator[int]:
        yield from [0] * sharding.CHUNK * 2
        yield 0
        raise OSError("stopped")

    with pytest.raises(OSError, match="stopped"):
        split(app, failing(), size=1)
    before = redis.hgetall("lr:job:j"), redis.lrange("q", 0, -1)
    with pytest.raises(ValueError, match="was split into 400 shards before, and these items make 2"):
        split(app, range(2), size=1)
    with pytest.raises(ValueError, match="begun as note by 1, not as note by 2: take another job_id"):
        split(app)
    assert (redis.hgetall("lr:job:j"), redis.lrange("q", 0, -1)) == before


def test_what_failed_before_the_first_shard_binds_nobody(redis: Redis, app: Celery, shared_server: Server) -> None:
    with pytest.raises(TypeError):
        shard(app.tasks["note"].s(1, 2, 3, 4), range(4), 1, job_id="j")
    split(app)
    work(redis)
    assert arguments(shared_server.url, "joins") == [[summary(3, 3, 0)]]


def test_what_workers_know_of_an_earlier_job_counts(redis: Redis, app: Celery, shared_server: Server) -> None:
    """Its keys are gone, but a dead letter and a completion record of the same names are there."""
    job = split(app)
    work(redis, most=1)
    work(redis, Kind.DEAD, most=1)
    job.forget()
    with pytest.raises(UnknownJob, match="no job 'j'"):
        job.progress()
    assert split(app).progress() == Progress(3, 1, 1, total=3)
    assert queued(redis) == ["j/3", "j/3"], "one was still queued: the workers drop the second copy"
    assert work(redis) == 1
    assert arguments(shared_server.url, "joins") == [[summary(3, 2, 1)]]


def test_a_job_that_is_forgotten_meanwhile(redis: Redis, app: Celery) -> None:
    def forgetting() -> Iterator[int]:
        yield 0
        Job(app, "j").forget()

    with pytest.raises(UnknownJob, match="was forgotten"):
        split(app, forgetting())
    assert redis.keys("lr:job*") == [] and redis.llen("q") == 0


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"size": 0}, "size >= 1"),
        ({"keep_s": 0}, "keep_s > 0"),
        ({"job_id": ""}, "printable"),
        ({"job_id": "a\nb"}, "printable"),
        ({"join_on": "never"}, "JoinOn"),
        ({"join": "chain"}, "a chain is not one task"),
    ],
)
def test_arguments_that_make_no_sense(redis: Redis, app: Celery, given: dict[str, Any], error: str) -> None:
    if given.get("join"):
        given = {"join": chain(app.signature("a"), app.signature("b"))}
    with pytest.raises(ValueError, match=error):
        split(app, **given)
    assert redis.keys() == []


def test_tasks_that_cannot_be_sharded(redis: Redis, app: Celery) -> None:
    app.task(name="early", shared=False, acks_late=False)(noted)
    topic = Exchange("topic", "topic")
    with app.connection_for_write() as connection:
        for name in ("q1", "q2"):
            Queue(name, topic, routing_key="t", channel=connection.default_channel).declare()
    for signature, error in (
        (app.signature("early"), "count as done when they begin"),
        (app.signature("note", immutable=True), r"use \.s\(\) instead"),
        (app.signature("note").set(exchange="topic", routing_key="t"), "exactly one"),
    ):
        with pytest.raises(ValueError, match=error):
            shard(signature, range(3), 1, job_id="j")
    assert redis.llen("q1") == 0


def test_publishing_is_announced_once_for_each(redis: Redis, app: Celery) -> None:
    told: list[str] = []

    def tell(headers: Any, **_: Any) -> None:
        told.append(headers["id"])

    signals.after_task_publish.connect(tell)
    try:
        split(app)
        split(app)
    finally:
        signals.after_task_publish.disconnect(tell)
    assert told == ["j/1", "j/2", "j/3"]


# --- counting


def test_a_shard_that_ends_twice_counts_once(redis: Redis, app: Celery) -> None:
    """Its turn is repeated, or its message comes again when the completion record is gone."""
    job = split(app)
    (raw,) = redis.lrange("q", -1, -1)  # type: ignore[misc]
    worker = Worker(redis)
    (claim,) = worker.turn(want=1).claims
    worker.end(claim, Kind.OK)
    worker.again()
    assert job.progress().done == 1
    for kind in (Kind.OK, Kind.DEAD):
        redis.delete("lr:done:j/1")
        redis.rpush("q", raw)
        work(redis, kind, most=1)
        assert job.progress() == Progress(3, 1, 0, total=3), "done stays done"


def test_a_refused_settle_does_not_count(redis: Redis, app: Celery) -> None:
    job = split(app)
    worker = Worker(redis)
    (claim,) = worker.turn(want=1).claims
    assert Worker(redis, name="thief").end(claim, Kind.OK) == "s"
    assert job.progress().done == 0


def test_retries_and_requeues_are_not_ends(redis: Redis, app: Celery) -> None:
    job = split(app)
    for kind in (Kind.REQUEUE, Kind.SNOOZE, Kind.RETRY):
        work(redis, kind, most=1)
    assert job.progress() == Progress(3, 0, 0, total=3)
    until(lambda: work(redis) and job.progress().done == 3, "all are due and done")


def test_the_last_shard_ends_before_the_splitter(
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
def test_a_dead_shard_and_its_second_life(redis: Redis, app: Celery, shared_server: Server, join_on: JoinOn) -> None:
    job = split(app, join_on=join_on)
    work(redis, Kind.DEAD, most=1)
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
    work(redis, Kind.DEAD, most=1)
    Tools(redis).requeue(["j/1"])
    worker = Worker(redis)
    (again,) = worker.turn(want=1).claims
    work(redis)
    assert (again.row, str(job.progress())) == ("j/1", "2 of 3 done, 0 dead, 1 left")
    worker.end(again, Kind.DEAD)
    assert (job.progress().joined, job.dead(), redis.llen("joins")) == (True, ["j/1"], 1)


def test_dead_shards_are_found_among_many(redis: Redis, app: Celery) -> None:
    job = split(app, range(40), 1)
    fell = {1, 2, 7, 8, 39}
    worker = Worker(redis)
    for number, claim in enumerate(worker.turn(want=40).claims, 1):
        worker.end(claim, Kind.DEAD if number in fell else Kind.OK)
    assert job.dead() == [f"j/{number}" for number in sorted(fell)]


def test_a_shard_whose_worker_dies_for_good_counts_as_dead(redis: Redis, app: Celery) -> None:
    """Buried by the reaper, and by the worker that held it."""
    job = split(app)
    lost = Worker(redis, name="lost", lease_ms=1, max_crashes=1)
    (claim,) = lost.turn(want=1).claims
    redis.hset("lr:t:j/1", "s", "1")
    redis.hset("lr:t:j/1", "mc", "1")
    until(lambda: Worker(redis, name="reaper").turn().reaped, "the lease ends")
    assert (claim.row, state(redis, "j/1"), job.progress().dead) == ("j/1", "x", 1)
    worker = Worker(redis)
    (claim,) = worker.turn(want=1).claims
    assert worker.turn(settles=(settle_of(claim, Kind.CRASH),)).codes == "x"
    assert job.progress().dead == 2


@pytest.mark.parametrize("shard_id", ["gone/1", "j/4", "j/0", "j/99999999999999999999", "j/007", "j", "/", "j/-1", 7])
def test_marks_of_no_shard_are_ignored(redis: Redis, app: Celery, shard_id: Any) -> None:
    split(app, keep_s=1)
    redis.delete("q")
    before = redis.hgetall("lr:job:j")
    worker = Worker(redis)
    (claim,) = worker.claim(message("a", lr_job=shard_id))
    assert worker.end(claim, Kind.OK) == "o"
    assert redis.hgetall("lr:job:j") == before and redis.exists("lr:marks:j") == 0
    assert [key for key in redis.keys("lr:job:*") if key != b"lr:job:j"] == []


def test_without_a_job_nothing_is_written_for_one(redis: Redis) -> None:
    worker = Worker(redis)
    (claim,) = worker.claim(message("a"))
    assert redis.hexists("lr:t:a", "jb") == 0
    worker.end(claim, Kind.OK)
    assert redis.keys("lr:job*") == redis.keys("lr:marks*") == []


# --- the join


def test_a_join_of_an_application_with_pickle_and_compression(redis: Redis, app: Celery, shared_server: Server) -> None:
    """Its arguments are JSON all the same; what JSON of Celery can carry is carried."""
    app.conf.update(task_serializer="pickle", task_compression="gzip", accept_content=["json", "pickle"])
    when = datetime(2026, 11, 24, tzinfo=UTC)
    join = app.signature("report", args=(when,), kwargs={"x": "\1total\1 %s ü"}).set(queue="joins", task_id="mine")
    split(app, join=join)
    work(redis)
    (found,) = payloads(shared_server.url, "joins")
    assert found.payload[:2] == [[summary(3, 3, 0), when], {"x": "\1total\1 %s ü"}]
    assert (found.headers["id"], found.headers["lang"], found.content_type) == ("mine", "py", "application/json")


def test_an_immutable_join_gets_only_its_own(redis: Redis, app: Celery, shared_server: Server) -> None:
    split(app, join=app.signature("report", args=(1,), immutable=True).set(queue="joins"))
    work(redis)
    assert arguments(shared_server.url, "joins") == [[1]]


def test_the_applications_own_keys(redis: Redis, shared_server: Server) -> None:
    app = make_app(shared_server.url, global_keyprefix="pre:", locked_retry={"namespace": "mine:"})
    join = app.signature("report").set(queue="joins", priority=6)
    job = shard(app.tasks["note"].s().set(queue="q", priority=3), range(2), 1, job_id="j", join=join)
    assert job.progress().total == 2
    assert set(redis.keys()) >= {b"pre:mine:job:j", b"pre:q\x06\x163"}
    lists = json.loads(json.dumps([redis.hget("pre:mine:job:j", "list").decode()]))  # type: ignore[union-attr]
    assert lists == ["pre:joins\x06\x166"]
    app.close()


def test_lists_that_expire_are_kept_as_long_as_celery_keeps_them(redis: Redis, app: Celery) -> None:
    app.conf.task_queues = [
        Queue("q", queue_arguments={"x-expires": 60_000}),
        Queue("joins", queue_arguments={"x-expires": 90_000}),
    ]
    split(app)
    assert 0 < redis.pttl("q") <= 60_000
    work(redis)
    assert 60_000 < redis.pttl("joins") <= 90_000


# --- a Redis that refuses


def test_a_full_redis_can_be_drained_up_to_the_join(server: Server) -> None:
    redis = server.client
    app = make_app(server.url)
    job = split(app)
    redis.set("workers", 0)
    claims = Worker(redis).turn(want=2).claims
    redis.config_set("maxmemory", 1)
    with pytest.raises(OutOfMemoryError):
        split(app, range(4), job_id="other")
    worker = Worker(redis)
    worker.number = 1
    assert worker.turn(want=1, settles=tuple(settle_of(claim, Kind.OK) for claim in claims)).codes == "oo"
    (last,) = Worker(redis, name="w2").turn(want=1).claims or worker.again().claims
    assert worker.end(last, Kind.OK) == "o"
    assert (job.progress().joined, redis.llen("joins")) == (True, 1)
    redis.config_set("maxmemory", 0)
    assert redis.keys("*other*") == [], "a refused begin leaves nothing"
    app.close()


def test_a_refused_chunk_leaves_nothing(server: Server) -> None:
    redis = server.client
    app = make_app(server.url)

    def filling() -> Iterator[int]:
        yield from range(6)
        redis.config_set("maxmemory", 1)

    with pytest.raises(OutOfMemoryError):
        split(app, filling())
    redis.config_set("maxmemory", 0)
    assert (redis.llen("q"), Job.open(app, "j").progress()) == (0, Progress(0, 0, 0))
    assert split(app).progress().total == 3
    app.close()


def test_queues_whose_name_is_taken_stop_the_splitter_not_the_workers(redis: Redis, app: Celery) -> None:
    for name in ("joins", "q"):
        redis.set(name, "not a list")
        with pytest.raises((ResponseError, OperationalError), match="WRONGTYPE"):
            split(app)
        redis.delete(name)
    job = split(app)
    redis.set("joins", "not a list")
    work(redis)
    assert job.progress() == Progress(3, 3, 0, total=3), "all is counted, but it cannot join"
    redis.delete("joins")
    assert split(app).progress().joined and redis.llen("joins") == 1


# --- eager


@pytest.mark.parametrize("join_on", JoinOn)
def test_eager_applications_run_it_here_and_now(join_on: JoinOn) -> None:
    app = Celery("eager", set_as_current=False)
    app.conf.task_always_eager = True
    seen: list[Any] = []

    def fail_on_two(items: list[int], by: int) -> None:
        if 2 in items:
            raise ValueError(items)
        seen.append((items, by))

    def note_report(told: dict[str, Any]) -> None:
        seen.append(told)

    task = app.task(name="work", shared=False, acks_late=True)(fail_on_two)
    report = app.task(name="report", shared=False)(note_report)
    job = shard(task.s(by=7), range(5), 2, job_id="j", join=report, join_on=join_on)
    early = join_on is JoinOn.ALL
    assert job.progress() == Progress(3, 2, 1, total=3, joined=early)
    assert seen == [([0, 1], 7), ([4], 7), *([summary(3, 2, 1)] if early else [])]
