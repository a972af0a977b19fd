"""Jobs that a pool process was given, but has not yet said that it began: Celery 5.7 forgets them when its worker ends.

`AsynPool.flush` discards every job that is not accepted, since the broker will deliver it again; before Celery 5.6 also
those that run, when the consumer is built again. A job whose payload is already in the process's pipe runs anyway:
its result is not read, it is run a second time, and the process waits 30 seconds for somebody to read it. So what was
given is remembered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def keep_given(sender: Any = None, **_: object) -> None:
    """A receiver of `worker_ready`, whose sender is the consumer."""
    pool: Any = getattr(sender, "pool", None)
    flush, jobs = getattr(pool, "flush", None), getattr(getattr(pool, "_pool", None), "_cache", None)
    if flush is not None and isinstance(jobs, dict):
        pool.flush = keeping(flush, jobs)


def keeping(flush: Callable[[], None], jobs: dict[int, Any]) -> Callable[[], None]:
    """`flush`, after which the jobs that were given to a process, and have not ended meanwhile, are still known."""

    def flush_the_rest() -> None:
        given = {number: job for number, job in jobs.items() if getattr(job, "_write_to", None)}
        try:
            flush()
        finally:
            jobs.update((number, job) for number, job in given.items() if not job.ready())

    return flush_the_rest
