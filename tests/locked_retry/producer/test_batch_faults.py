"""submit_many when replies are lost, and when Redis is silent, gone, full, read only, busy or locked."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from batch_support import make_app, outcomes, queued
from celery import Celery
from redis import Redis
from redis.exceptions import OutOfMemoryError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from relay_support import Relay
from server_process import Server, free_port
from table_support import stat
from waiting import until

from locked_retry import Outcome, submit_many
from locked_retry.producer import batch as batch_module

ACCEPTED, DUPLICATE, REFUSED, UNKNOWN = Outcome.ACCEPTED, Outcome.DUPLICATE, Outcome.REFUSED, Outcome.UNKNOWN


@pytest.fixture
def app(redis: Redis, shared_server: Server) -> Iterator[Celery]:
    one = make_app(shared_server.url)
    yield one
    one.close()


@pytest.mark.parametrize("every", [2, 3])
def test_a_lost_reply_is_repeated(redis: Redis, shared_server: Server, every: int) -> None:
    """Each lost one is repeated, and everything is accepted, once."""
    relay = Relay(shared_server.port, every)
    app = make_app(f"redis://127.0.0.1:{relay.port}/0")
    try:
        answers = submit_many([("note", (n,)) for n in range(1000)], app=app, chunk=50)
    finally:
        app.close()
        relay.stop()
    assert relay.cut >= 5
    assert len(answers.accepted) == 1000
    assert queued(redis, "celery") == [answer.task_id for answer in answers]
    assert stat(redis, "submitted") == 1000


def test_a_chunk_without_a_reply_is_unknown_at_the_deadline(redis: Redis, app: Celery, shared_server: Server) -> None:
    """The chunk on its way is unknown, what comes after is not tried; asked again under the same ids all is known."""
    assert submit_many([("note", (0,))], app=app).ok
    relay = Relay(shared_server.port, 1)
    cut_off = make_app(f"redis://127.0.0.1:{relay.port}/0")
    items = [("note", (n,)) for n in range(30)]
    try:
        answers = submit_many(items, app=cut_off, chunk=10, deadline_s=0.3)
    finally:
        cut_off.close()
        relay.stop()
    assert outcomes(answers) == [UNKNOWN] * 10 + [REFUSED] * 20
    assert "not sent" in answers[29].reason
    assert redis.llen("celery") == 11
    again = [(*item, {}, {"task_id": answer.task_id}) for item, answer in zip(items, answers, strict=True)]
    assert outcomes(submit_many(again, app=app)) == [DUPLICATE] * 10 + [ACCEPTED] * 20
    assert redis.llen("celery") == 31


def test_a_redis_that_cannot_be_reached_refuses_all() -> None:
    app = make_app(f"redis://127.0.0.1:{free_port()}/0")
    answers = submit_many([("note", (n,)) for n in range(5)], app=app, chunk=2, deadline_s=0.2)
    assert outcomes(answers) == [REFUSED] * 5
    assert "refused" in answers[0].reason and all(answer.task_id for answer in answers)


def test_a_redis_that_stops_answering_leaves_a_chunk_unknown(server: Server) -> None:
    """A stopped process: the connection stays, nothing comes. Then it goes on, and what was unknown is known."""
    app = make_app(server.url, socket_timeout=0.2, locked_retry={"reply_s": 0.2})
    assert submit_many([("note", (0,))], app=app).ok
    server.process.send_signal(signal.SIGSTOP)
    try:
        answers = submit_many([("note", (n,)) for n in range(20)], app=app, chunk=10, deadline_s=0.5)
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert outcomes(answers) == [UNKNOWN] * 10 + [REFUSED] * 10
    until(lambda: server.client.llen("celery") == 11, "the request of the stopped server runs after all")
    again = submit_many([("note", (1,), {}, {"task_id": answer.task_id}) for answer in answers.unknown], app=app)
    assert outcomes(again) == [DUPLICATE] * 10
    app.close()


def test_a_redis_that_comes_back_in_time_accepts_all(server: Server) -> None:
    app = make_app(server.url)
    assert submit_many([("note", (0,))], app=app).ok

    def items() -> Iterator[Any]:
        for n in range(40):
            if n == 15:
                server.kill()
                back.start()
            yield ("note", (n,))

    back = threading.Timer(0.3, server.start)
    answers = submit_many(items(), app=app, chunk=10, deadline_s=20)
    back.join()
    assert outcomes(answers) == [ACCEPTED] * 40
    assert queued(server.client, "celery")[1:] == [answer.task_id for answer in answers]
    app.close()


@pytest.mark.parametrize("trouble", ["full", "read only"])
def test_a_refusal_leaves_nothing_behind(server: Server, trouble: str) -> None:
    """Refused is refused: nothing is there afterwards, and the same ids are accepted when it can write again."""
    app = make_app(server.url)
    assert submit_many([("note", (0,))], app=app).ok
    known = [("note", (0,), {}, {"task_id": "known"})]
    submit_many(known, app=app)
    if trouble == "full":
        server.client.config_set("maxmemory", 1)
    else:
        server.client.replicaof("127.0.0.1", free_port())
    items = [("note", (n,), {}, {"task_id": f"id-{n}"}) for n in range(30)]
    answers = submit_many(items, app=app, chunk=10)
    assert outcomes(submit_many(known, app=app)) == [DUPLICATE]
    if trouble == "full":
        server.client.config_set("maxmemory", 0)
    else:
        server.client.replicaof("NO", "ONE")
    assert outcomes(answers) == [REFUSED] * 30
    assert {"full": "OutOfMemory", "read only": "ReadOnly"}[trouble] in answers[0].reason
    assert server.client.llen("celery") == 2 and len(list(server.client.scan_iter("lr:sub:*"))) == 2
    assert outcomes(submit_many(items, app=app, chunk=10)) == [ACCEPTED] * 30
    app.close()


def test_a_wrong_password_is_refused_without_waiting(server: Server) -> None:
    server.client.config_set("requirepass", "secret")
    app = make_app(server.url)
    begun_s = time.monotonic()
    (answer,) = submit_many([("note", (1,))], app=app, deadline_s=60)
    assert answer.outcome is REFUSED and time.monotonic() - begun_s < 30
    app.close()


def test_a_redis_that_is_busy_is_waited_for(server: Server) -> None:
    app = make_app(server.url)
    assert submit_many([("note", (0,))], app=app).ok
    server.client.config_set("lua-time-limit", 10)
    with ThreadPoolExecutor() as pool, Redis(port=server.port) as other:
        endless = pool.submit(other.eval, "while true do end", 0)
        until(lambda: _busy(server.client), "it is busy")
        submitted = pool.submit(submit_many, [("note", (1,))], app=app)
        with pytest.raises(TimeoutError):
            submitted.result(0.3)
        server.client.script_kill()
        assert submitted.result(20).ok
        assert isinstance(endless.exception(20), ResponseError)
    app.close()


def _busy(client: Redis) -> bool:
    try:
        return not client.ping()
    except ResponseError as error:
        return "BUSY" in str(error)


def test_a_refusal_after_a_lost_reply_is_unknown(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first try may be under way still: it could be executed when there is room again."""
    failures = [RedisTimeoutError("no answer"), OutOfMemoryError("full")]
    answered = batch_module._Submitter._response

    def failing(*arguments: Any) -> bytes:
        answered(*arguments)
        raise failures.pop(0)

    monkeypatch.setattr(batch_module._Submitter, "_response", failing)
    (answer,) = submit_many([("note", (1,))], app=app)
    assert (answer.outcome, answer.reason) == (UNKNOWN, "OutOfMemoryError: full")
