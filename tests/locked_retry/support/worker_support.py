"""Real workers on a real server: an application written to a file, a worker started by Celery's command line."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from celery import Celery
from kombu import pools
from redis import Redis
from waiting import until

import locked_retry
from locked_retry import LockedTask

COMMAND = "-A tested_app worker -c2 -lINFO --without-gossip --without-mingle"
APP = """
import os, time
from celery import Celery
from celery.exceptions import Ignore, Reject
from celery.worker.control import control_command
import locked_retry
from locked_retry import LockedTask, Exponential

app = Celery("tested", broker=os.environ["TESTED_URL"], task_cls=LockedTask)
app.conf.update(task_ignore_result=True, worker_hijack_root_logger=False)
app.conf.update(**eval(os.environ.get("TESTED_CONF", "{}")))
locked_retry.install(app, **eval(os.environ.get("TESTED_OPTIONS", "{}")))
JOURNAL = os.environ["TESTED_JOURNAL"]


def note(*words):
    fd = os.open(JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, (" ".join(map(str, words)) + "\\n").encode())
    os.close(fd)


@app.task(bind=True, name="note")
def note_task(self, name, work_s=0.0):
    note("begin", name, self.fence, self.lease.valid())
    time.sleep(work_s)
    note("end", name, self.fence, self.lease.valid())


@app.task(bind=True, name="flaky", max_retries=3, backoff=Exponential(base_s=0.01, cap_s=0.05))
def flaky(self, name, failures=2, **how):
    note("try", name, self.request.retries, self.fence)
    if self.request.retries < failures:
        raise self.retry(exc=ValueError("not yet"), **how)
    note("end", name, self.fence)


@app.task(bind=True, name="changing", max_retries=3)
def changing(self, number):
    note("number", number)
    if number < 3:
        raise self.retry(args=(number + 1,), countdown=0.01)


@app.task(name="auto", autoretry_for=(KeyError,), max_retries=2, retry_kwargs={"countdown": 0.01})
def auto(name):
    note("auto", name)
    raise KeyError(name)


@app.task(bind=True, name="ends")
def ends(self, how):
    note("ends", how)
    if how == "ignore":
        raise Ignore()
    if how == "reject":
        raise Reject("no", requeue=False)
    if how == "requeue" and not self.request.delivery_info.get("redelivered"):
        if not os.path.exists(JOURNAL + ".once"):
            open(JOURNAL + ".once", "w").close()
            raise Reject("again", requeue=True)
    if how == "error":
        raise ValueError("for good")
    if how == "exit":
        os._exit(9)
    if how == "SystemExit":
        raise SystemExit(3)
    if how == "replace":
        raise self.replace(note_task.s("replaced"))


@app.task(bind=True, name="locked", lock="order:{order}")
def locked(self, order, work_s=0.0, name=""):
    note("begin", order, name)
    time.sleep(work_s)
    note("end", order, name)


@control_command()
def rebuild(state):
    # what an error of another connection does to Celery's consumer: it is torn down and built again
    def fail():
        raise ConnectionError("made by the test")

    state.consumer.hub.call_soon(fail)


@app.task(name="early", acks_late=False, max_retries=1, bind=True)
def early(self):
    note("early", self.request.retries)
    if not self.request.retries:
        raise self.retry(countdown=0.01)


@app.task(name="limited", time_limit=0.3)
def limited():
    note("limited")
    time.sleep(30)


@app.task(name="limited_again", time_limit=0.3, acks_on_failure_or_timeout=False, max_crashes=2)
def limited_again():
    note("limited_again")
    time.sleep(30)


@app.task(name="plain", base=__import__("celery").Task, bind=True, max_retries=2)
def plain(self):
    note("plain", self.request.retries)
    if self.request.retries < 2:
        raise self.retry(countdown=0.01)
"""


class Tested:
    """A worker's surroundings: its URL, what it noted, the processes that were started."""

    __test__ = False

    def __init__(self, url: str, folder: Path, **options: Any) -> None:
        self.url = url
        self.pool = "prefork"
        self.folder = folder
        self.journal = folder / "journal"
        (folder / "tested_app.py").write_text(APP)
        self.workers: list[subprocess.Popen[bytes]] = []
        self.app = Celery("producer", broker=url, task_cls=LockedTask, set_as_current=False)
        self.app.conf.broker_transport_options = {"socket_timeout": 5, **options}
        locked_retry.install(self.app)

    def worker(
        self,
        *,
        pool: str = "prefork",
        conf: str = "{}",
        options: str = "{}",
        more: tuple[str, ...] = (),
        wait: bool = True,
        under: tuple[str, ...] = (),
    ) -> Any:
        """Start a worker and wait until it takes turns. under: a command that runs it."""
        environment = {
            **os.environ,
            "TESTED_URL": self.url,
            "TESTED_JOURNAL": str(self.journal),
            "TESTED_CONF": conf,
            "TESTED_OPTIONS": options,
        }
        number = len(self.workers)
        with (self.folder / f"worker{number}.log").open("wb") as log:
            process = subprocess.Popen(
                [
                    *under,
                    sys.executable,
                    "-m",
                    "celery",
                    *COMMAND.split(),
                    f"--pool={pool}",
                    f"-nw{number}@test",
                    *more,
                ],
                env=environment,
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.workers.append(process)
        if wait:
            self.ready(number)
        return process

    def ready(self, number: int, deadline_s: float = 20.0) -> None:
        """Wait until this worker takes turns."""
        until(lambda: "ready." in self.log(number), lambda: f"worker {number} is ready: {self.log(number)}", deadline_s)

    def log(self, number: int = 0) -> str:
        """What the worker printed."""
        path = self.folder / f"worker{number}.log"
        return path.read_text() if path.exists() else ""

    def send(self, name: str, *args: Any, **options: Any) -> None:
        """Publish a task, as a producer that knows only its name."""
        self.app.send_task(name, args=args, **options)

    def notes(self, *begin: Any) -> list[list[str]]:
        """The lines of the journal that begin with these words."""
        if not self.journal.exists():
            return []
        words = [str(w) for w in begin]
        lines = [line.split() for line in self.journal.read_text().splitlines()]
        return [line for line in lines if line[: len(words)] == words]

    def stop(self) -> None:
        """Kill what was started here."""
        for process in self.workers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        forget_connections(self.app)
        self.app.close()


def forget_connections(app: Celery) -> None:
    """kombu keeps connections per URL for the whole process: the next test would begin with those of this one."""
    url = app.connection_for_write()
    for group in (pools.producers, pools.connections):
        group[url].force_close_all()
        del group[url]


def forget_results(app: Celery) -> None:
    """Forget the results of a producer while their server still answers: one that is collected later connects again."""
    gc.collect()
    consumer = app.backend.result_consumer
    consumer.stop()
    consumer._pubsub = None  # with one, before 5.7 for minutes


def at_rest(redis: Redis) -> bool:
    """Whether nothing is queued, held or delayed. Asked in one step: what moves meanwhile would be nowhere."""
    with redis.pipeline(transaction=True) as pipe:
        pipe.llen("celery").zcard("lr:lease").zcard("lr:delay")
        return not any(pipe.execute())


def settled(redis: Redis) -> bool:
    """Whether nothing is queued, held, delayed or parked."""
    rows = [redis.hget(k, "st") for k in redis.scan_iter("lr:t:*")]
    return not redis.llen("celery") and all(st == b"x" for st in rows)


@contextlib.contextmanager
def surroundings(url: str, folder: Path, **options: Any) -> Iterator[Tested]:
    tested = Tested(url, folder, **options)
    try:
        yield tested
    finally:
        tested.stop()
