"""What runs inside every worker and producer: the application with the subject on it, wired to the ledger."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from celery import Celery, signals

from taskchaos.harness import codec
from taskchaos.harness.case.subject_loading import resolve
from taskchaos.harness.errors import UsageError
from taskchaos.harness.record.history import ClaimKind
from taskchaos.harness.record.layout import LEDGER, MARKS
from taskchaos.harness.record.ledger import Ledger
from taskchaos.harness.stack.body import Body
from taskchaos.harness.subject import Settings, Subject
from taskchaos.harness.subject_calls import SubjectFault, call
from taskchaos.harness.versions import told, versions
from taskchaos.harness.workload import operation_number

#: What a role's process writes first when it cannot be what it was started for; the reason follows.
REFUSAL = b"!"
#: The status of a role's process that has met what no subject can cause (EX_SOFTWARE).
BROKEN = 70
_REDIS_SCHEMES = frozenset({"redis", "rediss", "sentinel", "redis+socket", "rediss+sentinel", "sentinel+redis"})


@dataclass(frozen=True, slots=True)
class RoleConfig:
    """Everything a worker or producer process has to know. Times in seconds."""

    role: str
    subject: str
    broker_url: str
    result_url: str
    folder: str  # the case folder: ledger and marks live there
    settings: Settings
    pool: str = "prefork"
    pid_base: int = 0  # what pids are counted from in the ledger
    release: str = ""  # which one it is, in a case with two of them

    @property
    def path(self) -> Path:
        """Where the file with this configuration lives."""
        return Path(self.folder) / "roles" / f"{self.role}.json"

    def save(self, path: Path) -> None:
        """Write the file that the role's process reads."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(codec.encode(self)), encoding="utf-8")
        note_path(path).write_bytes(b"")
        note_path(path).chmod(0o666)  # the role of a container is another user

    @classmethod
    def load(cls, path: Path) -> RoleConfig:
        """Read it back. Raises CodecError if it does not fit."""
        return codec.decode(cls, json.loads(path.read_bytes()))


@dataclass(frozen=True, slots=True)
class Runtime:
    """A Celery application with the subject's task on it."""

    app: Celery
    task: Any
    subject: Subject
    ledger: Ledger


def build(config: RoleConfig, expired: Callable[[str], object] | None = None) -> Runtime:
    """Make the application of one role. Connects to nothing.

    Raises SubjectFault when the subject's code fails, or leads the application past the links; `expired` is called from
    another thread when that code does not return.
    """
    folder = Path(config.folder)
    note = note_path(config.path)
    with noted(note, "importing it"):
        try:
            subject = resolve(config.subject)
        except UsageError as error:
            raise SubjectFault(str(error)) from error
    release = f"{config.release} {told(versions())}" if config.release else ""
    ledger = Ledger(folder / LEDGER, config.role, config.pid_base, release)
    app = Celery("taskchaos", broker=config.broker_url, backend=config.result_url)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        worker_hijack_root_logger=False,
        worker_proc_alive_timeout=10.0,
        broker_transport_options={
            "visibility_timeout": config.settings.visibility_timeout_s,
            "unacked_restore_interval": config.settings.restore_interval_s,
            "unacked_restore_throttle": 1,
            # Who looks for what is overdue locks out the others; killed meanwhile, for 300 s by default.
            "unacked_mutex_expire": max(1, config.settings.restore_interval_s),
        },
    )
    if config.settings.max_tasks_per_child:
        app.conf.worker_max_tasks_per_child = config.settings.max_tasks_per_child
    if config.settings.soft_shutdown_s:
        app.conf.worker_soft_shutdown_timeout = config.settings.soft_shutdown_s

    def register() -> Any:
        task = subject.register(app, Body(ledger, folder / MARKS))
        app.finalize()
        return task

    with noted(note, "install()"):
        call(subject, "install", lambda: subject.install(app, config.settings), expired=expired)
    with noted(note, "register()"):
        task = call(subject, "register", register, expired=expired)
    if elsewhere := strayed(app, config):
        raise SubjectFault(
            f"install() or register() leads past the links: {elsewhere}. Leave broker_url and result_backend alone: "
            "they point at the links that faults are done to"
        )
    return Runtime(app, task, subject, ledger)


def note_path(config: Path) -> Path:
    """Where a role's process writes down what it calls of the subject while it starts. config: its configuration."""
    return config.with_suffix(".calls")


@contextmanager
def noted(note: Path, what: str) -> Iterator[None]:
    """While this lasts, `what` is written there: code that ends the process says nothing itself."""
    with suppress(OSError):
        note.write_text(what, encoding="utf-8")
    try:
        yield
    finally:
        with suppress(OSError):
            note.write_bytes(b"")


def refuse(ready_fd: int) -> Callable[[str], NoReturn]:
    """How a role's process says why the subject cannot be used, instead of saying that it is ready; and ends."""

    def say(why: str) -> NoReturn:
        os.write(ready_fd, REFUSAL + why.encode("utf-8", "replace")[:4000] + b"\n")
        os._exit(1)

    return say


def strayed(app: Celery, config: RoleConfig) -> str:
    """What of the application leads elsewhere than through the links that the harness gave it; "" if nothing does."""
    conf = app.conf
    for name in ("broker_url", "broker_read_url", "broker_write_url"):
        for url in _urls(getattr(conf, name)):
            if _place(url) != _place(config.broker_url):
                return f"{name} is {_shown(url)}"
    for url in _urls(conf.result_backend):
        if urlsplit(url).scheme in _REDIS_SCHEMES and _place(url) not in (
            _place(config.result_url),
            _place(config.broker_url),
        ):
            return f"result_backend is {_shown(url)}"
    return ""


def _urls(given: object) -> Iterator[str]:
    """The URLs of a setting: one, several in a text, or a list of such."""
    if isinstance(given, str):
        yield from (url for url in given.split(";") if url)
    elif isinstance(given, list | tuple):
        for each in given:
            yield from _urls(each)


def _place(url: str) -> tuple[str | None, int | None, str]:
    try:
        parts = urlsplit(url)
        return parts.hostname, parts.port, parts.path.strip("/") or "0"
    except ValueError:
        return None, None, url


def _shown(url: str) -> str:
    """The URL without a password."""
    parts = urlsplit(url)
    return url.replace(f":{parts.password}@", ":***@") if parts.password else url


def record_worker(ledger: Ledger) -> None:
    """Write deliveries, holdings and the subject's claims to the ledger, from Celery's own signals."""

    def number_of(task_id: Any) -> int | None:
        return operation_number(str(task_id))

    def received(request: Any = None, **_: Any) -> None:
        if (op := number_of(request.id)) is not None:
            ledger.delivery(op)

    def prerun(task_id: Any = None, **_: Any) -> None:
        if (op := number_of(task_id)) is not None:
            ledger.held(op)

    def postrun(task_id: Any = None, **_: Any) -> None:
        if (op := number_of(task_id)) is not None:
            ledger.released(op)

    def succeeded(sender: Any = None, **_: Any) -> None:
        if (op := number_of(sender.request.id)) is not None:
            ledger.claim(op, ClaimKind.SUCCESS)

    def failed(task_id: Any = None, exception: Any = None, **_: Any) -> None:
        if (op := number_of(task_id)) is not None:
            ledger.claim(op, ClaimKind.FAILURE, f"{type(exception).__name__}: {exception}")

    def retried(request: Any = None, reason: Any = None, **_: Any) -> None:
        if (op := number_of(request.id)) is not None:
            ledger.claim(op, ClaimKind.RETRY, str(reason))

    def revoked(request: Any = None, **_: Any) -> None:
        if (op := number_of(request.id)) is not None:
            ledger.claim(op, ClaimKind.REVOKED)

    for signal, receiver in (
        (signals.task_received, received),
        (signals.task_prerun, prerun),
        (signals.task_postrun, postrun),
        (signals.task_success, succeeded),
        (signals.task_failure, failed),
        (signals.task_retry, retried),
        (signals.task_revoked, revoked),
    ):
        signal.connect(receiver, weak=False)
