"""Splitting: each shard published once, whoever crashes, however many split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from batch_support import make_app, noted, queued
from celery import Celery, chain, signals
from kombu import Exchange, Queue
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import OutOfMemoryError, ResponseError
from relay_support import Relay
from server_process import Server
from sharding_support import arguments, payloads, settle_of, split, summary, work
from table_support import SettlementKind, Worker

from locked_retry import Job, JoinOn, Progress, UnknownJob, shard
from locked_retry.producer import sharding


@pytest.fixture
def app(redis: Redis, shared_server: Server) -> Iterator[Celery]:
    one = make_app(shared_server.url)
    yield one
    one.close()


@pytest.fixture
def told() -> Iterator[list[str]]:
    """The ids of what was announced as published."""
    ids: list[str] = []

    def tell(headers: Any, **_: Any) -> None:
        ids.append(headers["id"])

    signals.after_task_publish.connect(tell)
    yield ids
    signals.after_task_publish.disconnect(tell)


def unread() -> Iterator[int]:
    yield pytest.fail("read although it was published whole")


def test_each_shard_is_a_task_and_the_join_comes_when_all_have_ended(
    redis: Redis, app: Celery, shared_server: Server
) -> None:
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


def test_a_task_without_a_join_can_be_sharded(redis: Redis, app: Celery) -> None:
    job = shard(app.tasks["note"], range(2), 1, job_id="j")
    assert queued(redis, "celery") == ["j/1", "j/2"]
    redis.rename("celery", "q")
    work(redis)
    assert job.progress().joined and redis.keys("celery*") == []


def test_nothing_to_split_joins_at_once(redis: Redis, app: Celery, shared_server: Server) -> None:
    assert split(app, []).progress() == Progress(0, 0, 0, total=0, joined=True)
    assert split(app, unread()).progress().joined, "again"
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
    work(redis, SettlementKind.DEAD, most=1)
    busy = Worker(redis)
    (running,) = busy.turn(want=1).claims
    split(app, range(13))
    assert queued(redis) == ["j/4", "j/5", "j/6", "j/7"]
    assert job.progress() == Progress(published=7, done=1, dead=1, total=7)
    busy.end(running, SettlementKind.OK)
    work(redis)
    split(app, unread())
    assert arguments(shared_server.url, "joins") == [[summary(7, 6, 1)]]


def test_two_splitters_at_the_same_time_do_the_work_of_one(
    redis: Redis, app: Celery, told: list[str], monkeypatch: pytest.MonkeyPatch
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
    assert told == 2 * [f"j/{number}" for number in range(1, 16)], "each is announced by who published it"


def test_a_job_that_another_splitter_closed_grows_no_more(
    redis: Redis, app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharding, "CHUNK", 2)

    def longer() -> Iterator[int]:
        yield from range(4)
        split(app, range(6))
        yield from range(4, 20)

    with pytest.raises(ValueError, match="was split into 3 shards before, and these items make 10"):
        split(app, longer())
    assert queued(redis) == ["j/1", "j/2", "j/3"]
    assert Job.open(app, "j").progress() == Progress(3, 0, 0, total=3)


def test_long_shards_go_in_small_chunks(redis: Redis, shared_server: Server) -> None:
    app = make_app(shared_server.url, locked_retry={"most_bytes": 10_000})
    redis.config_resetstat()
    split(app, ["x" * 3000] * 8)
    calls = redis.info("commandstats")  # type: ignore[assignment]
    assert sum(calls[name]["calls"] for name in ("cmdstat_eval", "cmdstat_evalsha") if name in calls) >= 1 + 4
    app.close()


def test_lost_replies_double_nothing(redis: Redis, shared_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharding, "CHUNK", 4)
    relay = Relay(shared_server.port, every=2)
    app = make_app(f"redis://127.0.0.1:{relay.port}/0")
    split(app, range(80))
    assert queued(redis) == [f"j/{number}" for number in range(1, 41)] and relay.cut >= 4
    app.close()
    relay.stop()


def test_other_items_or_another_task_under_the_same_id_are_refused(redis: Redis, app: Celery) -> None:
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
    work(redis, SettlementKind.DEAD, most=1)
    job.forget()
    with pytest.raises(UnknownJob, match="no job 'j'"):
        job.progress()
    assert split(app).progress() == Progress(3, 1, 1, total=3)
    assert queued(redis) == ["j/3", "j/3"], "one was still queued: the workers drop the second copy"
    assert work(redis) == 1
    assert arguments(shared_server.url, "joins") == [[summary(3, 2, 1)]]


def test_a_job_that_is_forgotten_meanwhile_is_an_error(redis: Redis, app: Celery) -> None:
    def forgetting() -> Iterator[int]:
        yield 0
        Job(app, "j").forget()

    with pytest.raises(UnknownJob, match="was forgotten"):
        split(app, forgetting())
    assert redis.keys("lr:job*") == [] and redis.llen("q") == 0


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"size": 0}, "size has to be"),
        ({"keep_s": 0}, "keep_s has to be"),
        ({"job_id": ""}, "printable"),
        ({"job_id": "a\nb"}, "printable"),
        ({"join_on": "never"}, "JoinOn"),
        ({"join": "chain"}, "a chain is not one task"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(redis: Redis, app: Celery, given: dict[str, Any], error: str) -> None:
    if given.get("join"):
        given = {"join": chain(app.signature("a"), app.signature("b"))}
    with pytest.raises(ValueError, match=error):
        split(app, **given)
    assert redis.keys() == []


def test_tasks_that_cannot_be_sharded_are_refused(redis: Redis, app: Celery) -> None:
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
    assert worker.turn(want=1, settles=tuple(settle_of(claim, SettlementKind.OK) for claim in claims)).codes == "oo"
    (last,) = Worker(redis, name="w2").turn(want=1).claims or worker.again().claims
    assert worker.end(last, SettlementKind.OK) == "o"
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


def test_a_queue_whose_name_is_taken_meanwhile_stops_the_splitter(
    redis: Redis, app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharding, "CHUNK", 1)

    def taking() -> Iterator[int]:
        yield from range(2)
        redis.set("q", "not a list")

    with pytest.raises(ResponseError, match="q is no queue"):
        split(app, taking())
    assert Job.open(app, "j").progress() == Progress(0, 0, 0)


# --- eager


@pytest.mark.parametrize("join_on", JoinOn)
def test_an_eager_application_runs_the_job_at_once(join_on: JoinOn) -> None:
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
