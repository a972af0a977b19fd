"""A worker that ends: Celery waits for its tasks then, and its loop is over or stands still.

Without what is here leases would lapse although their holders live and run, and what has ended would be settled only
when the last task has. Celery 5.7 fires the loop's timers meanwhile for prefork (its `on_stop`), not for threads, and
not while it sleeps for `worker_soft_shutdown_timeout`; older ones not for prefork either.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from celery.concurrency import prefork, thread
from kombu.asynchronous import get_event_loop, set_event_loop

from locked_retry.adapter import releases
from locked_retry.adapter.transport import stopping
from locked_retry.log import Event, say

#: How long a task that has ended may wait to be settled.
EVERY_S = 0.05


def prepare_end(sender: Any = None, **_: object) -> None:
    """A receiver of `worker_ready`, whose sender is the consumer."""
    pool, hub, worker = (getattr(sender, name, None) for name in ("pool", "hub", "controller"))
    if isinstance(pool, thread.TaskPool):
        _let_signals_stop(pool)
    unattended = thread.TaskPool if releases.PREFORK_TURNS else (thread.TaskPool, prefork.TaskPool)
    if hub is not None and isinstance(pool, unattended):
        pool.on_stop = run_timers_while(pool.on_stop, hub)
        releases.keep_timers(hub.timer, stopping)
    if worker is not None and hasattr(worker, "wait_for_soft_shutdown"):  # Celery 5.5
        worker.wait_for_soft_shutdown = keep_leases_while(worker.wait_for_soft_shutdown, sender)


def _let_signals_stop(pool: Any) -> None:
    """Celery stops the pool in the handler of SIGQUIT, which may have come while a task was just submitted.

    The same thread then asks for a lock that it holds, for ever (docs/reproductions/cold_shutdown_hangs.py).
    """
    if hasattr(pool.executor, "_shutdown_lock"):
        pool.executor._shutdown_lock = threading.RLock()


def keep_leases_while(wait: Callable[[], None], consumer: Any) -> Callable[[], None]:
    """`wait`, which sleeps in a signal handler, with the leases kept by a thread from then on."""

    def wait_and_keep() -> None:
        keep = getattr(getattr(consumer.task_consumer, "channel", None), "keep_leases", None)
        if keep is not None:
            keep()
        wait()

    return wait_and_keep


def run_timers_while(on_stop: Callable[[], None], hub: Any) -> Callable[[], None]:
    """`on_stop`, with the hub's timers and calls run by a thread until it is done. The caller's thread only waits."""

    def stop() -> None:
        over = threading.Event()

        def turn() -> None:
            while not over.wait(EVERY_S):
                _run(hub)

        turner = threading.Thread(target=turn, name="locked_retry-ending", daemon=True)
        turner.start()
        of_all = get_event_loop()
        set_event_loop(None)  # Celery 5.6 would fire the timers, too, in a thread of its own
        try:
            on_stop()
        finally:
            set_event_loop(of_all)
            over.set()
            turner.join()
            _run(hub)  # what ended last

    return stop


def _run(hub: Any) -> None:
    for call in (*hub._pop_ready(), hub.fire_timers):
        try:
            call()
        except Exception as error:  # Celery's own, or an event receiver's: the others go on
            say(Event.CLOSE_FAILED, error=error)
