"""Storing results that fails: tried again while that may help, given up and reported when it does not."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.app.task import Context
from celery.result import GroupResult
from kombu.exceptions import EncodeError
from redis import Connection, ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from waiting import until

import locked_retry
from locked_retry import LockedTask
from locked_retry.adapter import releases, results
from locked_retry.adapter.patience import make_patient
from locked_retry.adapter.publishing import tries_in
from locked_retry.adapter.results import BodyClaimed, Results, Writer, keep_trying, passes
from locked_retry.lease import LeaseLost


class Backend:
    """Raises these, one after the other, and then stores."""

    def __init__(self, *errors: Exception) -> None:
        self._errors: Iterator[Exception] = iter(errors)
        self.tries = 0
        self.stored: list[tuple[str, threading.Thread]] = []

    def mark_as_done(self, task_id: str, *_: object, **__: object) -> str:
        self.tries += 1
        for error in self._errors:
            raise error
        self.stored.append((task_id, threading.current_thread()))
        return task_id

    mark_as_failure = mark_as_retry = mark_as_revoked = mark_as_done

    def store_result(self, task_id: str, result: object, state: str, **_: object) -> str:
        return self.mark_as_done(task_id)


PASS = [
    RedisConnectionError("gone"),
    OSError("unreachable"),
    TimeoutError(),
    ReadOnlyError("You can't write against a read only replica."),
    OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
    ResponseError("MISCONF Redis is configured to save RDB snapshots"),
    ResponseError("Error running script: -OOM command not allowed"),
    ResponseError("CLUSTERDOWN The cluster is down"),
    RuntimeError("a database's own error, for all we know"),
]
STAY = [
    ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
    ResponseError("unknown command"),
    TypeError("not serialisable"),
    ValueError("too large"),
    LeaseLost("over"),
]


@pytest.mark.parametrize("error", PASS, ids=repr)
def test_an_error_that_may_pass_is_tried_again(error: Exception) -> None:
    backend = Backend(error, error)
    assert passes(error)
    assert keep_trying(lambda: backend.mark_as_done("a"), 10.0, "a") == "a"
    assert backend.tries == 3


@pytest.mark.parametrize("error", STAY, ids=repr)
def test_an_error_that_stays_is_reported_at_once(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    backend = Backend(error)
    assert not passes(error)
    assert keep_trying(lambda: backend.mark_as_done("a"), 10.0, "mark_as_done a") is None
    assert backend.tries == 1
    assert 'event=result_lost result="mark_as_done a"' in caplog.text


def test_who_leaves_a_result_to_others_is_not_told_again_meanwhile() -> None:
    """A large one takes a while to give: LeaseLost in the middle of that lost it."""
    told: list[bool] = []

    def store() -> None:
        told.append(results.MAY_END.now)
        raise LeaseLost("over")

    def leave() -> bool:
        told.append(results.MAY_END.now)
        return True

    assert keep_trying(store, 10.0, "a", leave=leave) is None
    assert told == [True, False]


def test_a_value_that_cannot_be_written_is_left_to_celery() -> None:
    with pytest.raises(EncodeError):
        keep_trying(lambda: Backend(EncodeError("no JSON")).mark_as_done("a"), 10.0, "a")


def test_a_result_is_given_up_in_time(caplog: pytest.LogCaptureFixture) -> None:
    backend = Backend(*[RedisConnectionError("gone")] * 1000)
    began_s = time.monotonic()
    assert keep_trying(lambda: backend.mark_as_done("a"), 0.3, "a") is None
    assert 0.3 <= time.monotonic() - began_s < 5.0 and backend.tries > 2
    assert "result_lost" in caplog.text


@pytest.fixture
def no_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_writer", None)


MARKS = ["mark_as_done", "mark_as_failure", "mark_as_retry", "mark_as_revoked"]


@pytest.mark.usefixtures("no_writer")
@pytest.mark.parametrize("mark", MARKS)
def test_a_running_task_stores_itself_and_the_loop_has_it_stored(mark: str) -> None:
    backend = Backend()
    assert getattr(Results(lambda: backend, lambda: True, 1.0), mark)("own", 1, store_result=True) == "own"
    assert backend.stored == [("own", threading.current_thread())]
    getattr(Results(lambda: backend, lambda: False, 1.0), mark)("loop", 1)
    until(lambda: len(backend.stored) == 2, "stored by the thread")
    assert backend.stored[1][1] is not threading.current_thread()
    results.end()


def test_results_that_wait_behind_others_are_not_tried_for_longer(caplog: pytest.LogCaptureFixture) -> None:
    """Each was tried for as long as the first: a worker held thirty deliveries for a quarter of an hour."""
    backend, done, writer = Backend(*[RedisConnectionError("gone")] * 10_000), threading.Event(), Writer()
    began_s = time.monotonic()
    for number in range(20):
        then = done.set if number == 19 else lambda: None
        writer.put(lambda: backend.mark_as_done("a"), 0.5, f"mark_as_done {number}", then)
    assert done.wait(20)
    assert time.monotonic() - began_s < 5.0 and caplog.text.count("result_lost") == 20
    writer.close()


@pytest.mark.usefixtures("no_writer")
def test_a_passing_state_is_tried_once(caplog: pytest.LogCaptureFixture) -> None:
    """That it started, or is going to be tried again: the next state says more."""
    for mark in ("mark_as_retry", "store_result"):
        backend = Backend(RedisConnectionError("gone"))
        more = ("STARTED",) if mark == "store_result" else ()
        assert getattr(Results(lambda b=backend: b, lambda: True, 30.0), mark)("a", 1, *more) is None  # type: ignore[misc]
        assert backend.tries == 1
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_state_of_the_users_own_raises_its_error() -> None:
    with pytest.raises(RedisConnectionError):
        Results(lambda: Backend(RedisConnectionError("gone")), lambda: True, 1.0).store_result("a", 1, "PROGRESS")


def test_a_worker_that_ends_stores_what_waits_and_reports_the_rest(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(results, "LAST_S", 0.3)
    writer, good, bad = Writer(), Backend(), Backend(*[RedisConnectionError("gone")] * 1000)
    writer.put(lambda: good.mark_as_done("a"), 60.0, "a")
    writer.put(lambda: bad.mark_as_done("b"), 60.0, "b")
    writer.close()
    assert good.stored and "result=b" in caplog.text


def test_a_worker_that_ends_reports_what_hangs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(results, "LAST_S", 0.1)
    writer, gate = Writer(), threading.Event()
    for name in ("hangs", "behind"):
        writer.put(gate.wait, 60.0, name)
    writer.close()
    assert [name in caplog.text for name in ("result=hangs", "result=behind")] == [True, True]
    gate.set()


def test_only_so_many_results_wait_for_their_backend(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(results, "MOST_WAITING", 2)
    writer, gate = Writer(), threading.Event()
    for number in range(5):
        writer.put(gate.wait, 1.0, f"n{number}")
    assert "results wait for their backend already" in caplog.text
    gate.set()
    writer.close()


def test_storing_at_once_does_not_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even for no time: that gives the processor away, and cost a fifth of the throughput."""
    monkeypatch.setattr(time, "sleep", lambda s: pytest.fail(f"slept {s}"))
    assert keep_trying(lambda: Backend().mark_as_done("a"), 10.0, "a") == "a"


def test_a_result_that_another_thread_drops_is_no_longer_listened_for(
    redis: Redis, shared_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that submits tasks, in a pool of threads: a backend is its thread's, and so is what it listens for."""
    monkeypatch.setattr(results, "_in_worker", True)
    url = shared_server.url
    with Celery("tested", broker=url, backend=url, task_cls=LockedTask, set_as_current=False) as app:
        locked_retry.install(app)

        @app.task(shared=False)
        def task() -> None: ...

        made = [task.delay(), task.AsyncResult("known")]
        assert all(result.backend is app.backend for result in made)
        assert len(redis.pubsub_channels()) == 1
        thread = threading.Thread(target=made.clear)
        thread.start()
        thread.join()
        until(lambda: not redis.pubsub_channels(), "nothing is listened for")
        app.backend.result_consumer.stop()


def _breaking(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """What the next replies of Redis are instead, the last one first."""
    read, broken = Connection.read_response, list[Exception]()

    def breaks(self: Connection, *args: Any, **more: Any) -> Any:
        if not broken:
            return read(self, *args, **more)
        error = broken.pop()
        if isinstance(error, ResponseError):  # it is the reply, and nothing is left to be read
            read(self, *args, **more)
        raise error

    monkeypatch.setattr(Connection, "read_response", breaks)
    return broken


@pytest.fixture
def chord(redis: Redis, shared_server: Any) -> Iterator[SimpleNamespace]:
    """The application, and the request of the only member of a chord."""
    url = shared_server.url
    with Celery(broker=url, backend=url, set_as_current=False) as app:
        body = app.signature("body", queue="bodies", task_id="body")
        request = Context(id="member", group="chord", group_index=0, chord=body, ignore_result=False)
        app.backend.set_chord_size("chord", 1)
        marking = partial(results.marking, lambda: app.backend, "mark_as_done", "member", "its result", request)
        yield SimpleNamespace(app=app, redis=redis, request=request, marking=marking)
        app.backend.result_consumer.stop()


#: How many replies are errors: each costs a connection, and a transaction that is refused has three.
OUTAGES = [
    (RedisConnectionError("reset"), 1),
    (RedisConnectionError("reset"), 4),
    (RedisTimeoutError("silent"), 1),
    (ReadOnlyError("failed over"), 6),
    (ResponseError("OOM"), 6),
]


@pytest.mark.parametrize(("error", "replies"), OUTAGES, ids=lambda one: type(one).__name__)
def test_an_outage_while_a_chord_is_joined_is_waited_for(
    chord: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, error: Exception, replies: int
) -> None:
    """Celery takes an error there for the chord's failure."""
    broken, restore = _breaking(monkeypatch), GroupResult.restore

    def outage(group: str, **_: Any) -> Any:  # the first step, which asks the application of the process before 5.7
        monkeypatch.setattr(GroupResult, "restore", restore)
        found = restore(group, app=chord.app)  # which Celery repeats itself; what comes next it does not
        broken.extend([error] * replies)
        return found

    monkeypatch.setattr(GroupResult, "restore", outage)
    keep_trying(chord.marking(), 20.0, "member")
    assert not broken and chord.redis.llen("bodies") == 1
    assert chord.app.backend.get_state("body") == "PENDING"


def test_what_else_a_backend_sends_is_repeated_as_its_owner_has_set_it(
    chord: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An INCR whose reply is lost would count twice; `add_to_chord` is one, and a chord too large never ends."""
    keep_trying(chord.marking(), 20.0, "member")
    broken = _breaking(monkeypatch)
    broken.append(RedisConnectionError("reset"))
    with pytest.raises(RedisConnectionError):
        chord.app.backend.add_to_chord("other", None)
    assert chord.redis.get(chord.app.backend.get_key_for_group("other", ".t")) == b"1"


@pytest.mark.parametrize(
    "how",
    [
        {"retry_on_timeout": True},
        {"retry_on_error": [RedisTimeoutError]},
        {"retry": Retry(NoBackoff(), 3, ()), "retry_on_error": [RedisTimeoutError]},
    ],
)
def test_what_the_owner_wants_repeated_still_is(
    shared_server: Any, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]
) -> None:
    pool = ConnectionPool.from_url(shared_server.url, **how)
    client = Redis(connection_pool=pool)
    client.ping()
    for _ in range(2):
        make_patient(client)
    broken = _breaking(monkeypatch)
    for new in (False, True):
        if new:
            pool.reset()
            client.ping()
        broken.append(RedisTimeoutError("silent"))
        assert client.ping()
        broken += [RedisTimeoutError("silent")] * 9
        with pytest.raises(RedisTimeoutError):
            client.ping()
        broken.clear()
    pool.disconnect()


claims = pytest.mark.skipif(releases.CELERY < (5, 7), reason="nobody claims to send a body before Celery 5.7")


@claims
def test_a_claim_that_stands_is_outlived_however_long(caplog: pytest.LogCaptureFixture) -> None:
    backend = Backend(*(BodyClaimed("chord", 0.1) for _ in range(3)))
    assert keep_trying(partial(backend.mark_as_done, "member"), 0.0, "member") == "member"
    assert not caplog.messages


@claims
def test_a_claim_is_waited_for_while_its_chord_has_a_body_to_send(chord: SimpleNamespace) -> None:
    """One that has failed leaves its claim behind, for seconds in which a worker did nothing."""
    claim, size = (chord.app.backend.get_key_for_group("chord", part) for part in (".c", ".s"))
    chord.redis.set(claim, "somebody's", px=60_000)
    with pytest.raises(BodyClaimed) as met:
        chord.marking()()
    assert 50 < met.value.left_s <= 60
    chord.redis.delete(size)
    chord.marking()()


@claims
def test_a_claim_ends_seconds_after_who_was_killed_while_it_sent_the_body(
    chord: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when all its tries might have, which would be three minutes."""
    chord.app.conf.task_publish_retry_policy = {"max_retries": tries_in(30.0)}
    claim, left_ms = chord.app.backend.get_key_for_group("chord", ".c"), list[int]()
    monkeypatch.setattr(chord.app.amqp, "_retry_publish", lambda *_: left_ms.append(chord.redis.pttl(claim)))
    chord.marking()()
    assert 0 < left_ms[0] <= 10_000


def test_a_body_without_a_group_waits_for_nobody(chord: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    """`apply_async(chord=...)`: Celery counts no members without a group, and no claim has a name."""
    chord.request.group = None
    keep_trying(chord.marking(), 5.0, "member")
    assert chord.app.backend.get_state("member") == "SUCCESS"
    assert not caplog.messages
