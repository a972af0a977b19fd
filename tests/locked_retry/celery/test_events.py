"""Celery's events: monitors see tasks on locked_retry as on plain Celery."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from celery import Celery
from redis import Redis
from waiting import until
from worker_support import surroundings


class Watch(threading.Thread):
    """Collects what `app.events.Receiver` is sent, until it is told to end."""

    def __init__(self, app: Celery) -> None:
        super().__init__(daemon=True)
        self._app = app
        self._receiver: Any = None
        self.seen: list[dict[str, Any]] = []

    def run(self) -> None:
        with self._app.connection_for_read() as connection:
            self._receiver = self._app.events.Receiver(connection, handlers={"*": self.seen.append})
            self._receiver.capture(limit=None, timeout=None)

    def types_of(self, task_id: str) -> list[str]:
        return [e["type"] for e in self.seen if e.get("uuid") == task_id]

    def event(self, task_id: str, kind: str) -> dict[str, Any]:
        (one,) = [e for e in self.seen if e.get("uuid") == task_id and e["type"] == kind]
        return one

    def stop(self) -> None:
        self._receiver.should_stop = True
        self.join(10)


@contextmanager
def watching(app: Celery) -> Iterator[Watch]:
    watch = Watch(app)
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()


def test_every_event_of_a_task_is_sent(redis: Redis, shared_server: Any, tmp_path: Path) -> None:
    with surroundings(shared_server.url, tmp_path) as one, watching(one.app) as watch:
        one.worker(more=("-E", "--heartbeat-interval=1"))
        until(lambda: any(e["type"] == "worker-heartbeat" for e in watch.seen), "the receiver listens", 20)
        one.send("note", "fine", task_id="fine")
        one.send("flaky", "again", 1, task_id="again")
        one.send("ends", "error", task_id="bad")
        one.send("ends", "exit", task_id="exit")
        one.send("note", "later", countdown=0.5, task_id="later")
        begin = ["task-received", "task-started"]
        wanted = {
            "fine": [*begin, "task-succeeded"],
            "again": [*begin, "task-retried", *begin, "task-succeeded"],
            "bad": [*begin, "task-failed"],
            "later": [*begin, "task-succeeded"],
        }
        until(lambda: {name: watch.types_of(name) for name in wanted} == wanted, "all events, in order", 20)
        until(lambda: watch.types_of("exit")[-1:] == ["task-failed"], "the crash is told", 20)
        fine, retried = watch.event("fine", "task-succeeded"), watch.event("again", "task-retried")
        assert (fine["hostname"], fine["result"]) == ("w0@test", "None") and fine["runtime"] >= 0
        assert "not yet" in retried["exception"]
        assert "for good" in watch.event("bad", "task-failed")["exception"]
        assert [e["retries"] for e in watch.seen if e.get("uuid") == "again" and e["type"] == "task-received"] == [0, 1]
        until(lambda: sum(e["type"] == "worker-heartbeat" and e["processed"] >= 5 for e in watch.seen), "heartbeats")
