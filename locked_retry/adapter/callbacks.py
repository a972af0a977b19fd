"""What Celery's pools call when an execution ends, made safe: whatever is raised there, the delivery is settled.

Each function here wraps a method of LockedRequest, which has `settle_anyway`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from billiard.einfo import ExceptionInfo
from celery.exceptions import TaskRevokedError

from locked_retry.lease import LeaseLost


def info_of(error: BaseException) -> ExceptionInfo:
    """The error as a pool tells Celery of it."""
    try:
        raise error
    except BaseException:
        return ExceptionInfo()


def settling(callback: Callable[..., Any]) -> Callable[..., Any]:
    """What the pool calls when an execution ends. billiard prints what it raises and goes on: nobody would settle."""

    @functools.wraps(callback)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return callback(self, *args, **kwargs)
        except BaseException as error:
            self.settle_anyway(callback.__name__, error)
            if not isinstance(error, Exception):
                raise
        return None

    return call


def telling(on_success: Callable[..., Any]) -> Callable[..., Any]:
    """`on_success`, which is also called with what a thread's task raised if that was no Exception, and with nothing.

    The latter after an error on the way from the task's end to that of its result, which counts as a success in Celery.
    """

    @functools.wraps(on_success)
    def on_end(self: Any, outcome: Any, **kwargs: Any) -> Any:
        if isinstance(outcome, ExceptionInfo):
            return self.on_failure(outcome)
        if self.cut_short(outcome):
            return self.on_failure(info_of(LeaseLost("its lease ended")))
        self.check_sent(outcome)
        return on_success(self, outcome, **kwargs)

    return settling(on_end)


def giving_back(execute: Callable[..., Any]) -> Callable[..., Any]:
    """`execute_using_pool`, where a pool that cannot take the task leaves it to others. Its caller frees the slot."""

    @functools.wraps(execute)
    def call(self: Any, pool: Any, **kwargs: Any) -> Any:
        try:
            result = execute(self, pool, **kwargs)
        except TaskRevokedError:
            raise
        except Exception as error:
            self.settle_anyway(execute.__name__, error)
            raise TaskRevokedError(self.id) from error
        future = getattr(result, "f", None)
        if future is not None:  # of a thread, whose pool keeps to itself what Celery's tracing raises
            future.add_done_callback(functools.partial(_tell_failure, self))
        return result

    return call


def _tell_failure(request: Any, future: Any) -> None:
    error = None if future.cancelled() else future.exception()
    if isinstance(error, Exception):
        request.on_failure(info_of(error))
