"""celery 5.7, `-P threads`: a SIGQUIT that comes while a task is handed to the pool never ends the worker.

    python docs/reproductions/cold_shutdown_hangs.py

`on_cold_shutdown` runs in the signal handler and stops the pool: `ThreadPoolExecutor.shutdown` takes a lock that
`submit`, in the same thread, holds; it is not reentrant. (Here the signal is raised right in `submit`, so that it
happens on every run; beside two CPU hogs it was one worker in four that got SIGQUIT as its task began.)
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from celery.concurrency.thread import TaskPool

WAIT_S = 5.0


def hang() -> None:
    """What a worker's main thread does."""
    pool = TaskPool(limit=1, app=None)
    pool.start()
    signal.signal(signal.SIGQUIT, lambda *_: pool.stop())
    begin = threading.Thread.start

    def begin_and_quit(thread: threading.Thread) -> None:
        begin(thread)
        signal.raise_signal(signal.SIGQUIT)

    threading.Thread.start = begin_and_quit  # type: ignore[method-assign]
    pool.apply_async(lambda: None, callback=lambda _: None)


if __name__ == "__main__":
    if sys.argv[1:] == ["hang"]:
        hang()
        sys.exit()
    import subprocess

    child = subprocess.Popen([sys.executable, os.path.abspath(__file__), "hang"])
    try:
        sys.stdout.write(f"ended with {child.wait(WAIT_S)}\n")
    except subprocess.TimeoutExpired:
        sys.stdout.write(f"it hangs: after {WAIT_S:g} s pool.stop() has not come back\n")
        child.kill()
        child.wait()
