"""A client of Redis that repeats what an outage kept from it, for as long as whoever calls goes on trying.

While Celery joins the results of a chord it takes any error for the chord's failure, and nobody can try again. All else
that goes through the same client is its owner's, and is repeated as they have set it: an INCR that is sent again counts
twice.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from locked_retry.broker.connection import refused_for_good

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 0.5

#: Whether the caller goes on trying. What is not asked for by `keep_trying` is nothing that may be sent again.
going_on: ContextVar[Callable[[], bool]] = ContextVar("locked_retry_going_on", default=lambda: False)


class Patience(Retry):
    """Of a connection: that of its owner, and more while the caller goes on."""

    def __init__(self, owners: Retry) -> None:
        super().__init__(NoBackoff(), 0, ())
        self._owners = owners

    def update_supported_errors(self, specified_errors: Any) -> None:
        """Those that its owner wants to have repeated."""
        self._owners.update_supported_errors(specified_errors)

    def call_with_retry(self, do: Any, fail: Any, *args: Any, **more: Any) -> Any:
        """As redis-py's."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                return self._owners.call_with_retry(do, fail, *args, **more)
            except Exception as error:
                if not _passes(error) or not going_on.get()():
                    raise
            time.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)


def _passes(error: Exception) -> bool:
    if isinstance(error, ResponseError):
        return not refused_for_good(error) and not isinstance(error, NoScriptError)  # that is how scripts are loaded
    return isinstance(error, RedisConnectionError | RedisTimeoutError)


def make_patient(client: Any) -> None:
    """From now on what this client sends is repeated while the caller goes on. Nothing if it is no client of Redis."""
    if not isinstance(client, Redis):
        return
    given = client.connection_pool.connection_kwargs
    if not isinstance(given.get("retry"), Patience):
        client.set_retry(Patience(_owners(given)))


def _owners(given: Mapping[str, Any]) -> Retry:
    """As a connection makes it of what its owner has said."""
    errors = [*(given.get("retry_on_error") or ()), *([RedisTimeoutError] if given.get("retry_on_timeout") else ())]
    retry = copy.deepcopy(given.get("retry")) or Retry(NoBackoff(), 1 if errors else 0)
    retry.update_supported_errors(errors)
    return retry
