"""What differs between the releases of Celery, kombu and redis-py that are supported: here, and nowhere else.

Each of these says since which release it is not needed any more. docs/reference/versions.md has the table.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from enum import Enum, auto
from inspect import unwrap
from types import CodeType, FrameType
from typing import Any

import celery.canvas
import kombu
import redis
from celery.exceptions import WorkerLostError

from locked_retry.adapter.callbacks import info_of

Release = tuple[int, int]

#: Set to anything, an unknown release is taken anyway.
ANYWAY = "LOCKED_RETRY_ANY_RELEASE"
OLDEST: Release = (5, 5)
NEWEST: Release = (5, 7)


class UnknownRelease(RuntimeError):
    """This release of Celery or kombu was never tested: names that are private to it may be others."""


def release_of(version: str) -> Release:
    """`(5, 7)` of "5.7.0rc1"."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


CELERY, KOMBU, REDIS = (release_of(module.__version__) for module in (celery, kombu, redis))


def check(versions: Mapping[str, str] | None = None) -> str:
    """What speaks against these versions; "" for nothing. Raises UnknownRelease, unless ANYWAY is set."""
    for name, version in (versions or {"Celery": celery.__version__, "kombu": kombu.__version__}).items():
        if not OLDEST <= release_of(version) <= NEWEST:
            known = f"{name} {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
            doubt = f"locked_retry works with {known}, and this is {name} {version}"
            if not os.environ.get(ANYWAY):
                raise UnknownRelease(f"{doubt}: install one of these, or set {ANYWAY}=1 to try it anyway")
            return doubt
    return ""


# --- kombu and redis-py


def connection_from(pool: Any) -> Any:
    """A connection of a redis-py pool. Before redis-py 5.3 one had to say what for."""
    return pool.get_connection() if REDIS >= (5, 3) else pool.get_connection("_")


def expiries_ms(channel: Any) -> Mapping[str, int]:
    """The x-expires of the queues that a channel knows. kombu heeds them since 5.7."""
    return channel._expires if KOMBU >= (5, 7) else {}


def keep_polling(cycle: Any, loop: Any) -> None:
    """Have the loop forget a connection that ended, and go on. It stopped polling at all before kombu 5.7.

    kombu counted on Celery to build its consumer again then, which it does not for a connection of ours.
    """
    if KOMBU >= (5, 7):
        return

    def forget(connection: Any) -> None:
        ended = {key for key in cycle._chan_to_sock if key[1].connection is connection}
        for key in ended:
            del cycle._chan_to_sock[key]
        places = {(channel, kind) for channel, _, kind in ended}
        for fileno in [number for number, place in cycle._fd_to_chan.items() if place in places]:
            loop.remove(fileno)
            del cycle._fd_to_chan[fileno]

    cycle._on_connection_disconnect = forget


#: Whether what a thread gives to the loop, such as an acknowledgement, is seen at once. Since kombu 5.7.
CALL_SOON_WAKES = KOMBU >= (5, 7)


# --- publishing


#: The header `ignore_result` of a task that is sent by its name and says nothing about it.
IGNORE_RESULT: bool | None = None if CELERY >= (5, 7) else False


def repr_levels(conf: Any) -> int:
    """How deep the repr of arguments goes. A setting since Celery 5.7."""
    return int(conf.task_repr_maxlevels) if CELERY >= (5, 7) else 3


def pool_wait_s(conf: Any) -> float | None:
    """How long to wait for a connection of the application's pool. A setting since Celery 5.7."""
    return conf.broker_pool_acquire_timeout if CELERY >= (5, 7) else None


# --- ends of tasks


def acks_on_timeout(task: Any) -> bool:
    """Whether a hard time limit is final. An option of its own since Celery 5.7."""
    return bool(task.acks_on_timeout if CELERY >= (5, 7) else task.acks_on_failure_or_timeout)


def as_lost(exc_info: Any, error: BaseException) -> Any:
    """What a process says that exits by its task's SystemExit, as Celery takes it: its process is lost.

    billiard tells of it since 4.3, and Celery understands that since 5.7; before it is a failure like any other.
    """
    if CELERY >= (5, 7) or isinstance(error, WorkerLostError):
        return exc_info
    return info_of(WorkerLostError(f"Worker exited prematurely: {error!r}"))


def acknowledge_at_once(consumer: Any) -> None:
    """Without a loop (gevent) what is acknowledged waited for up to two seconds; Celery does it at once since 5.7."""
    if CELERY >= (5, 7) or consumer.hub is not None or "call_soon" in vars(consumer):
        return
    call_soon = consumer.call_soon

    def call(what: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if getattr(what, "__name__", "") in ("ack_log_error", "reject_log_error"):
            return what(*args, **kwargs)
        return call_soon(what, *args, **kwargs)

    consumer.call_soon = call


# --- the end of a worker


#: Whether prefork runs the loop's timers and calls while it waits for its tasks. 5.6 runs the timers only.
PREFORK_TURNS = CELERY >= (5, 7)


def keep_timers(timer: Any, ending: Callable[[], bool]) -> None:
    """Leave the loop its timers when the worker ends. Celery clears them then, not since 5.6."""
    if CELERY >= (5, 6):
        return
    clear = timer.clear

    def clear_unless_ending() -> None:
        if not ending():
            clear()

    timer.clear = clear_unless_ending


# --- where an execution is


class Stage(Enum):
    """Of the process of a task that is run."""

    BODY = auto()
    WAITS = auto()  # for Redis, to send what comes next or to store how it ended
    CELERY = auto()  # anywhere else


def stage_of(frame: FrameType | None, task: Any, storing: CodeType, *, waits: bool) -> Stage:
    """Where this frame of a running task is. storing: what stores how it ended; waits: whether it waits in there.

    A body that no frame names (a function of another language) counts as Celery's.
    """
    trace = getattr(task.__trace__, "__code__", None)
    passed: list[CodeType] = []
    while frame is not None and frame.f_code is not trace:
        passed.append(frame.f_code)
        frame = frame.f_back
    if frame is None or not passed:
        return Stage.CELERY
    # Who traces and reports wraps `run`, and may hide the code of the wrapper.
    if any(getattr(each, "__code__", None) in passed for each in (type(task).__call__, task.run, unwrap(task.run))):
        return Stage.BODY
    if storing not in passed:
        waits = any(code.co_filename == celery.canvas.__file__ for code in passed)  # to send what comes next
    return Stage.WAITS if waits else Stage.CELERY


# --- chords


def body_claim_s(backend: Any, request: Any) -> float | None:
    """For how long the claim of an execution stands to send the body of this task's chord; None if there is none.

    Since Celery 5.7, on Redis. If it ended before it sent the body, its claim stands for seconds more, and whoever
    tells of the last member meanwhile sends nothing. Of a chord that has failed the claim is left, and its size is not.
    """
    if not hasattr(backend, "_chord_claim_extend_script"):
        return None
    client, claim, size = backend.client, *(backend.get_key_for_group(request.group, part) for part in (".c", ".s"))
    if client.get(claim) in (None, b"done", "done") or not client.exists(size):
        return None
    return max(0.0, float(client.pttl(claim)) / 1000)


def bound_claim(backend: Any) -> None:
    """Have the claim to send a body stand as long while it is sent as while the results are joined: some seconds.

    Since Celery 5.7 it stands for as long as all tries to publish may take, three minutes with those of publishing.py:
    who is killed meanwhile has the chord wait, and whoever runs the member again. If it is outlived, the body is sent
    twice, under its one id, and the second is dropped.
    """
    if hasattr(backend, "_chord_publish_claim_expires"):
        backend._chord_publish_claim_expires = _as_while_joining


def _as_while_joining(initial_expires: int, callback: Any) -> int:
    return initial_expires
