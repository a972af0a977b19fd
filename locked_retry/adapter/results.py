"""Results that outlive an outage of their backend: how a task ended never depends on whether that can be stored.

In a task's own process storing is repeated for a while; then the loss of the result is reported, and the task has ended
as it did. The loop of the worker waits for no backend: what it has to store, a thread stores.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from celery import Task, states
from celery.app.task import Context
from celery.exceptions import BackendStoreError, SoftTimeLimitExceeded
from kombu.exceptions import EncodeError

from locked_retry.adapter import releases
from locked_retry.adapter.handover import Handover, Mark, read
from locked_retry.adapter.patience import going_on, make_patient
from locked_retry.broker.connection import refused_for_good
from locked_retry.lease import LeaseLost
from locked_retry.log import Event, say
from locked_retry.options import Options
from locked_retry.text import describe
from locked_retry.worker.metrics import sessions

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
#: Results that wait for the thread; more are lost, and reported.
MOST_WAITING = 10_000
#: How long a worker that ends waits for the results that it still has to store.
LAST_S = 5.0
#: What will be so the next time, too, or says that time is up. A database's own errors are not known here, and pass.
PERMANENT = (TypeError, ValueError, LookupError, AttributeError, BackendStoreError, SoftTimeLimitExceeded, LeaseLost)

_in_worker = False
_writer: Writer | None = None
_making = threading.Lock()
_app: Any = None
_handover: Handover | None = None


class BodyClaimed(Exception):
    """Somebody has claimed to send the body of a chord. If that execution has ended, its claim ends by itself."""

    def __init__(self, group: str, left_s: float) -> None:
        super().__init__(group)
        self.left_s = left_s


def begin(sender: Any = None, **_: object) -> None:
    """A receiver of `worker_init`, whose sender is the worker: tasks have their results stored by what is here."""
    global _in_worker, _app, _handover
    _in_worker, _app, _handover = True, sender.app, Handover()


def begin_in_pool(**_: object) -> None:
    """A receiver of `worker_process_init`: the main process has the threads, one of which may have held the lock."""
    global _writer, _making
    _writer, _making = None, threading.Lock()


def end(**_: object) -> None:
    """A receiver of `worker_shutdown`: what waits is stored, or reported."""
    global _writer
    receive()
    if _writer is not None:
        _writer.close()
        _writer = None


def passes(error: Exception) -> bool:
    """Whether storing may work later."""
    return not isinstance(error, PERMANENT) and not refused_for_good(error)


class _MayEnd:
    """Entered where LeaseLost may be raised, told more than once: not while its first time is dealt with.

    Who enters it has to expect LeaseLost around it: one that comes when it is left belongs to what was done in it.
    """

    def __init__(self) -> None:
        self.now = False

    def __enter__(self) -> None:
        self.now = True

    def __exit__(self, *_: object) -> None:
        self.now = False


#: Of the process of a task, which runs one at a time.
MAY_END = _MayEnd()


def keep_trying(
    store: Callable[[], Any],
    wait_s: float,
    about: str,
    over: Callable[[], bool] = lambda: False,
    leave: Callable[[], bool] = lambda: False,
    quiet: bool = False,
) -> Any:
    """What `store` returns, tried for so long; None when it was given up, which is reported.

    quiet: at the level DEBUG. leave: asked when the lease of the task ends: whether somebody else has taken it over.
    A claim is waited for, however long it stands. Raises EncodeError, which is about the value and not its backend.
    """
    end_s, pause_s = time.monotonic() + wait_s, 0.0

    def going() -> bool:
        return time.monotonic() < end_s and not over()

    while True:
        try:
            with MAY_END:
                if pause_s:
                    time.sleep(pause_s)  # in here, because a time limit of the task may be over meanwhile
                return _patiently(store, going)
        except (EncodeError, MemoryError):
            raise
        except Exception as error:
            if isinstance(error, LeaseLost) and leave():
                return None
            if isinstance(error, BodyClaimed):
                end_s = max(end_s, time.monotonic() + error.left_s + LONGEST_PAUSE_S)
            if not passes(error) or not going():
                say(Event.RESULT_LOST, quiet=quiet, result=about, error=error)
                return None
        pause_s = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, 2 * pause_s))


def _patiently(store: Callable[[], Any], going: Callable[[], bool]) -> Any:
    """What `store` returns. going: whether what it sends to Redis is sent again there."""
    token = going_on.set(going)
    try:
        return store()
    finally:
        going_on.reset(token)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """What is to be stored, tried for so long since then."""

    store: Callable[[], Any]
    wait_s: float
    about: str
    then: Callable[[], None]
    since_s: float = field(default_factory=time.monotonic)


class Writer:
    """Stores what the loop of a worker must not wait for, in the order in which it came."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue(MOST_WAITING)
        self._over = threading.Event()
        self._now: _Waiting | None = None
        self._thread = threading.Thread(target=self._run, name="locked_retry-results", daemon=True)
        self._thread.start()

    def put(self, store: Callable[[], Any], wait_s: float, about: str, then: Callable[[], None] = lambda: None) -> None:
        """Have it stored, tried until so long from now, at least once. then: called afterwards, however that ended."""
        try:
            self._waiting.put_nowait(_Waiting(store, wait_s, about, then))
        except queue.Full:
            say(Event.RESULT_LOST, result=about, error=f"{MOST_WAITING} results wait for their backend already")
            then()

    def _run(self) -> None:
        while (one := self._waiting.get()) is not None:
            self._now = one
            left_s = one.since_s + one.wait_s - time.monotonic()
            try:
                keep_trying(one.store, left_s, one.about, self._over.is_set, quiet=not one.wait_s)
            except BaseException as error:  # a thread that ended would store and settle nothing any more
                say(Event.RESULT_LOST, result=one.about, error=error)
            self._now = None
            one.then()

    def close(self) -> None:
        """Wait a little for what is left; what then is not stored is tried once more, and reported."""
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=LAST_S)
        self._thread.join(LAST_S)
        self._over.set()
        self._thread.join(LAST_S)
        left = [self._now]
        while not self._waiting.empty():
            left.append(self._waiting.get_nowait())
        for one in left:
            if one is not None:
                say(Event.RESULT_LOST, quiet=not one.wait_s, result=one.about, error="its worker has ended")


def later(store: Callable[[], Any], app: Any, about: str) -> None:
    """Have something stored beside the loop, tried for as long as the application wishes."""
    _writing().put(store, _wait_s(app), about)


def _wait_s(app: Any) -> float:
    return Options.read(app.conf.broker_transport_options or {}).result_wait_s


def _leave(task: Any, method: str, *args: Any, **more: Any) -> bool:
    """In a pool process: whether the main process stores it."""
    fence = task.request.get("lr_fence")
    if _handover is None or fence is None:
        return False
    try:
        _handover.give(fence, Mark(task.name, method, args, more))
    except Exception as error:  # what pickle raises is anything
        say(Event.RESULT_LOST, result=f"{method} {args[0]}", error=error)
    return True


def receive() -> None:
    """Have stored what pool processes have left, and their deliveries settled after that. Any thread; never waits."""
    for fence, about, data in _handover.take() if _handover is not None else ():
        session = next((one for one in list(sessions) if fence in one.held), None)
        if session is not None:
            session.await_result(fence)
        say(Event.RESULT_LEFT, result=about, fence=fence)
        settle = partial(session.result_stored, fence) if session is not None else lambda: None
        _writing().put(_storing(data), _wait_s(_app), about, settle)


def _storing(data: bytes) -> Callable[[], Any]:
    """What stores it. The writer's thread reads it: what the user's types do when they are made stops nobody else."""
    store: Callable[[], Any] | None = None

    def read_and_store() -> Any:
        nonlocal store
        if store is None:
            try:
                mark = read(data)
            except BaseException as error:
                raise ValueError(f"it cannot be read: {describe(error)}") from error
            store = marking(partial(backend_of, _app.tasks[mark.task]), mark.method, *mark.args, **mark.more)
        return store()

    return read_and_store


def _writing() -> Writer:
    global _writer
    with _making:
        if _writer is None:
            _writer = Writer()
        return _writer


#: The marks that tell a chord of its member, and what they tell.
_TOLD = {"mark_as_done": states.SUCCESS, "mark_as_failure": states.FAILURE, "mark_as_revoked": states.REVOKED}


def marking(find: Callable[[], Any], method: str, task_id: str, *args: Any, **more: Any) -> Callable[[], Any]:
    """What marks the end of a task when it is called, by the backend that is found then; again after an error.

    A chord is told of its member until the body is sent, or nobody claims to send it: whoever claimed that may have
    been killed, or never read that its claim was granted.
    """
    request = next((one for one in (*args, *more.values()) if isinstance(one, Context)), None)
    member = request if request is not None and request.chord and request.group and method in _TOLD else None
    marked = False

    def store() -> Any:
        nonlocal marked
        backend = find()
        if member is not None:
            make_patient(getattr(backend, "client", None))
            releases.bound_claim(backend)
        if marked:  # callbacks are not called twice
            backend.on_chord_part_return(member, _TOLD[method], args[0] if args else None)
            stored = None
        else:
            stored = getattr(backend, method)(task_id, *args, **more)
            marked = member is not None
        if member is not None and (left_s := releases.body_claim_s(backend, member)) is not None:
            raise BodyClaimed(member.group, left_s)
        return stored

    return store


class Results:
    """A result backend whose outage is not the task's. Everything but the marks of a task's end is the backend's own.

    find: the backend of the thread that asks. running: whether the caller is the execution of a task, and may wait.
    leave: called with a method and its arguments when the lease ends: whether somebody else calls it then.
    """

    __slots__ = ("_find", "_leave", "_running", "_wait_s")

    def __init__(
        self,
        find: Callable[[], Any],
        running: Callable[[], bool],
        wait_s: float,
        leave: Callable[..., bool] = lambda *_, **__: False,
    ) -> None:
        self._find, self._running, self._wait_s, self._leave = find, running, wait_s, leave

    def __getattr__(self, name: str) -> Any:
        return getattr(self._find(), name)

    def _mark(self, name: str, task_id: str, *args: Any, wait_s: float, **more: Any) -> Any:
        store = marking(self._find, name, task_id, *args, **more)
        about = f"{name} {task_id}"
        if self._running():
            leave = partial(self._leave, name, task_id, *args, **more)
            return keep_trying(store, wait_s, about, leave=leave if wait_s else lambda: False, quiet=not wait_s)
        return _writing().put(store, wait_s, about)

    def mark_as_done(self, task_id: str, *args: Any, **more: Any) -> Any:
        """The backend's."""
        return self._mark("mark_as_done", task_id, *args, wait_s=self._wait_s, **more)

    def mark_as_failure(self, task_id: str, exc: Any, *args: Any, **more: Any) -> Any:
        """The backend's. A lease that ended after the task's body is no failure: nothing has become of it."""
        if isinstance(exc, LeaseLost):
            return None
        return self._mark("mark_as_failure", task_id, exc, *args, wait_s=self._wait_s, **more)

    def mark_as_revoked(self, task_id: str, *args: Any, **more: Any) -> Any:
        """The backend's."""
        return self._mark("mark_as_revoked", task_id, *args, wait_s=self._wait_s, **more)

    def mark_as_retry(self, task_id: str, *args: Any, **more: Any) -> Any:
        """The backend's, tried once: the next attempt says more."""
        return self._mark("mark_as_retry", task_id, *args, wait_s=0.0, **more)

    def store_result(self, task_id: str, result: Any, state: str, *args: Any, **more: Any) -> Any:
        """The backend's; that a task has started is tried once."""
        if state != states.STARTED:
            return self._find().store_result(task_id, result, state, *args, **more)
        return self._mark("store_result", task_id, result, state, *args, wait_s=0.0, **more)


#: The attribute of a task that holds its Results.
_KEPT = "_locked_retry_results"


def backend_of(task: Any) -> Any:
    """The result backend itself."""
    return Task.backend.fget(task)


def results_of(task: Any) -> Any:
    """The result backend of a task; in a worker, one that survives outages."""
    if not _in_worker:
        return backend_of(task)
    kept = vars(task).get(_KEPT)
    if kept is None:
        running = lambda: task.request_stack.top is not None  # noqa: E731
        kept = Results(partial(backend_of, task), running, _wait_s(task.app), partial(_leave, task))
        vars(task)[_KEPT] = kept
    return kept
