"""A task under a lock of its own id, as people write it by hand: what controls of locks break and their twins mend.

The queue below has a visibility timeout and no renewal, like Celery's on Redis: what works for longer is delivered
again while it is at work, and only the lock keeps the copy out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from redis.exceptions import RedisError

from taskchaos.harness.contract import Claim
from taskchaos.harness.subject import TaskBody
from taskchaos.suites.subjects.controls.mini_queue import Busy, Job, MiniQueue

#: Delete, or extend, the lock only where it is ours. KEYS: the lock. ARGV: our token, expiry in ms.
_RELEASE = "-- release\nreturn redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0"
_EXTEND = "-- extend\nreturn redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('PEXPIRE', KEYS[1], ARGV[2]) or 0"
DONE = "mini:done"


class UnderLock(MiniQueue):
    """Locked: later. Done already: nothing. Otherwise work, note that it is done, unlock."""

    contract = MiniQueue.contract.claiming(Claim.EXCLUSIVE)
    kept = (*MiniQueue.kept, DONE)
    renews = False
    expiry_ms = 2000
    #: Whether the lock is extended while the task works.
    extends = True

    def work(self, job: Job, body: TaskBody, payload: Mapping[str, Any]) -> Any:
        """The lock around all of it: whether it is done can change until the lock is ours."""
        locked = self.acquire(job)
        try:
            if not locked:
                return self.taken(job)
            return None if self.redis.sismember(DONE, job.id) else self.do(job, body, payload)
        finally:
            self.release(job)

    def do(self, job: Job, body: TaskBody, payload: Mapping[str, Any]) -> Any:
        """The work, then the note that it is done."""
        with every(self.expiry_ms / 4000, lambda: self.extend(job)) if self.extends else nullcontext():
            result = super().work(job, body, payload)
        self.redis.sadd(DONE, job.id)
        return result

    def acquire(self, job: Job) -> bool:
        """Whether the lock is ours now."""
        return bool(self.redis.set(lock(job), job.token, nx=True, px=self.expiry_ms))

    def taken(self, job: Job) -> Any:
        """Somebody has the lock: come back later, which is nobody's failure."""
        raise Busy

    def extend(self, job: Job) -> None:
        """Some more time."""
        self.redis.eval(_EXTEND, 1, lock(job), job.token, self.expiry_ms)

    def release(self, job: Job) -> bool:
        """Let others have the lock, if it is ours."""
        return bool(self.redis.eval(_RELEASE, 1, lock(job), job.token))


def lock(job: Job) -> str:
    """The lock's key."""
    return f"lock:{job.id}"


@contextmanager
def every(pause_s: float, step: Callable[[], None]) -> Iterator[None]:
    """Do this again and again meanwhile, whatever Redis says to it."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(pause_s):
            try:
                step()
            except RedisError:
                continue

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
