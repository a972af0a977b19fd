"""A connection of an engine: made when it is needed, dropped when it fails, and then left alone for a while."""

from __future__ import annotations

import contextlib
import random
import re
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, RedisError, ResponseError

from locked_retry import clock

FIRST_PAUSE_S = 0.05
#: Connections fail with these; anything else is a bug and is raised.
FAILURES = (RedisError, OSError)
#: A reason is reported when it is new, and when it has lasted for this many failures.
REPORTED_AT = (10, 100, 1000)
MOST_REASONS = 10


#: What a server says that is going to take the command later, also from within a script.
_PASSING = re.compile(r"\b(BUSY|LOADING|READONLY|MISCONF|OOM|TRYAGAIN|CLUSTERDOWN|MASTERDOWN|NOREPLICAS)\b")


def refused_for_good(error: BaseException) -> bool:
    """Whether Redis has answered that it will not do this, now or later."""
    passing = isinstance(error, ReadOnlyError | OutOfMemoryError | NoScriptError)
    return isinstance(error, ResponseError) and not passing and not _PASSING.search(str(error))


def reply_from(connection: Any, **how: bool) -> Any:
    """The next reply; what is an error is raised.

    Up to redis-py 6 one that says that the connection is of no use (LOADING) is returned, once `can_read` has read it.
    """
    reply = connection.read_response(**how)
    if isinstance(reply, RedisError):
        raise reply
    return reply


def readable(connection: Any) -> bool:
    """Whether something is there to be read, which a poller's word does not prove. Raises when it has ended.

    A process that was forked since has a copy of each socket, and for as long as one is open, epoll reports what
    happens to the connection: under a number that may have become another's.
    """
    return connection is not None and bool(connection.can_read(timeout=0))


@dataclass(eq=False, slots=True)
class Connection:
    """A connection as kombu's poller knows it (`client.connection`), and its failures since it last answered."""

    longest_pause_s: float
    connection: Any = None
    failures: int = 0
    down_until_s: float = 0.0
    _failing_since_s: float = 0.0
    _reasons: set[str] = field(default_factory=set)

    @property
    def open(self) -> bool:
        """Whether it is connected, as far as is known."""
        return self.connection is not None and self.connection.open

    def check_answer(self, asked_at_s: float, now_s: float, limit_s: float) -> None:
        """Raises TimeoutError when an answer is late and not there to be read: else the loop is late, not Redis."""
        if now_s - asked_at_s > limit_s and not self.readable():
            raise TimeoutError(f"no answer for {limit_s:g} s")

    def readable(self) -> bool:
        """Whether something is there to be read. Raises when the line has ended."""
        return readable(self.connection)

    @property
    def failing_for_s(self) -> float:
        """Since its first failure after the last answer; 0 without one."""
        return clock.now_s() - self._failing_since_s if self.failures else 0.0

    def failed(self, error: BaseException) -> bool:
        """Close it, and pause for longer each time. Whether this is worth a line in the log."""
        if not self.failures:
            self._failing_since_s = clock.now_s()
        self.failures += 1
        pause_s = min(self.longest_pause_s, FIRST_PAUSE_S * 2.0 ** min(self.failures - 1, 20))
        self.down_until_s = clock.now_s() + pause_s * random.uniform(0.5, 1.0)
        self.close()
        reason = f"{type(error).__name__} {error}"
        new = reason not in self._reasons and len(self._reasons) < MOST_REASONS
        self._reasons.add(reason)
        return new or self.failures in REPORTED_AT

    def answered(self) -> bool:
        """It works. Whether it did not before."""
        failed_before, self.failures = self.failures > 0, 0
        self._reasons.clear()
        return failed_before

    def close(self) -> None:
        """Drop the connection."""
        if self.connection is not None:
            with contextlib.suppress(*FAILURES):
                self.connection.disconnect()
