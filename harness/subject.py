"""Subjects: the retry implementations under test, and how one is named, loaded and checked.

A subject is any object with the verbs of `Subject`; `CelerySubject` is a base with defaults that suit most Celery
code. Nothing has to be registered: `--subject` takes a registered name, `package.module:Name` or `file.py:Name`.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from celery import Celery, _state
from redis import Redis

from taskchaos.harness.contract import Claim, Contract
from taskchaos.harness.errors import UsageError
from taskchaos.harness.record.result import Expectation
from taskchaos.harness.subject_calls import SubjectFault, call, describe
from taskchaos.harness.workload import Operation, TransientError, operation_number

GROUP = "taskchaos.subjects"


class TaskBody(Protocol):
    """The work of a task. A subject that claims FENCED hands its fencing token along."""

    def __call__(self, payload: Mapping[str, Any], fence: int | None = None) -> Any: ...


@dataclass(frozen=True, slots=True)
class Settings:
    """What the harness gives every subject, scaled down so that a case takes seconds (and the report says so).

    visibility_timeout_s: after how long an unacknowledged message comes back (Celery's own default is 3600).
    restore_interval_s: how often that is looked for (Celery's own default is about 100), and for how long a worker that
    is killed while it looks keeps the others from it (300). keep_results: whether the case is about results, so that a
    subject that usually ignores them has to keep them.
    """

    visibility_timeout_s: int = 3
    restore_interval_s: int = 1
    max_retries: int = 3
    concurrency: int = 2
    keep_results: bool = False

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
    """

    pop: str = "BRPOP"
    retry: str = "LPUSH"
    publish: str = "LPUSH"


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


class CelerySubject:
    """Defaults for subjects that are plain Celery code. Override what differs."""

    name = "unnamed"
    contract = Contract(frozenset({Claim.NO_LOSS, Claim.RETRIES_BOUNDED, Claim.THROUGHPUT}))
    longest_wait_s = 4.0
    #: What command faults aim at; these are kombu's.
    commands = Commands()
    #: Expectations by "suite" or "suite.scenario" (the longer one wins); everything else is expected to pass.
    expectations: Mapping[str, Expectation] = {}

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
        """Send by `apply_async`."""
        task.apply_async(args=(operation.payload(),), task_id=operation.task_id)

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


# --- naming, loading, checking -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SubjectInfo:
    """A registered subject, without importing it."""

    name: str
    spec: str


#: No claimed wait may be as long: a year.
FOREVER_S = 365 * 86400.0


@cache
def registered() -> tuple[SubjectInfo, ...]:
    """The subjects of every installed package, by name. Looked up once: it does not change in a process's life."""
    found = {e.name: e.value for e in entry_points(group=GROUP)}
    return tuple(SubjectInfo(n, found[n]) for n in found)


def resolve(spec: str) -> Subject:
    """The subject a name, `package.module:Name` or `file.py:Name` stands for, instantiated.

    Raises UsageError, in one line that says what to do, if it cannot be found, imported, made or used.
    """
    target = {i.name: i.spec for i in registered()}.get(spec, spec)
    place, _, attribute = target.rpartition(":")
    if not place:
        names = ", ".join(i.name for i in registered())
        raise UsageError(f"no subject {spec!r}: use package.module:Name, file.py:Name, or one of {names}")
    module = _import_file(Path(place)) if place.endswith(".py") else _import_module(place, spec)
    found = getattr(module, attribute, None)
    if found is None:
        raise UsageError(f"subject {spec!r}: {place} has no {attribute!r}")
    try:
        subject = found() if isinstance(found, type) else found
    except Exception as error:
        raise UsageError(f"subject {spec!r}: {attribute}() raised {describe(error)}") from error
    problems = conformance(subject)
    if problems:
        raise UsageError(f"subject {spec!r}: " + "; ".join(problems))
    return subject  # type: ignore[no-any-return]


@cache
def name_for(spec: str) -> str:
    """The name of the subject that a spec stands for. Found out once: a collection asks for each of its tests."""
    return resolve(spec).name


def absolute_spec(spec: str) -> str:
    """The spec with a file path made absolute, so that a process with another working directory finds it."""
    place, _, attribute = spec.rpartition(":")
    return f"{Path(place).resolve()}:{attribute}" if place.endswith(".py") else spec


def _import_module(name: str, spec: str) -> Any:
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise UsageError(f"subject {spec!r}: importing {name} raised {describe(error)}") from error


def _import_file(path: Path) -> Any:
    if not path.is_file():
        raise UsageError(f"subject file {path} does not exist")
    name = f"taskchaos_subject_{path.stem}"
    module_spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert module_spec is not None and module_spec.loader is not None, "a .py path always has a loader"
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module
    try:
        module_spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise UsageError(f"subject file {path}: importing it raised {describe(error)}") from error
    return module


def conformance(subject: Any) -> tuple[str, ...]:
    """What is wrong with an object as a subject; empty when it can be used. Starts nothing."""
    problems: list[str] = []
    verbs = ("install", "register", "submit", "pending", "dead_letters", "leftovers", "expectation")
    missing = [v for v in verbs if not callable(getattr(subject, v, None))]
    if missing:
        problems.append(
            f"lacks {', '.join(m + '()' for m in missing)} (taskchaos.harness.subject.CelerySubject has it)"
        )
    if not isinstance(getattr(subject, "name", None), str):
        problems.append("lacks a `name` (text)")
    if not isinstance(getattr(subject, "contract", None), Contract):
        problems.append("lacks a `contract` (taskchaos.harness.contract.Contract)")
    elif not subject.contract.claims:
        problems.append("claims nothing, so nothing it does could fail: claim Claim.NO_LOSS at least")
    longest_wait_s = getattr(subject, "longest_wait_s", None)
    if not isinstance(longest_wait_s, (int, float)):
        problems.append("lacks `longest_wait_s` (seconds)")
    elif not 0 <= longest_wait_s < FOREVER_S:
        problems.append(f"`longest_wait_s` is {longest_wait_s}: it has to be a number of seconds from 0 on")
    if not isinstance(getattr(subject, "commands", None), Commands):
        problems.append("lacks `commands` (taskchaos.harness.subject.Commands)")
    return tuple(problems)


def dry_run(subject: Subject, expired: Callable[[str], object] | None = None) -> tuple[str, ...]:
    """Install and register the subject on an application that connects to nothing; what goes wrong, in words.

    expired: called from another thread when its code does not return.
    """
    shared = set(_state._on_app_finalizers)
    app = Celery(
        "taskchaos-check", broker="redis://127.0.0.1:1/0", backend="redis://127.0.0.1:1/0", set_as_current=False
    )
    try:
        return _registration_problems(subject, app, expired)
    finally:
        # Celery hands tasks of one application to every later one; a check must leave nothing behind.
        _state._on_app_finalizers.intersection_update(shared)


def _registration_problems(subject: Subject, app: Celery, expired: Callable[[str], object] | None) -> tuple[str, ...]:
    def register() -> Any:
        task = subject.register(app, lambda payload, fence=None: payload["op"])
        app.finalize()
        return task

    try:
        call(subject, "install", lambda: subject.install(app, Settings()), expired=expired)
        task = call(subject, "register", register, expired=expired)
    except SubjectFault as fault:
        return (str(fault),)
    if not callable(getattr(task, "apply_async", None)):
        return ("register() has to return a Celery task (it has no apply_async)",)
    if getattr(task, "name", None) not in app.tasks:
        return ("register() returned a task that the application does not know",)
    return ()
