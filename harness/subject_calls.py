"""Calls of the subject's own code: what goes wrong is named by function and line, and none may take for ever."""

from __future__ import annotations

import inspect
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

#: How long one call may take, in seconds.
LIMIT_S = 10.0

T = TypeVar("T")


class SubjectFault(Exception):
    """The subject's code failed. The message names its function and line, such as `install() raised ...`."""


_watchers: list[Callable[[str], object]] = []


def watch_calls(told: Callable[[str], object]) -> None:
    """Have somebody told what of a subject is called in this process, and "" when that has returned.

    Who is told survives the process: code that ends it says nothing itself.
    """
    _watchers.append(told)


@contextmanager
def in_hand(what: str) -> Iterator[None]:
    """While this lasts, code of a subject runs: what, in words, such as `subject 'x': expectation()`."""
    for told in _watchers:
        told(what)
    try:
        yield
    finally:
        for told in _watchers:
            told("")


def call(
    subject: Any,
    name: str,
    function: Callable[[], T],
    *,
    expired: Callable[[str], object] | None = None,
    limit_s: float = LIMIT_S,
    passing: tuple[type[BaseException], ...] = (),
) -> T:
    """The result of a function of the subject's, whose name is `name`. Raises SubjectFault for whatever it raises.

    expired: called from another thread, with what to say, when the limit has passed; a function cannot be ended from
    outside, so it is up to that to end the process. passing: exceptions that are not the subject's, and pass as they
    are.
    """
    watch = threading.Timer(limit_s, _expire, (subject, name, limit_s, threading.get_ident(), expired))
    watch.daemon = True
    if expired is not None:
        watch.start()
    try:
        return function()
    except passing:
        raise
    except BaseException as error:
        frames = [(f.filename, f.lineno or 0, f.name) for f in traceback.extract_tb(error.__traceback__)]
        raise SubjectFault(f"{name}() raised {describe(error)}{_place(subject, frames)}") from error
    finally:
        watch.cancel()


def _expire(subject: Any, name: str, limit_s: float, thread: int, expired: Callable[[str], object]) -> None:
    expired(f"{name}() did not return within {limit_s:g} s{where(subject, thread)}")


def where(subject: Any, thread: int) -> str:
    """Where a thread stands in the subject's code, such as ` (my_retry.py:31 in install)`; "" when that is unknown."""
    frames: list[tuple[str, int, str]] = []
    frame: FrameType | None = sys._current_frames().get(thread)
    while frame is not None:
        frames.insert(0, (frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        frame = frame.f_back
    return _place(subject, frames)


def _place(subject: Any, frames: Iterable[tuple[str, int, str]]) -> str:
    """The innermost frame in a file of the subject's class or its bases; where none is, the innermost of all."""
    files = {
        inspect.getfile(kind) for kind in type(subject).__mro__ if kind.__module__ in sys.modules and _has_file(kind)
    }
    every = list(frames)
    own = [frame for frame in every if frame[0] in files] or every
    if not own:
        return ""
    file, line, function = own[-1]
    return f" ({Path(file).name}:{line} in {function})"


def _has_file(kind: type) -> bool:
    try:
        inspect.getfile(kind)
    except (TypeError, OSError):
        return False
    return True


def describe(error: BaseException) -> str:
    """An exception in one short line, also one whose text cannot be made."""
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = "(its text cannot be made)"
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
