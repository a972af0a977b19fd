"""What runs inside every worker and producer: the application with the subject on it, wired to the ledger."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celery import Celery, signals

from harness import codec
from harness.history import ClaimKind
from harness.history_io import LEDGER
from harness.ledger import Ledger
from harness.subject import Settings, Subject, resolve
from harness.workload import Body, operation_number

MARKS = "marks"


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

    @property
    def path(self) -> Path:
        """Where the file with this configuration lives."""
        return Path(self.folder) / "roles" / f"{self.role}.json"

    def save(self, path: Path) -> None:
        """Write the file that the role's process reads."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(codec.encode(self)))

    @classmethod
    def load(cls, path: Path) -> RoleConfig:
        """Read it back. Raises CodecError if it does not fit."""
        return codec.decode(cls, json.loads(path.read_text()))


@dataclass(frozen=True, slots=True)
class Runtime:
    """A Celery application with the subject's task on it."""

    app: Celery
    task: Any
    subject: Subject
    ledger: Ledger


def build(config: RoleConfig) -> Runtime:
    """Make the application of one role. Connects to nothing. Raises UsageError when the subject cannot be used."""
    folder = Path(config.folder)
    ledger = Ledger(folder / LEDGER, config.role, config.pid_base)
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
    subject = resolve(config.subject)
    subject.install(app, config.settings)
    task = subject.register(app, Body(ledger, folder / MARKS))
    app.finalize()
    return Runtime(app, task, subject, ledger)


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
