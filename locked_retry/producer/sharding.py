"""Large jobs: any iterable split into shards, one task each, and one task more when all of them have ended.

How far the splitter has come is kept in Redis in the same script that publishes (scripts/shard.lua), and how a shard
ended in the same script that settles it (`mark` in scripts/includes/jobs.lua). So a splitter that crashed goes on where
it was, two at the same time do the work of one, every shard counts once, and the join is published with the last mark.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import islice
from typing import Any

from celery import Celery, Task
from celery.canvas import Signature
from kombu.utils.json import dumps
from redis import Redis

from locked_retry.adapter.messages import Call, Message, Messages
from locked_retry.broker.turns import Keys, Script, call
from locked_retry.limits import DAY_S, Limits
from locked_retry.options import Options
from locked_retry.producer.batch import DEADLINE_S, connection_of, persist

#: Shards per script call, at most; fewer if they are long.
CHUNK = 200
#: How long a job can be looked at after its join.
KEEP_S = 86400.0
_NUMBERS = ("total", "done", "dead")


class JoinOn(StrEnum):
    """When the join is published."""

    ALL = "all"  # every shard has ended, done or dead
    SUCCESS = "success"  # every shard is done: one that is dead has to be requeued, and succeed


class UnknownJob(LookupError):
    """There is no job of that name: none was begun, or its keys have expired."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is, in shards. `total` is None until the splitter has published the last one."""

    published: int
    done: int
    dead: int
    total: int | None = None
    joined: bool = False

    @property
    def left(self) -> int:
        """Queued, running, or waiting for a retry; of those published so far."""
        return self.published - self.done - self.dead

    def __str__(self) -> str:
        of = f"{self.published} so far" if self.total is None else f"{self.total}"
        return f"{self.done} of {of} done, {self.dead} dead, {self.left} left{', joined' if self.joined else ''}"


@dataclass(frozen=True, slots=True)
class Job:
    """A job, from anywhere. Its shards are the tasks `<job_id>/1`, `<job_id>/2`, ...; its join is `<job_id>/join`."""

    app: Celery
    job_id: str
    _eager: Progress | None = field(default=None, repr=False)

    @classmethod
    def open(cls, app: Celery, job_id: str) -> Job:
        """A job that was begun elsewhere. Raises UnknownJob."""
        job = cls(app, job_id)
        job.progress()
        return job

    def progress(self) -> Progress:
        """How far it is now, in one round trip. Raises UnknownJob."""
        if self._eager is not None:
            return self._eager
        published, done, dead, total, joined = self._ask(
            lambda redis, keys: redis.hmget(keys.job(self.job_id), "pub", "done", "dead", "total", "joined")
        )
        if published is None:
            raise UnknownJob(f"no job {self.job_id!r}: it was never begun, or ended longer than keep_s ago")
        return Progress(int(published), int(done), int(dead), None if total is None else int(total), joined is not None)

    def dead(self) -> list[str]:
        """The shards that are dead letters, by task id: what `dead requeue` takes."""
        marks = self._ask(lambda redis, keys: redis.get(keys.marks(self.job_id))) or b""
        fell = ((4 * place + pair) for place, byte in enumerate(marks) for pair in range(4) if byte >> 6 - 2 * pair & 2)
        return [f"{self.job_id}/{number}" for number in fell]

    def forget(self) -> None:
        """Drop what is known of it: it will not join. Its shards run anyway."""
        self._ask(lambda redis, keys: redis.delete(keys.job(self.job_id), keys.marks(self.job_id)))

    def _ask(self, question: Any) -> Any:
        with connection_of(self.app) as connection:
            channel = connection.default_channel
            keys = Keys(channel.global_keyprefix + Options.read(connection.transport_options).namespace)
            return question(Redis(connection_pool=channel.pool), keys)


def shard(
    task: Task | Signature,
    items: Iterable[Any],
    size: int,
    *,
    job_id: str,
    join: Task | Signature | None = None,
    join_on: JoinOn | str = JoinOn.ALL,
    keep_s: float = KEEP_S,
    app: Celery | None = None,
    deadline_s: float = DEADLINE_S,
) -> Job:
    """Publish one task for every `size` items, and `join` when all of these have ended.

    `task` gets a list of items as its first argument (as a callback gets a result), before those of its signature; its
    options are those of its signature. `items` is consumed as it is published. `join` gets, unless it is immutable, a
    dict with `job_id`, `total`, `done` and `dead` first; it is serialised as JSON, published by Redis, exactly once.

    The same `job_id` again goes on where an earlier call stopped: what was published is skipped, and of a job that was
    published whole nothing is read. The items have to be the same, in the same order. Give every run an id of its own.

    Raises ValueError for arguments that make no sense, a task without `acks_late` (it would count when it begins), and
    items or a task that are not those of the earlier call; what `apply_async` and `items` raise; and what redis-py or
    kombu raise when Redis refuses, or does not answer for `deadline_s`. Call again then.
    """
    signature = task.s() if isinstance(task, Task) else task
    joined = join.s() if isinstance(join, Task) else join
    app = app or signature.app
    _check(app, signature, size, job_id, keep_s)
    if app.conf.task_always_eager:
        return _eagerly(app, signature, items, size, job_id, joined, JoinOn(join_on))
    with connection_of(app) as connection:
        splitter = _Splitter(app, connection, job_id, Call.read(app, signature), size, deadline_s)
        splitter.begin(joined, JoinOn(join_on), keep_s)
        splitter.split(items)
    return Job(app, job_id)


def _check(app: Celery, signature: Signature, size: int, job_id: str, keep_s: float) -> None:
    Limits(1, 10**9, whole=True).check("size", size)
    Limits(0.001, 3650 * DAY_S).check("keep_s", keep_s)
    if not job_id or not job_id.isprintable():
        raise ValueError(f"a job id has to be printable, not {job_id!r}")
    if signature.immutable:
        raise ValueError("an immutable signature gets no items: use .s() instead of .si()")
    registered = app.tasks.get(signature.task)
    if registered is not None and not registered.acks_late:
        raise ValueError(f"{signature.task} has acks_late=False: its shards would count as done when they begin")


def _slices(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while found := list(islice(iterator, size)):
        yield found


def _eagerly(
    app: Celery, signature: Signature, items: Iterable[Any], size: int, job_id: str, join: Any, join_on: JoinOn
) -> Job:
    """task_always_eager: everything runs here and now."""
    ends = [
        signature.clone(args=(found,), task_id=f"{job_id}/{number}").apply_async().successful()
        for number, found in enumerate(_slices(items, size), 1)
    ]
    total, done = len(ends), sum(ends)
    joined = join_on is JoinOn.ALL or done == total
    if join is not None and joined:
        join.clone(args=({"job_id": job_id, "total": total, "done": done, "dead": total - done},)).apply_async()
    return Job(app, job_id, Progress(total, done, total - done, total, joined))


def _only_list(message: Message) -> str:
    if len(message.lists) != 1:
        raise ValueError(f"{message.task} goes to {len(message.lists)} queues: it has to be exactly one")
    return message.lists[0]


@dataclass(eq=False)
class _Splitter:
    app: Celery
    connection: Any
    job_id: str
    shard: Call
    size: int
    deadline_s: float

    def __post_init__(self) -> None:
        self._options = Options.read(self.connection.transport_options)
        self._messages = Messages(self.app, persist(self._open, self.deadline_s))
        channel = self._messages.channel
        self._redis = Redis(connection_pool=channel.pool)
        self._keys = Keys(channel.global_keyprefix + self._options.namespace)
        self._published, self._total = 0, -1

    def _open(self, _: float) -> Any:
        self.connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
        return self.connection.default_channel

    def _call(self, name: str, lists: list[str], *arguments: Any) -> Any:
        names = [*self._keys.indexes(), *lists]
        words = [len(names), *names, self._keys.prefix, self.job_id, *arguments]
        return persist(lambda _: call(self._redis, Script.load(name), words), self.deadline_s)

    # --- the join

    def begin(self, join: Signature | None, join_on: JoinOn, keep_s: float) -> None:
        """Begin the job, or learn how far it is. Raises ValueError if it is another one."""
        what = f"{self.shard.name} by {self.size}"
        message, lists = self._join(join) if join is not None else ("", [])
        expiry_ms = self._messages.expiry_ms.get(lists[0], 0) if lists else 0
        reply = self._call("job", lists, what, join_on.value, round(keep_s * 1000), message, expiry_ms)
        begun, self._published, self._total = reply[0].decode(), reply[1], reply[2]
        if begun != what:
            raise ValueError(f"job {self.job_id!r} was begun as {begun}, not as {what}: take another job_id")

    def _join(self, join: Signature) -> tuple[str, list[str]]:
        """The join's message, with a place for each number that the script will know; and its list.

        Its body is JSON as it is, not in base64, so that the script can write into it.
        """
        places = {name: random.randrange(10**15, 10**16) for name in _NUMBERS}
        once = Call.read(self.app, join)
        if not join.immutable:
            once = replace(once, args=({"job_id": self.job_id, **places}, *once.args))
        message = self._messages.build(once, once.options.get("task_id") or f"{self.job_id}/join")
        assert message.published is not None
        payload = json.loads(message.raw)
        payload["body"] = dumps(message.published.body)  # type: ignore[no-untyped-call]
        payload["content-type"], payload["content-encoding"] = "application/json", "utf-8"
        payload["headers"].pop("compression", None)
        del payload["properties"]["body_encoding"]
        raw = json.dumps(payload)
        for name, number in places.items():
            raw = raw.replace(str(number), f"\1{name}\1")  # JSON itself has no such character
        return raw, [_only_list(message)]

    # --- the shards

    def split(self, items: Iterable[Any]) -> None:
        """Publish what is not published, chunk by chunk; the last chunk closes the job."""
        if self._total >= 0:
            return
        chunk: list[Message] = []
        length, number = 0, 0
        for number, found in enumerate(_slices(items, self.size), 1):
            if number <= self._published:
                continue
            message = self._build(number, found)
            if chunk and (len(chunk) == CHUNK or length + len(message.raw) > self._options.most_bytes):
                self._publish(number - len(chunk), chunk)
                chunk, length = [], 0
                if number <= self._published:
                    continue  # another splitter is ahead
            chunk.append(message)
            length += len(message.raw)
        self._publish(number - len(chunk) + 1, chunk, number)
        if self._total != number:
            of_before = self._published if self._total < 0 else self._total
            raise ValueError(
                f"job {self.job_id!r} was split into {of_before} shards before, and these items make {number}: "
                "they have to be the same, in the same order"
            )

    def _build(self, number: int, found: list[Any]) -> Message:
        task_id = f"{self.job_id}/{number}"
        given = self.shard.options
        options = {**given, "headers": {**(given.get("headers") or {}), "lr_job": task_id}}
        return self._messages.build(replace(self.shard, args=(found, *self.shard.args), options=options), task_id)

    def _publish(self, first: int, chunk: list[Message], total: int | None = None) -> None:
        lists = list(dict.fromkeys(_only_list(message) for message in chunk))
        words: list[Any] = [self._messages.expiry_ms.get(name, 0) for name in lists]
        for message in chunk:
            words += (message.task_id, message.raw, lists.index(message.lists[0]) + 1)
        reply = self._call("shard", lists, first, "" if total is None else total, *words)
        if not reply:
            raise UnknownJob(f"job {self.job_id!r} was forgotten while it was split")
        before, self._published, self._total = reply
        for number, message in enumerate(chunk, first):
            if before < number <= self._published:
                message.announce()
