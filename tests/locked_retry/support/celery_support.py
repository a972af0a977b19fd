"""A producer and workers with the tasks of celery_app.py, shared by the tests of one module."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import celery_app
from celery.canvas import Signature
from waiting import until
from worker_support import Tested, at_rest, forget_results


class Fleet(Tested):
    """`Tested` with a producer that has the tasks themselves, and results."""

    __test__ = False

    def __init__(self, server: Any, folder: Path, **conf: Any) -> None:
        url: str = server.url
        super().__init__(url, folder)
        self.redis = server.client
        self.app.close()
        here = str(Path(__file__).parent)
        (folder / "tested_app.py").write_text(f"import sys\nsys.path.append({here!r})\nfrom celery_app import app\n")
        self.app = celery_app.build(url, str(self.journal), {}, **conf)

    def task(self, name: str) -> Any:
        """The producer's task of this name."""
        return self.app.tasks[name]

    def s(self, task: str, *args: Any, **kwargs: Any) -> Signature:
        """A signature."""
        return self.app.signature(task, args=args, kwargs=kwargs)

    def si(self, task: str, *args: Any, **kwargs: Any) -> Signature:
        """An immutable signature."""
        return self.app.signature(task, args=args, kwargs=kwargs, immutable=True)

    def signals(self, task_id: str) -> list[str]:
        """The signals of a task, in the order in which they were noted."""
        return [line[1] for line in self.notes("signal") if line[2] == task_id]

    def settle(self) -> None:
        """Wait until nothing is queued, held or delayed: what would run a second time has done so."""
        until(lambda: at_rest(self.redis), "settled", 20)

    def stop(self) -> None:
        """Kill what was started here, and forget results while their server still answers."""
        forget_results(self.app)
        super().stop()

    def _alive(self) -> list[Any]:
        return [worker for worker in self.workers if worker.poll() is None]

    def held(self) -> int:
        """How many deliveries the workers hold, by their own word."""
        replies = self.app.control.inspect(timeout=20.0, limit=len(self._alive()))._request("held") or {}
        return sum(replies.values())


@contextlib.contextmanager
def fleet_on(server: Any, folder: Path, **conf: Any) -> Iterator[Fleet]:
    """A fleet without workers on an emptied server."""
    server.client.flushall()
    fleet = Fleet(server, folder, **conf)
    try:
        yield fleet
    finally:
        fleet.stop()


def got(result: Any) -> Any:
    """The result of a task, waited for."""
    return result.get(timeout=20)


def ready(result: Any, what: str = "result") -> Any:
    """The same result, once it is there. Asked for: after an outage `get` may wait in vain (stock-celery.md)."""
    until(result.ready, what, 20)
    return result
