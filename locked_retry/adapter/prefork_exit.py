"""A pool process whose end was announced too early: Celery 5.7 may see it up to 5 seconds late.

`AsynPool` hears of an end when the process's side of a pipe closes, and asks for its exit code once. Linux closes files
some time before it can be waited for, on a busy machine long enough for the answer to be "still running". Then nobody
asks again until another process ends or the pool's timer comes. (docs/reproductions/exit_unseen.py)
"""

from __future__ import annotations

from typing import Any

AGAIN_S = 0.02


def see_exits(sender: Any = None, **_: object) -> None:
    """A receiver of `worker_ready`, whose sender is the consumer: look again until who closed its pipe has ended."""
    pool: Any = getattr(getattr(sender, "pool", None), "_pool", None)
    if hasattr(pool, "_event_process_exit"):
        watch_exits(pool, sender.hub)


def watch_exits(pool: Any, hub: Any) -> None:
    """`maintain_pool` of this pool comes again after AGAIN_S for as long as it has such a process."""
    maintain = pool.maintain_pool

    def maintain_again() -> None:
        maintain()
        if any(getattr(process, "_sentinel_poll", 0) is None for process in pool._pool):
            hub.call_later(AGAIN_S, maintain_again)

    pool.maintain_pool = maintain_again
