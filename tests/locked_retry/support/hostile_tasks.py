"""Tasks that end as no task should: exceptions that cannot be shown, pickled or written; hooks that raise."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from celery import Celery, Task


class Mute(Exception):
    """Cannot say anything."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Unpickled(Exception):
    """Cannot be sent to the main process."""

    def __reduce__(self) -> Any:
        raise TypeError("not to be pickled")


class Picky(Exception):
    """Can be sent, but not be made again."""

    def __init__(self, one: str, *, two: str) -> None:
        super().__init__(f"{one} {two}")


class Nothing(BaseException):
    """Is no Exception."""


ENDS: dict[str, Callable[[], BaseException]] = {
    "no UTF-8": lambda: ValueError(os.fsdecode(b"file \xe9")),
    "a surrogate": lambda: KeyError("\ud800"),
    "mute": Mute,
    "unpickled": Unpickled,
    "picky": lambda: Picky("a", two="b"),
    "long": lambda: ValueError("x" * 300_000),
    "bytes": lambda: ValueError(b"\xff\x00"),
    "no text": lambda: ValueError(object()),
    "nested": lambda: ExceptionGroup("several", [Mute(), ValueError("\udce9")]),
    "memory": MemoryError,
    "stop": StopIteration,
    "generator": GeneratorExit,
    "key press": KeyboardInterrupt,
    "exit": lambda: SystemExit(3),
    "nothing": Nothing,
    "recursion": RecursionError,
    "unicode": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"),
    "null": lambda: ValueError("a\x00b\nc"),
}
#: They end the process, or look as if they did: a crash, which is tried again.
PROCESS = ("key press", "exit", "generator", "nothing")


def define(app: Celery, note: Callable[..., None], quick: dict[str, Any]) -> None:
    """The tasks."""
    task = partial(app.task, shared=False)

    @task(name="raises", max_crashes=2)
    def raises(how: str) -> None:
        note("raises", how.replace(" ", "_"))
        raise ENDS[how]()

    @task(bind=True, name="retries_for", max_retries=3, **quick)
    def retries_for(self: Task, how: str) -> str:
        note("retries_for", how.replace(" ", "_"), self.request.retries)
        if self.request.retries < 2:
            raise self.retry(exc=ENDS[how]())
        return how

    @task(name="returns")
    def returns(how: str) -> Any:
        note("returns", how)
        return {"text": "\udce9", "set": {1, 2}, "object": object()}[how]

    @task(name="plain_later", base=Task)
    def plain_later() -> None:
        note("later")

    class Raising(app.Task):  # type: ignore[name-defined,misc]
        abstract = True

        def _raise(self, hook: str) -> None:
            note("hook", hook)
            raise RuntimeError(f"{hook} of the user's")

        def on_retry(self, *_: Any) -> None:
            self._raise("on_retry")

        def on_failure(self, *_: Any) -> None:
            self._raise("on_failure")

        def on_success(self, *_: Any) -> None:
            self._raise("on_success")

        def after_return(self, *_: Any) -> None:
            self._raise("after_return")

    @task(base=Raising, bind=True, name="raising_hooks", max_retries=3, **quick)
    def raising_hooks(self: Task, name: str, failures: int, fatal: bool = False) -> str:
        note("try", name, self.request.retries)
        if fatal:
            raise KeyError(name)
        if self.request.retries < failures:
            raise self.retry(exc=ValueError("not yet"))
        return name

    @task(bind=True, name="grows", max_retries=2)
    def grows(self: Task, size: int) -> None:
        if not self.request.retries:
            raise self.retry(args=("x" * size,), countdown=0.01)

    @task(name="waits")
    def waits(name: str, path: str) -> str:
        """Until the file is there."""
        note("begin", name)
        while not os.path.exists(path):
            time.sleep(0.02)
        note("end", name)
        return name

    @task(bind=True, name="waits_and_retries", max_retries=3, **quick)
    def waits_and_retries(self: Task, name: str, path: str) -> str:
        note("begin", name, self.request.retries)
        while not os.path.exists(path):
            time.sleep(0.02)
        if not self.request.retries:
            raise self.retry(exc=ValueError("not yet"))
        note("end", name)
        return name
