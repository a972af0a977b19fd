"""Subjects: the retry implementations under test.

A subject is any object with the verbs of `Subject`; `CelerySubject` is a base with defaults that suit most Celery
code. Nothing has to be registered: `--subject` takes a registered name, `package.module:Name` or `file.py:Name`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Protocol, cast, runtime_checkable

from taskchaos.faults.bounds import Flag, Whole, check
from taskchaos.harness.contract import Claim, Contract
from taskchaos.harness.record.result import Expectation
from taskchaos.harness.workload import Operation, TransientError, operation_number

if TYPE_CHECKING:
    from celery import Celery
    from redis import Redis


#: So long a revoke waits for the answers of workers.
HEARD_S = 1.0


class TaskBody(Protocol):
    """The work of a task. A subject that claims FENCED hands its fencing token along."""

    def __call__(self, payload: Mapping[str, Any], fence: int | None = None) -> Any: ...


@dataclass(frozen=True, slots=True)
class Settings:
    """What the harness gives every subject, scaled down so that a case takes seconds (and the report says so).

    visibility_timeout_s: after how long an unacknowledged message comes back (Celery's own default is 3600).
    restore_interval_s: how often that is looked for (Celery's own default is about 100), and for how long a worker that
    is killed while it looks keeps the others from it (300). keep_results: whether the case is about results, so that a
    subject that usually ignores them has to keep them. business_keys: whether tasks have a business key
    (`payload["key"]`), of which who claims EXCLUSIVE_KEYS runs one task at a time. max_tasks_per_child: after so many
    tasks a pool process is replaced (0: never). soft_shutdown_s: for how long a worker that gets SIGQUIT waits for its
    tasks (0: not at all). autoscale: whether a worker has one pool process or more, up to `concurrency`, as it needs.
    mingle: whether a worker that starts asks the others what was revoked, as Celery's do, which takes it a second.
    """

    visibility_timeout_s: Annotated[int, Whole(1, 86_400)] = 3
    restore_interval_s: Annotated[int, Whole(1, 86_400)] = 1
    max_retries: Annotated[int, Whole(0, 1000)] = 3
    concurrency: Annotated[int, Whole(1, 64)] = 2
    keep_results: Annotated[bool, Flag()] = False
    business_keys: Annotated[bool, Flag()] = False
    max_tasks_per_child: Annotated[int, Whole(0, 1_000_000)] = 0
    soft_shutdown_s: Annotated[int, Whole(0, 3600)] = 0
    autoscale: Annotated[bool, Flag()] = False
    mingle: Annotated[bool, Flag()] = False

    def __post_init__(self) -> None:
        """Raises ValueError, naming the field, for what no worker can be given."""
        check(self)

    @property
    def redelivery_s(self) -> float:
        """The longest a message of a dead worker may wait before it is offered again."""
        return self.visibility_timeout_s + 3 * self.restore_interval_s


@dataclass(frozen=True, slots=True)
class Pending:
    """What is still on the broker: operations by number, and how many entries name none."""

    operations: frozenset[int] = frozenset()
    opaque: int = 0

    @property
    def empty(self) -> bool:
        """Whether nothing is left."""
        return not self.operations and not self.opaque


@dataclass(frozen=True, slots=True)
class Commands:
    """The Redis commands (names, separated by commas) with which a subject does what command faults aim at.

    pop: takes a message off the queue. retry: hands a retry to Redis (empty: it never does). publish: sends a task.
    claim: names a task and makes sure that nobody else runs it (empty: what takes it off the queue does, or nothing).
    """

    pop: str = "BRPOP"
    retry: str = "LPUSH"
    publish: str = "LPUSH"
    claim: str = ""


class Refused(Exception):
    """Raised by a subject's `submit` when it is certain that nothing was sent."""


@runtime_checkable
class Subject(Protocol):
    """A retry implementation for Celery on Redis, as the harness drives it.

    `install` runs in every producer and worker before `register`; both run in the process that uses them, after any
    fork. `submit` runs in producers, from several threads. The last three read Redis directly, past every fault.
    """

    name: str
    contract: Contract
    longest_wait_s: float  # how long a task may rightly wait between two attempts
    commands: Commands

    def install(self, app: Celery, settings: Settings) -> None:
        """Configure the application. Must not connect to anything."""

    def register(self, app: Celery, body: TaskBody) -> Any:
        """Register a task that calls `body(payload)` and retries its TransientError. Returns the task.

        One that claims FENCED calls `body(payload, fence)`.
        """

    def submit(self, task: Any, operation: Operation) -> None:
        """Send the operation, with `operation.task_id` as task id. May raise; that means unknown, unless Refused."""

    def pending(self, redis: Redis) -> Pending:
        """What is still queued, reserved or scheduled."""

    def dead_letters(self, redis: Redis) -> frozenset[int]:
        """Operations given up by policy and kept somewhere a person can find them."""

    def leftovers(self, redis: Redis) -> tuple[str, ...]:
        """Keys that should be gone when nothing is pending: locks, state rows."""

    def expectation(self, suite: str, scenario: str) -> Expectation:
        """What this subject should come to in a case of the suite."""


@runtime_checkable
class ChordSubject(Protocol):
    """A subject that can send chords. One that cannot is left out of cases that have any."""

    def submit_chord(self, task: Any, members: Sequence[Operation], body: Operation) -> None:
        """Send the members, and have the body run when all have succeeded. May raise like `submit`.

        Each operation runs under its own task id, with its payload as only argument.
        """


@runtime_checkable
class RevokingSubject(Protocol):
    """A subject that can revoke. One that cannot is left out of cases that do."""

    def revoke(self, app: Celery, operation: Operation, workers: int) -> None:
        """Have the operation not run any more. Who returns says that it was heard: by so many workers, or by Redis.

        May raise like `submit`, and is called from several threads.
        """


class Unheard(Exception):
    """Raised by `revoke` when not all workers have heard."""


class CelerySubject:
    """Defaults for subjects that are plain Celery code. Override what differs."""

    name = "unnamed"
    contract = Contract(frozenset({Claim.NO_LOSS, Claim.RETRIES_BOUNDED, Claim.THROUGHPUT}))
    longest_wait_s = 4.0
    #: What command faults aim at; these are kombu's.
    commands = Commands()
    #: Expectations by "suite" or "suite.scenario" (the longer one wins); everything else is expected to pass.
    expectations: Mapping[str, Expectation] = {}
    #: The one scenario ("suite.scenario") that it is made for and runs in, at any depth; empty: it runs everywhere.
    only_in = ""

    def install(self, app: Celery, settings: Settings) -> None:
        """Nothing beyond what the harness set: broker, result backend and the scaled-down timeouts."""

    def register(self, app: Celery, body: TaskBody) -> Any:
        """A task that retries TransientError with Celery's own back-off."""

        def task(payload: Mapping[str, Any]) -> Any:
            return body(payload)

        return app.task(
            name="taskchaos.task", autoretry_for=(TransientError,), max_retries=3, retry_backoff=1, retry_jitter=True
        )(task)

    def submit(self, task: Any, operation: Operation) -> None:
        """Send by `apply_async`, to be run when the operation says, and as urgently."""
        countdown = operation.eta_ms / 1000 if operation.eta_ms else None
        urgency = {} if operation.priority is None else {"priority": operation.priority}
        task.apply_async(args=(operation.payload(),), task_id=operation.task_id, countdown=countdown, **urgency)

    def submit_chord(self, task: Any, members: Sequence[Operation], body: Operation) -> None:
        """Send as `celery.chord`. Its results have to be kept: they are what Celery counts members by."""
        from celery import chord

        *header, last = (task.si(each.payload()).set(task_id=each.task_id) for each in (*members, body))
        chord(header, last).apply_async()

    def revoke(self, app: Celery, operation: Operation, workers: int) -> None:
        """By Celery's remote control. Raises Unheard unless as many workers answer in time."""
        heard = app.control.revoke(operation.task_id, reply=True, timeout=HEARD_S, limit=workers) or ()
        if len(heard) < workers:
            raise Unheard(f"{len(heard)} of {workers} workers answered within {HEARD_S:g} s")

    def pending(self, redis: Redis) -> Pending:
        """Messages in any list (queues) and in kombu's `unacked` hash."""
        return celery_pending(redis)

    def dead_letters(self, redis: Redis) -> frozenset[int]:
        """None: Celery keeps no dead letters."""
        return frozenset()

    def leftovers(self, redis: Redis) -> tuple[str, ...]:
        """Keys that are neither Celery's nor kombu's own."""
        return tuple(sorted(k for k in _keys(redis) if not k.startswith(CELERY_KEYS) and not k.endswith(".pidbox")))

    def expectation(self, suite: str, scenario: str) -> Expectation:
        """As `expectations` says; pass where it is silent."""
        found = self.expectations.get(f"{suite}.{scenario}") or self.expectations.get(suite)
        return found or Expectation()


#: Keys that Celery and kombu own and keep; queues are lists and hold pending messages, not leftovers.
CELERY_KEYS = ("_kombu.binding.", "_kombu.binding_permanent.", "celery", "unacked", "_kombu.")


def _keys(redis: Redis) -> Iterable[str]:
    for key in redis.scan_iter(count=1000):
        yield key.decode(errors="replace") if isinstance(key, bytes) else key


def celery_pending(redis: Redis) -> Pending:
    """Operations in Celery queues and in `unacked`, read from the messages themselves."""
    messages: list[bytes] = list(cast(list[bytes], redis.hvals("unacked")))
    for key in redis.scan_iter(count=1000, _type="list"):
        if b"pidbox" not in key:
            messages += cast(list[bytes], redis.lrange(key, 0, -1))
    numbers = [_message_operation(m) for m in messages]
    named = frozenset(n for n in numbers if n is not None)
    return Pending(named, numbers.count(None))


def _message_operation(raw: bytes) -> int | None:
    try:
        message = json.loads(raw)
        if isinstance(message, list):  # unacked holds [message, exchange, routing key]
            message = message[0]
        return operation_number(str(message["headers"]["id"]))
    except (ValueError, KeyError, TypeError, IndexError):
        return None
