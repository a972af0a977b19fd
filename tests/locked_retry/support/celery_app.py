"""The application of the tests in celery/: the same tasks and signal receivers for producers and workers.

A worker loads it through tested_app.py; the test builds one of its own, so that it publishes with Celery's own API.
`plain=True` is the same application on stock Celery.
"""

from __future__ import annotations

import os
import signal
import time
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import hostile_tasks
from celery import Celery, Task, signals
from celery.exceptions import Reject, SoftTimeLimitExceeded
from celery.worker.control import control_command, inspect_command
from celery.worker.state import active_requests, task_ready

import locked_retry
from locked_retry import Exponential, LockedTask

QUICK = {"backoff": Exponential(base_s=0.01, cap_s=0.05)}


class Journal:
    """Lines that any process may add; each is written whole."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __call__(self, *words: Any) -> None:
        line = " ".join(str(word) for word in words) + "\n"
        with open(self._path, "ab", buffering=0) as out:
            out.write(line.encode())


def build(
    url: str, journal: str, options: dict[str, Any], *, plain: bool = False, results: str = "", **conf: Any
) -> Celery:
    """An application with all tasks. Results go to database 1 of the same server, unless there is a URL for them."""
    backend = url[: url.rindex("/")] + "/1"
    task_cls = Task if plain else LockedTask
    app = Celery("tested", broker=url, backend=results or backend, task_cls=task_cls, set_as_current=False)
    app.conf.update(worker_hijack_root_logger=False, result_expires=600, redis_socket_timeout=10.0, **conf)
    if plain:
        app.conf.update(task_acks_late=True, task_reject_on_worker_lost=True)
    else:
        locked_retry.install(app, **options)
    note = Journal(journal)
    define(app, note, {} if plain else QUICK)
    define_handled(app, note)
    hostile_tasks.define(app, note, {} if plain else QUICK)
    return app


def define(app: Celery, note: Journal, quick: dict[str, Any]) -> None:
    """Tasks of all kinds."""
    task = partial(app.task, shared=False)  # not for the applications of other tests in this process

    @task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    @task(bind=True, name="note")
    def note_task(self: Task, name: str, work_s: float = 0.0) -> str:
        note("begin", name, self.request.retries, os.getpid(), self.request.delivery_info["routing_key"])
        time.sleep(work_s)
        note("end", name)
        return name

    @task(name="whoami")
    def whoami() -> int:
        return os.getpid()

    @task(name="collect")
    def collect(values: list[Any], name: str) -> list[Any]:
        note("collect", name, *values)
        return values

    @task(name="heard")
    def heard(value: Any) -> None:
        note("heard", value)

    @task(name="errback")
    def errback(task_id: str) -> None:
        note("errback", task_id)

    @task(name="errback_inline")
    def errback_inline(request: Any, exc: Any, traceback: Any) -> None:
        note("errback_inline", request.id, type(exc).__name__)

    @task(name="boom", throws=(KeyError,))
    def boom(name: str, kind: str = "ValueError") -> None:
        note("boom", name)
        raise {"ValueError": ValueError, "KeyError": KeyError}[kind](name)

    @task(name="errors_only", ignore_result=True, store_errors_even_if_ignored=True)
    def errors_only(fail: bool) -> int:
        if fail:
            raise ValueError("kept")
        return 1

    @task(name="tracked", track_started=True)
    def tracked(work_s: float) -> float:
        time.sleep(work_s)
        return work_s

    @task(bind=True, name="flaky", max_retries=5, **quick)
    def flaky(self: Task, name: str, failures: int = 2, **how: Any) -> str:
        note("try", name, self.request.retries)
        if self.request.retries < failures:
            raise self.retry(exc=ValueError("not yet"), **how)
        return name

    @task(bind=True, name="hopeless", max_retries=1, **quick)
    def hopeless(self: Task, name: str, cause: bool = True) -> None:
        note("try", name, self.request.retries)
        raise self.retry(exc=ValueError("never") if cause else None, countdown=0.01)

    @task(bind=True, name="killed_once")
    def killed_once(self: Task, name: str, once: str) -> str:
        note("try", name)
        if not Path(once).exists():
            Path(once).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return name

    @task(name="gated", max_crashes=2)
    def gated(name: str, gate: str, end: str) -> str:
        note("try", name)
        while not Path(gate).exists():
            time.sleep(0.01)
        if end == "fails":
            raise ValueError("never")
        if end == "is killed" or (end == "is killed once" and not Path(f"{gate}.once").exists()):
            Path(f"{gate}.once").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return name

    @task(bind=True, name="lost_and_retried", retry_on_worker_lost=True, default_retry_delay=0.05, max_retries=2)
    def lost_and_retried(self: Task, name: str, retries: int) -> int:
        note("try", name, self.request.retries)
        if self.request.retries < retries:
            os.kill(os.getpid(), signal.SIGKILL)
        return int(self.request.retries)

    class KilledAfterwards(app.Task):  # type: ignore[name-defined,misc]
        abstract = True

        def on_success(self, *_: Any) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

    @task(name="succeeded_and_lost", base=KilledAfterwards)
    def succeeded_and_lost(name: str) -> str:
        note("try", name)
        return name

    @task(name="killed_and_given_up", reject_on_worker_lost=False)
    def killed_and_given_up(name: str) -> None:
        note("try", name)
        os.kill(os.getpid(), signal.SIGKILL)

    @task(bind=True, name="killer", max_crashes=2)
    def killer(self: Task, name: str) -> None:
        note("try", name)
        os.kill(os.getpid(), signal.SIGKILL)

    @task(bind=True, name="replaced")
    def replaced(self: Task, name: str, how: str = "task") -> Any:
        note("try", name)
        one = app.signature("flaky", args=(name, 1), kwargs={"countdown": 0.01}, immutable=True)
        two = app.signature("flaky", args=(f"{name}2", 1), kwargs={"countdown": 0.01}, immutable=True)
        return self.replace(one if how == "task" else one | two)


def define_handled(app: Celery, note: Journal) -> None:
    """Tasks about retries, handlers and limits."""
    task = partial(app.task, shared=False)

    class Handled(app.Task):  # type: ignore[name-defined,misc]
        abstract = True

        def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
            note("on_success", task_id, retval)

        def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            note("on_failure", task_id, type(exc).__name__)

        def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            note("on_retry", task_id, type(exc).__name__)

        def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
            note("after_return", task_id, status)

    @task(base=Handled, bind=True, name="handled", max_retries=2)
    def handled(self: Task, failures: int) -> str:
        if self.request.retries < failures:
            raise self.retry(exc=ValueError("not yet"), countdown=0.01)
        return "fine"

    class Unsendable(app.Task):  # type: ignore[name-defined,misc]
        abstract = True

        def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
            raise RuntimeError("it cannot be sent")

    @task(base=Unsendable, name="unsendable")
    def unsendable(name: str) -> str:
        note("unsendable", name)
        return name

    auto = {"retry_backoff": 1, "retry_backoff_max": 1, "retry_jitter": True, "max_retries": 2}

    @task(name="auto", autoretry_for=(LookupError,), dont_autoretry_for=(IndexError,), **auto)
    def autoretried(name: str, kind: str) -> None:
        note("try", name)
        raise {"KeyError": KeyError, "IndexError": IndexError, "ValueError": ValueError}[kind](name)

    @task(bind=True, name="endless", max_retries=None)
    def endless(self: Task, name: str, until_retries: int) -> int:
        if self.request.retries < until_retries:
            raise self.retry(countdown=0)
        note("end", name, self.request.retries)
        return int(self.request.retries)

    @task(bind=True, name="at")
    def at(self: Task, name: str, eta: str) -> str:
        note("try", name, time.time())
        if not self.request.retries:
            raise self.retry(eta=datetime.fromisoformat(eta))
        return name

    @task(bind=True, name="told")
    def told(self: Task, name: str, work_s: float) -> None:
        note("told", name, self.request.delivery_info["redelivered"])
        time.sleep(work_s)

    @task(bind=True, name="requeues")
    def requeues(self: Task) -> bool:
        if not self.request.delivery_info["redelivered"]:
            raise Reject("again", requeue=True)
        return True

    @task(bind=True, name="limited_softly", soft_time_limit=0.3, max_retries=2)
    def limited_softly(self: Task, name: str) -> str:
        note("try", name, self.request.retries)
        try:
            time.sleep(30 if self.request.retries < 1 else 0)
        except SoftTimeLimitExceeded as error:
            raise self.retry(exc=error, countdown=0.01) from error
        return name

    @task(bind=True, name="requested")
    def requested(self: Task) -> dict[str, Any]:
        request = self.request
        return {"retries": request.retries, "info": dict(request.delivery_info), "eager": request.is_eager}

    @task(name="rated", rate_limit="4/s")
    def rated(name: str) -> None:
        note("begin", name, time.time())

    @task(bind=True, name="ordered", lock="order:{order}", max_retries=2)
    def ordered(self: Task, order: int, next_order: int | None = None) -> None:
        shown = self.request.get("argsrepr").replace(" ", "")
        note("order", order, self.request.get("lr_lock"), shown)
        if next_order is not None:
            raise self.retry(args=(next_order,), kwargs={}, countdown=0.01)


def note_signals(note: Journal) -> None:
    """Every signal of a task becomes a line: "signal", its name, the task's id."""

    def record(name: str) -> Any:
        def receiver(sender: Any = None, **fields: Any) -> None:
            request = fields.get("request")
            task_id = fields.get("task_id") or getattr(request, "id", None) or getattr(sender.request, "id", None)
            note("signal", name, task_id)

        return receiver

    names = ("prerun", "postrun", "retry", "failure", "success", "revoked", "received")
    for name in names:
        getattr(signals, f"task_{name}").connect(record(name), weak=False)
    signals.before_task_publish.connect(
        lambda headers=None, **_: note("signal", "publish", headers["id"]),  # type: ignore[index]
        weak=False,
    )


@inspect_command()
def held(state: Any) -> int:
    """How many deliveries this worker's session holds."""
    return len(state.consumer.task_consumer.channel.engine.session.held)


@control_command()
def forget(state: Any) -> None:
    """Celery loses track of what runs: nobody will be told how it ends."""
    for request in list(active_requests):
        task_ready(request)


@control_command()
def rebuild(state: Any) -> None:
    """What an error of another connection does to Celery's consumer: it is torn down and built again."""

    def fail() -> None:
        raise ConnectionError("made by the test")

    state.consumer.hub.call_soon(fail)


if "TESTED_URL" in os.environ:
    _conf = eval(os.environ.get("TESTED_CONF", "{}"))
    app = build(
        os.environ["TESTED_URL"], os.environ["TESTED_JOURNAL"], eval(os.environ.get("TESTED_OPTIONS", "{}")), **_conf
    )
    app.set_default()
    note_signals(Journal(os.environ["TESTED_JOURNAL"]))
