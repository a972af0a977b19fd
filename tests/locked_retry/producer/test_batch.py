"""submit_many: each task id once and an answer for each, the application's own queues, workers of both kinds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from batch_support import make_app, outcomes, queued
from celery import Celery, Task, chain, signals
from kombu import Queue, pools
from kombu.transport.redis import Channel
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from relay_support import Relay
from release_support import since_kombu
from server_process import Server, free_port
from table_support import stat
from waiting import until
from worker_support import settled, surroundings

from locked_retry import Answers, NotSubmitted, Outcome, TaskAnswer, submit_many
from locked_retry.adapter.messages import Messages

ACCEPTED, DUPLICATE, REFUSED, UNKNOWN = Outcome.ACCEPTED, Outcome.DUPLICATE, Outcome.REFUSED, Outcome.UNKNOWN


@pytest.fixture
def app(redis: Redis, shared_server: Server) -> Iterator[Celery]:
    one = make_app(shared_server.url)
    yield one
    one.close()


def test_a_big_mixed_batch_is_answered_in_order(redis: Redis, app: Celery) -> None:
    """Signatures, tuples, names, options, duplicates and nonsense, in chunks of 100; an answer for each, in order."""
    note = app.tasks["note"]
    kinds: list[tuple[Any, Outcome, str]] = []
    for n in range(400):
        kinds += [
            (note.s(n), ACCEPTED, "celery"),
            (note.s(n).set(queue="other", priority=6), ACCEPTED, "other\x06\x166"),
            ((note, (n,), {"work_s": 1.0}), ACCEPTED, "celery"),
            (("elsewhere", (n,), {}, {"queue": "third", "countdown": n}), ACCEPTED, "third"),
            ((note, (n,), {}, {"task_id": f"id-{n // 2}"}), DUPLICATE if n % 2 else ACCEPTED, "celery"),
        ]
    kinds.insert(550, ((note, ()), REFUSED, "TypeError"))
    kinds.insert(900, (chain(note.si(1), note.si(2)), REFUSED, "a chain is not one task"))
    kinds.insert(901, (note, REFUSED, "not a signature"))
    kinds.insert(902, ((note, (object(),)), REFUSED, "object"))
    kinds.insert(903, ((note, (1,), {}, {"task_id": 7}), REFUSED, "has to be a string"))
    answers = submit_many((item for item, _, _ in kinds), app=app, chunk=100)
    assert outcomes(answers) == [outcome for _, outcome, _ in kinds]
    for answer, (_, outcome, text) in zip(answers, kinds, strict=True):
        assert outcome is not REFUSED or text in answer.reason
    wanted: dict[str, list[str]] = {}
    for answer, (_, outcome, name) in zip(answers, kinds, strict=True):
        if outcome is ACCEPTED:
            wanted.setdefault(name, []).append(answer.task_id)
    assert {name: queued(redis, name) for name in wanted} == wanted
    assert (len(answers.accepted), len(answers.duplicate), len(answers.refused)) == (1800, 200, 5)
    assert str(answers) == "1800 accepted, 200 duplicate, 5 refused"


def test_answers_add_up() -> None:
    good = Answers((TaskAnswer("a", ACCEPTED), TaskAnswer("b", DUPLICATE, "completed")))
    assert (
        good.ok
        and good.check() is good
        and (good[1].reason, len(good[:1]), str(Answers(())))
        == (
            "completed",
            1,
            "no tasks",
        )
    )
    bad = Answers((*good, TaskAnswer("c", UNKNOWN, "no answer"), TaskAnswer("d", REFUSED, "OOM")))
    with pytest.raises(NotSubmitted, match=r"1 refused and 1 unknown of 4 tasks; the first: d: OOM") as raised:
        bad.check()
    assert not bad.ok and raised.value.answers is bad


def test_duplicates_are_found_within_a_batch_and_across_batches(redis: Redis, app: Celery) -> None:
    """Also when the two are in different chunks, which long messages begin by themselves."""
    app.conf.broker_transport_options = {"locked_retry": {"most_bytes": 5000}, "socket_timeout": 5}
    items = [("note", ("x" * 2000,), {}, {"task_id": task_id}) for task_id in "abacbd"]
    assert [a.reason for a in submit_many(items, app=app)] == ["", "", "submitted before", "", "submitted before", ""]
    assert queued(redis, "celery") == ["a", "b", "c", "d"]
    assert redis.info("commandstats")["cmdstat_evalsha"]["calls"] >= 5  # type: ignore[index]
    assert outcomes(submit_many(items, app=app)) == [DUPLICATE] * 6


@pytest.mark.parametrize("kind", ["prefix", "database", "namespace", "priority steps", "installed"])
def test_the_applications_own_keys_are_used(redis: Redis, shared_server: Server, kind: str) -> None:
    options = {
        "prefix": {"global_keyprefix": "pre:"},
        "namespace": {"locked_retry": {"namespace": "mine:", "done_s": 90}},
        "priority steps": {"priority_steps": [0, 2, 4], "sep": "/"},
    }.get(kind, {})
    url = shared_server.url.removesuffix("/0") + ("/3" if kind == "database" else "/0")
    app = make_app(url, **options)
    if kind == "installed":
        import locked_retry

        locked_retry.install(app)
    assert submit_many([("note", (1,), {}, {"task_id": "a", "priority": 5})] * 2, app=app).ok
    with Redis.from_url(url) as client:
        lists = {key.decode() for key in client.scan_iter(_type="list")}
        (mark,) = client.scan_iter("*sub:a")
        ttl_ms = client.pttl(mark)
    app.close()
    assert mark == {"prefix": b"pre:lr:sub:a", "namespace": b"mine:sub:a"}.get(kind, b"lr:sub:a")
    assert lists == {{"prefix": "pre:celery\x06\x163", "priority steps": "celery/4"}.get(kind, "celery\x06\x163")}
    assert ttl_ms <= (90_000 if kind == "namespace" else 600_000)


@since_kombu(5, 7, "x-expires")
def test_queues_that_expire_live_on(redis: Redis, app: Celery) -> None:
    app.conf.task_queues = [Queue("short", queue_arguments={"x-expires": 5000})]
    assert submit_many([("note", (n,), {}, {"queue": "short"}) for n in range(3)], app=app).ok
    assert 0 < redis.pttl("short") <= 5000


def test_after_task_publish_is_sent_only_for_what_was_accepted(redis: Redis, app: Celery) -> None:
    told = []

    def after(sender: str = "", headers: Any = None, body: Any = None, routing_key: str = "", **_: Any) -> None:
        told.append((sender, headers["id"], body[0], routing_key, redis.llen("celery")))

    signals.after_task_publish.connect(after)
    try:
        submit_many([("note", (n,), {}, {"task_id": i}) for n, i in enumerate("aab")], app=app)
    finally:
        signals.after_task_publish.disconnect(after)
    assert told == [("note", "a", (0,), "celery", 2), ("note", "b", (2,), "celery", 2)]


def test_a_bad_call_is_refused(app: Celery) -> None:
    for chunk in (0, 2001):
        with pytest.raises(ValueError, match="between 1 and 2000"):
            submit_many([], app=app, chunk=chunk)
    with pytest.raises(ValueError, match="needs a Redis broker"):
        submit_many([], app=Celery(broker="memory://", set_as_current=False))
    assert str(submit_many([], app=app)) == "no tasks"


def test_a_task_id_that_is_no_utf_8_is_refused_alone(redis: Redis, app: Celery) -> None:
    """It raised out of the call, which took the answers of what was queued along."""
    items = [("note", (n,), {}, {"task_id": "\udce9" if n == 4 else f"t{n}"}) for n in range(9)]
    answers = submit_many(items, app=app, chunk=2)
    assert outcomes(answers) == [ACCEPTED] * 4 + [REFUSED] + [ACCEPTED] * 4
    assert "has to be UTF-8" in answers[4].reason and redis.llen("celery") == 8


def test_eager_tasks_run_at_once(app: Celery) -> None:
    ran = []
    app.conf.task_always_eager = True

    @app.task(name="eager", base=Task, shared=False)  # type: ignore[untyped-decorator]
    def task(name: str) -> None:
        ran.append(name)

    assert outcomes(submit_many([task.s("a"), (task, ("b",)), (task, ())], app=app)) == [ACCEPTED, ACCEPTED, REFUSED]
    assert ran == ["a", "b"]


def test_a_result_backend_that_is_down_holds_nothing_up(redis: Redis, app: Celery) -> None:
    """Nor is it subscribed to thousands of results; they can be waited for later as usual."""
    app.conf.update(result_backend=f"redis://127.0.0.1:{free_port()}/0", task_ignore_result=False)
    answers = submit_many([("note", (n,), {}, {"headers": {"n": n}} if n % 2 else {}) for n in range(10)], app=app)
    assert outcomes(answers) == [ACCEPTED] * 10
    raws = redis.lrange("celery", 0, -1)
    assert [json.loads(raw)["headers"]["ignore_result"] for raw in raws] == [False] * 10  # type: ignore[union-attr]


def test_an_error_of_the_callers_iterable_is_raised(redis: Redis, app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole chunks before are submitted, and no connection is left waiting for an answer."""
    used: list[Any] = []
    begin = Messages.begin
    monkeypatch.setattr(Messages, "begin", lambda self: used.append(self.channel.pool) or begin(self))  # type: ignore[func-returns-value]

    def items() -> Iterator[Any]:
        yield from [("note", (n,)) for n in range(25)]
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        submit_many(items(), app=app, chunk=10)
    until(lambda: redis.llen("celery") == 20, "whole chunks were submitted")
    assert used and not used[0]._in_use_connections
    assert len(submit_many([("note", (1,))], app=app).accepted) == 1


def test_countdowns_count_from_when_their_chunk_is_built(redis: Redis, app: Celery) -> None:
    begun = datetime(2030, 1, 1, tzinfo=UTC)

    def items() -> Iterator[Any]:
        for n in range(6):
            app.now = lambda n=n: begun + timedelta(hours=n // 3)  # type: ignore[method-assign,misc]
            yield ("note", (n,), {}, {"countdown": 60})

    assert submit_many(items(), app=app, chunk=3).ok
    etas = [json.loads(raw)["headers"]["eta"] for raw in reversed(redis.lrange("celery", 0, -1))]  # type: ignore[arg-type]
    assert etas == ["2030-01-01T00:01:00+00:00"] * 3 + ["2030-01-01T01:01:00+00:00"] * 3


def test_celery_publishes_nothing_by_itself(redis: Redis, app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither on a connection of the caller's, nor when it would try again because a queue could not be declared."""
    with app.connection_for_write() as connection:
        assert submit_many([("note", (1,), {}, {"connection": connection})], app=app).ok
    assert redis.llen("celery") == 1
    failures, size = [RedisConnectionError("lost")], Channel._size

    def failing(self: Any, queue: str) -> Any:
        if failures:
            raise failures.pop()
        return size(self, queue)

    monkeypatch.setattr(Channel, "_size", failing)
    assert submit_many([("note", (1,), {}, {"queue": "new"})], app=app).ok
    assert not failures and redis.llen("new") == 1


def test_the_pool_is_as_large_as_the_application_says(app: Celery) -> None:
    before = pools.get_limit()
    try:
        app.conf.broker_pool_limit = 3
        assert submit_many([("note", (1,))], app=app).ok
        assert pools.get_limit() == 3
    finally:
        pools.set_limit(before)


PLAIN_APP = """
import os
from celery import Celery
app = Celery("plain", broker=os.environ["TESTED_URL"])
app.conf.update(task_ignore_result=True, worker_hijack_root_logger=False, worker_prefetch_multiplier=1)
@app.task(name="note")
def note(name, work_s=0.0):
    fd = os.open(os.environ["TESTED_JOURNAL"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, f"plain {name}\\n".encode())
"""


def test_workers_of_both_kinds_run_each_task_once(redis: Redis, shared_server: Server, tmp_path: Path) -> None:
    """2000 tasks on one queue, half of the chunks submitted through a relay that loses replies."""
    (tmp_path / "plain_app.py").write_text(PLAIN_APP)
    relay = Relay(shared_server.port, 2)
    through = make_app(f"redis://127.0.0.1:{relay.port}/0")
    with surroundings(shared_server.url, tmp_path) as one:
        environment = {**os.environ, "TESTED_URL": one.url, "TESTED_JOURNAL": str(one.journal)}
        command = [sys.executable, "-m", "celery", "-A", "plain_app", "worker", "-Psolo", "-lERROR"]
        with (tmp_path / "plain.log").open("wb") as log:
            options = {"cwd": tmp_path, "env": environment, "stdout": log, "stderr": log}
            one.workers.append(subprocess.Popen(command, start_new_session=True, **options))  # type: ignore[call-overload]
        try:
            first = submit_many([("note", (f"n{n}",)) for n in range(1000)], app=one.app, chunk=100)
            until(lambda: one.notes("plain"), "the plain worker runs some", 20)
            one.worker()
            items = [one.app.signature("note", args=(f"n{n}",)) for n in range(1000, 2000)]
            second = submit_many(items, app=through, chunk=100)
        finally:
            through.close()
            relay.stop()
        assert len(first.accepted) == len(second.accepted) == 1000 and relay.cut >= 2
        until(lambda: len(one.notes("end")) + len(one.notes("plain")) >= 2000 and settled(redis), "all ran", 40)
        ran = Counter(line[1] for line in one.notes("end") + one.notes("plain"))
        assert ran == Counter(f"n{n}" for n in range(2000))
        assert one.notes("end") and stat(redis, "dropped") == 0
        again = [("note", ("again",), {}, {"task_id": answer.task_id}) for answer in (*first, *second)]
        assert outcomes(submit_many(again, app=one.app)) == [DUPLICATE] * 2000
