"""Ends `exclusive` tasks before their leases do: who cannot renew must not be at work when another worker takes over.

Shortly before a lease ends that was not renewed, the task gets a signal and with it `LeaseLost`, in its body or while
something waits for Redis; what runs on has its pool process killed a little later, as at a hard time limit. Either way
the message is given back, at no cost. If only its result is left to be stored, that is done without it (handover.py).
Nothing is raised while Celery finds out how a task ended: it would tell everybody of that as the task's failure. A
thread watches, because the loop may just be waiting for the Redis that does not answer.

Only prefork can do this: a thread or greenlet cannot be ended. And nobody can end what stands still (SIGSTOP, a frozen
machine): when it goes on it is late, and only its fence can be refused.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any

from celery._state import get_current_task

from locked_retry import clock, lease
from locked_retry.adapter import releases, results
from locked_retry.adapter.releases import Stage
from locked_retry.log import Event, say
from locked_retry.worker.session import Held, Session

#: Shares of the lease: how long before its end the task is told, and its process is killed.
TOLD_SHARE = 0.1
KILLED_SHARE = 0.05
#: Named by no other signal handler of Celery's or Python's; None where there are no real-time signals.
SIGNAL: int | None = signal.SIGRTMIN + 7 if hasattr(signal, "SIGRTMIN") else None
#: The longest sleep: a task may begin at any time.
LOOK_S = 0.05


class LeaseGuard(threading.Thread):
    """Watches the exclusive tasks that a session's pool processes run, until `stop`."""

    def __init__(self, session: Session) -> None:
        super().__init__(name="locked_retry-guard", daemon=True)
        self._session = session
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(min(LOOK_S, self._session.shortest_lease_s / 100)):
            try:
                results.receive()
            except Exception as error:  # without this thread nobody ends a task with its lease
                say(Event.RESULT_LOST, result="of tasks whose leases ended", error=error)
            for held in list(self._session.held.values()):
                if held.exclusive and held.pid not in (0, os.getpid()):
                    self._watch(held, self._session.lease_end_s(held) - clock.now_s())

    def _watch(self, held: Held, left_s: float) -> None:
        if held.killed or held.left:
            return
        told, held.told = held.told, left_s < TOLD_SHARE * held.lease_s  # no longer, when it was renewed after all
        if left_s < KILLED_SHARE * held.lease_s:
            held.killed = True
            say(Event.KILLED, row=held.claim.row, pid=held.pid)
            _send(held.pid, signal.SIGKILL)
        elif held.told and SIGNAL is not None:  # again and again, until it is where it may be ended
            if not told:
                held.told_once = True
                say(Event.LEASE_ENDS, row=held.claim.row, pid=held.pid)
            _send(held.pid, SIGNAL)

    def stop(self) -> None:
        """End soon."""
        self._over.set()


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def listen(**_: object) -> None:
    """A receiver of `worker_process_init`: be told."""
    if SIGNAL is not None:
        signal.signal(SIGNAL, _told)


#: The fence of the last delivery whose body was ended. What it does then, to clean up, is not disturbed again.
_ended = 0


def _told(_: int, frame: FrameType | None) -> None:
    """Raises LeaseLost in the task that runs, if it is its lease that ends, where it may be ended."""
    global _ended
    task: Any = get_current_task()
    held: Any = getattr(task, "lease", None)
    if not isinstance(held, lease.Lease) or held.left_s >= TOLD_SHARE * held.lease_s:
        return
    stage = releases.stage_of(frame, task, results.keep_trying.__code__, waits=results.MAY_END.now)
    if stage is Stage.CELERY or (stage is Stage.BODY and held.fence == _ended):
        return
    if stage is Stage.BODY:
        _ended = held.fence
    raise lease.LeaseLost(f"{task.request.id}: the lease ends, and cannot be renewed")
