"""Thousands of tasks into their queues in few round trips, with an honest answer for each.

A chunk of messages goes to Redis in one script call. The request carries a token; until it is answered it is repeated,
word for word, and a repeat is answered as the first was (see scripts/submit.lua). So a lost reply neither doubles a
task nor makes it a duplicate of itself. While Redis works on a chunk the next one is built.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from celery import Celery
from celery.app import app_or_default
from celery.canvas import Signature
from kombu import pools
from kombu.exceptions import OperationalError
from kombu.utils.uuid import uuid
from redis.exceptions import AuthenticationError, NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from locked_retry.adapter import releases
from locked_retry.adapter.messages import Call, Message, Messages, NotAMessage
from locked_retry.broker.connection import reply_from
from locked_retry.broker.turns import Keys, Script
from locked_retry.options import Options
from locked_retry.producer.answers import Answers, Outcome, TaskAnswer
from locked_retry.text import encodable

CHUNK, LARGEST_CHUNK = 1000, 2000  # Lua's unpack() takes no more than 7999, a message takes up to 2
DEADLINE_S = 30.0
CONNECT_S = 2.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
#: What redis-py and kombu make of a failing connection, and of a refusal.
FAILURES = (RedisError, OperationalError)
T = TypeVar("T")


_REASONS = {
    "s": "submitted before",
    "w": "known to the workers: queued again, running, delayed or a dead letter",
    "c": "completed",
    "t": "twice in this batch",
}


def submit_many(
    tasks: Iterable[Signature | tuple[Any, ...]],
    *,
    chunk: int = CHUNK,
    app: Celery | None = None,
    deadline_s: float = DEADLINE_S,
) -> Answers:
    """Put tasks into their queues, `chunk` of them per script call (fewer if they are long).

    `tasks`: signatures, or tuples `(task or its name, args[, kwargs[, options]])` with the options of `apply_async`.
    They are consumed as they are sent. `app`: whose broker and settings; the current one by default.
    `deadline_s`: how long a chunk without an answer is repeated. Then its tasks are UNKNOWN (or REFUSED, if they
    certainly never left), and those after it are REFUSED without a try.

    Whatever fails, fails in the answers. Raises ValueError for a `chunk` outside 1 to 2000 and for a broker that is not
    Redis, and what `tasks` raises when it is consumed (chunks before are submitted then).
    """
    if not 1 <= chunk <= LARGEST_CHUNK:
        raise ValueError(f"chunk has to be between 1 and {LARGEST_CHUNK}, not {chunk}")
    app = app or app_or_default()
    if app.conf.task_always_eager:
        return Answers(tuple(_eager(app, item) for item in tasks))
    with connection_of(app) as connection:
        submitter = _Submitter(app, connection, deadline_s)
        waiting = iter(tasks)
        try:
            while items := list(islice(waiting, chunk)):
                submitter.submit(items)
            submitter.collect()
        finally:
            submitter.abandon()
    return Answers(tuple(submitter.answers))


def _eager(app: Celery, item: Any) -> TaskAnswer:
    try:
        call = Call.read(app, item)
        return TaskAnswer(call.apply(call.args, call.kwargs, **call.options).id, Outcome.ACCEPTED)
    except Exception as error:
        return TaskAnswer("", Outcome.REFUSED, _text(error))


@contextlib.contextmanager
def connection_of(app: Celery) -> Iterator[Any]:
    """From the pool of the application's connections with timeouts: its own pool, if it has set them."""
    given = dict(app.conf.broker_transport_options or {})
    waits = {"socket_timeout": Options.read(given).reply_timeout_s, "socket_connect_timeout": CONNECT_S}
    missing = {name: wait_s for name, wait_s in waits.items() if not given.get(name)}
    model = app.connection_for_write(transport_options=missing)
    if model.transport.driver_type != "redis":
        raise ValueError(f"this needs a Redis broker, not {model.transport.driver_type}")
    pools.set_limit(app.conf.broker_pool_limit)  # type: ignore[no-untyped-call]
    with pools.connections[model].acquire(block=True, timeout=releases.pool_wait_s(app.conf)) as connection:
        yield connection


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _may_pass(error: BaseException) -> bool:
    """Whether it is worth another try: the connection failed, or the server is starting or busy with a script."""
    cause = error.__cause__ if isinstance(error, OperationalError) and error.__cause__ else error
    if isinstance(cause, AuthenticationError):
        return False
    return isinstance(cause, FAILURES) and (not isinstance(cause, ResponseError) or str(cause).startswith("BUSY"))


def persist(attempt: Callable[[float], T], deadline_s: float) -> T:
    """Try until it works. Raises what will not pass, or the last failure when the deadline has passed."""
    end_s, pause_s = time.monotonic() + deadline_s, FIRST_PAUSE_S
    while True:
        try:
            return attempt(end_s)
        except FAILURES as error:
            left_s = end_s - time.monotonic()
            if left_s <= 0 or not _may_pass(error):
                raise
        time.sleep(min(left_s, pause_s * random.uniform(0.5, 1.0)))
        pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)


@dataclass(eq=False, slots=True)
class _Request:
    """One chunk on its way. `places` are those of its messages among the answers."""

    messages: list[Message]
    places: list[int]
    arguments: list[Any]
    connection: Any = None
    in_doubt: bool = False  # a try may have reached Redis, and may reach it yet, that was not answered


@dataclass(eq=False)
class _Submitter:
    app: Celery
    connection: Any
    deadline_s: float
    answers: list[TaskAnswer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._options = Options.read(self.connection.transport_options)
        self._mark_ms = round(1000 * max(self._options.done_s, 2 * self.deadline_s))
        self._script = Script.load("submit")
        self._messages: Messages | None = None
        self._on_its_way: _Request | None = None
        self._gone = ""  # why nothing is tried any more

    def _persist(self, attempt: Callable[[float], T]) -> T:
        return persist(attempt, self.deadline_s)

    # --- building

    def submit(self, items: Sequence[Any]) -> None:
        """Build the messages of these, and send them when the chunk before them was answered."""
        messages: list[Message] = []
        places: list[int] = []
        size = 0
        self._begin()
        for item in items:
            message = self._build(item)
            if message is None:
                continue
            if messages and size + len(message.raw) > self._options.most_bytes:
                self._post(messages, places)
                messages, places, size = [], [], 0
            places.append(len(self.answers))
            messages.append(message)
            size += len(message.raw)
            self.answers.append(TaskAnswer(message.task_id, Outcome.UNKNOWN))
        if messages:
            self._post(messages, places)

    def _begin(self) -> None:
        try:
            if self._messages is None and not self._gone:
                self._messages = Messages(self.app, self._persist(self._open))
        except FAILURES as error:
            self._gone = _text(error)
        if self._messages is not None:
            self._messages.begin()

    def _open(self, _: float) -> Any:
        self.connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
        return self.connection.default_channel

    def _build(self, item: Any) -> Message | None:
        """The message; None if the answer is given already."""
        task_id = ""
        try:
            call = Call.read(self.app, item)
            task_id = call.options.get("task_id") or uuid()
            if not isinstance(task_id, str):
                raise NotAMessage(f"a task id has to be a string, not {task_id!r:.100}")
            if encodable(task_id) != task_id:
                raise NotAMessage(f"a task id has to be UTF-8, not {task_id!r:.100}")
            messages = self._messages
            if messages is not None and not self._gone:
                return self._persist(lambda _: messages.build(call, task_id))
            reason = f"not sent: {self._gone}"
        except Exception as error:
            reason = _text(error)
            if _may_pass(error):
                self._gone = reason
        self.answers.append(TaskAnswer(task_id, Outcome.REFUSED, reason))
        return None

    def _arguments(self, messages: Sequence[Message]) -> list[Any]:
        assert self._messages is not None
        channel, expiry_ms = self._messages.channel, self._messages.expiry_ms
        keys = Keys(channel.global_keyprefix + self._options.namespace)
        lists = {name: None for message in messages for name in message.lists} | dict.fromkeys(expiry_ms)
        numbers = {name: str(number) for number, name in enumerate(lists, 1)}
        names = [*keys.indexes(), *lists]
        arguments: list[Any] = [len(names), *names, keys.prefix, uuid(), self._mark_ms, len(messages)]
        arguments += [expiry_ms.get(name, 0) for name in lists]
        for message in messages:
            arguments += (message.task_id, message.raw, " ".join(numbers[name] for name in message.lists))
        return arguments

    # --- sending

    def _post(self, messages: list[Message], places: list[int]) -> None:
        """On its way, once the one before it was answered. What fails is tried again by `collect`."""
        request = _Request(messages, places, self._arguments(messages))
        self.collect()
        if self._gone:
            self._answer_all(request, Outcome.REFUSED, f"not sent: {self._gone}")
            return
        self._on_its_way = request
        with contextlib.suppress(*FAILURES):
            self._send(request)

    def _send(self, request: _Request, whole: bool = False) -> None:
        assert self._messages is not None
        if request.connection is None:
            request.connection = releases.connection_from(self._messages.channel.pool)
        command = ("EVAL", self._script.text) if whole else ("EVALSHA", self._script.sha)
        try:
            request.connection.send_command(*command, *request.arguments, check_health=False)
        except BaseException:
            self._lose(request)
            raise

    def _read(self, request: _Request, end_s: float) -> str:
        if request.connection is None:
            self._send(request)
        try:
            try:
                reply = self._response(request, end_s)
            except NoScriptError:
                self._send(request, whole=True)
                reply = self._response(request, end_s)
        except ResponseError:
            self._release(request)
            raise
        except BaseException:
            self._lose(request)
            raise
        self._release(request)
        return str(reply.decode())

    def _response(self, request: _Request, end_s: float) -> bytes:
        wait_s = max(0.0, min(self._options.reply_timeout_s, end_s - time.monotonic()))
        if not request.connection.can_read(timeout=wait_s):
            raise RedisTimeoutError(f"no answer for {wait_s:.3g} s")
        reply: bytes = reply_from(request.connection, disable_decoding=True)
        return reply

    def _lose(self, request: _Request) -> None:
        """The connection ends without an answer."""
        if request.connection is not None:
            request.in_doubt = True
            with contextlib.suppress(*FAILURES):
                request.connection.disconnect()
            self._release(request)

    def _release(self, request: _Request) -> None:
        assert self._messages is not None
        connection, request.connection = request.connection, None
        self._messages.channel.pool.release(connection)

    # --- answers

    def collect(self) -> None:
        """Wait for the answer of what is on its way, if anything is."""
        request = self._on_its_way
        if request is None:
            return
        try:
            self._answer(request, self._persist(lambda end_s: self._read(request, end_s)))
        except FAILURES as error:
            self._answer_all(request, Outcome.UNKNOWN if request.in_doubt else Outcome.REFUSED, _text(error))
            if _may_pass(error):
                self._gone = _text(error)
        self._on_its_way = None

    def abandon(self) -> None:
        """Nobody waits for the answer of what is on its way any more."""
        if self._on_its_way is not None:
            self._lose(self._on_its_way)

    def _answer_all(self, request: _Request, outcome: Outcome, reason: str) -> None:
        for place, message in zip(request.places, request.messages, strict=True):
            self.answers[place] = TaskAnswer(message.task_id, outcome, reason)

    def _answer(self, request: _Request, codes: str) -> None:
        for place, message, code in zip(request.places, request.messages, codes, strict=True):
            if code != "a":
                self.answers[place] = TaskAnswer(message.task_id, Outcome.DUPLICATE, _REASONS[code])
                continue
            self.answers[place] = TaskAnswer(message.task_id, Outcome.ACCEPTED)
            message.announce()
