"""`LockedTask`: a Celery task whose retries, crashes and locks are kept by the worker's turns. Celery's API stays."""

from __future__ import annotations

import functools
import inspect
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from celery import Task
from celery.exceptions import Reject, Retry
from celery.utils.saferepr import saferepr
from celery.utils.time import maybe_make_aware

from locked_retry.adapter.request import Plan, PlannedRetry, body_of, planning
from locked_retry.adapter.results import backend_of, results_of
from locked_retry.backoff import Backoff, Exponential
from locked_retry.budget import Budget
from locked_retry.lease import UNLIMITED, Lease, LeaseLost
from locked_retry.limits import LONGEST_DELAY_S
from locked_retry.log import Event, say
from locked_retry.options import LIMITS
from locked_retry.text import encodable


@dataclass
class _Unsent:
    """Stands for the signature that Celery's `retry` would publish: it only remembers what was asked."""

    args: Any
    kwargs: Any

    def apply_async(self) -> None:
        """Nothing: the main process settles the retry."""


#: What Celery calls when the end of an execution is decided.
HOOKS = ("on_retry", "on_failure", "on_success", "after_return")


def harmless(hook: Callable[..., Any]) -> Callable[..., Any]:
    """The hook; what it raises is logged, as Celery 5.7 does for two of them. Eagerly run it raises, as there."""

    @functools.wraps(hook)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return hook(self, *args, **kwargs)
        except (Reject, MemoryError):
            raise
        except Exception as error:
            if self.request.is_eager:
                raise
            say(Event.HOOK_FAILED, traceback=True, task=self.name, hook=hook.__name__, error=error)
        return None

    call.harmless = True  # type: ignore[attr-defined]
    return call


class LockedTask(Task):  # type: ignore[misc]
    """Options beside Celery's own:

    lock: business key, a template over the arguments ("order:{order_id}") or a function of them. Messages with the
        same key run one at a time; the others wait in Redis and it costs them no retry.
    lease_s: after how long without a sign of life the message is offered again. None: the transport's.
    backoff: the law of waiting when `retry()` is given neither countdown nor eta. A task that sets Celery's
        `default_retry_delay` keeps that. `retry_backoff` of autoretry works as usual.
    budget: how many retries its queue may have. None: any number. Retries with new arguments are not held to it.
    exclusive: whether a running task is ended when its lease cannot be renewed, before another worker may have it
        (prefork only). It meets LeaseLost, which it may clean up after; then SIGKILL. None: the transport's.
    max_crashes: how many executions may kill their process. None: the transport's.

    `acks_late` and `reject_on_worker_lost` are on. A task that sets `acks_late=False` has Celery's at-most-once:
    settled when it begins, its retries published by Celery.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Hooks of the user's may fail: they come after the end was decided, and do not change it.

        Raises ValueError for a lease or a number of crashes that is none.
        """
        super().__init_subclass__(**kwargs)
        for name in ("lease_s", "max_crashes"):
            given = inspect.getattr_static(cls, name)
            if given is not None:
                LIMITS[name].check(f"{name} of {cls.__name__}", given)
        for name in HOOKS:
            hook = inspect.getattr_static(cls, name)
            if inspect.isfunction(hook) and not hasattr(hook, "harmless") and hook is not vars(Task)[name]:
                setattr(cls, name, harmless(hook))

    abstract = True
    acks_late = True
    reject_on_worker_lost = True
    Request = "locked_retry.adapter.request:LockedRequest"
    Strategy = "locked_retry.adapter.request:strategy"

    lock: str | Callable[..., str] | None = None
    lease_s: float | None = None
    backoff: Backoff | None = Exponential()
    budget: Budget | None = None
    exclusive: bool | None = None
    max_crashes: int | None = None
    _rng = random.SystemRandom()

    # --- in the task

    @property
    def lease(self) -> Lease:
        """The lease of the running delivery; `self.lease.valid()` says whether it is certainly still held."""
        request = self.request
        fence = request.get("lr_fence")
        if fence is None:
            return UNLIMITED
        lease_s = self.lease_s or float(request.get("lr_lease_s") or 30.0)
        return Lease(int(fence), float(request.get("lr_claimed_at_s") or 0.0), lease_s)

    @property
    def fence(self) -> int:
        """The fencing token: grows with every claim of anything. 0 when run outside a locked_retry worker."""
        return self.lease.fence

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Not begun when the lease has ended meanwhile. Overriding it? Call super()."""
        if not self.lease.valid():
            raise LeaseLost(f"{task_id}: the lease ended before the task began")

    @property
    def backend(self) -> Any:
        """Celery's; in a worker, what fails to be stored there leaves the task as it ended."""
        return results_of(self)

    @backend.setter
    def backend(self, value: Any) -> None:
        Task.backend.fset(self, value)

    def AsyncResult(self, task_id: str, **kwargs: Any) -> Any:
        """Celery's. Results have the backend itself: the one that they were made with, whoever drops them where."""
        return self.app.AsyncResult(task_id, **{"backend": backend_of(self), "task_name": self.name, **kwargs})

    # --- retry

    def retry(
        self,
        args: Any = None,
        kwargs: Any = None,
        exc: Any = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Any:
        """As Celery's. The retry is settled by the worker, not published: it cannot get lost or doubled.

        With `throw=False` or with options for another publish (queue=..., priority=...), Celery's own retry is used.
        """
        request = self.request
        ours = throw and not options and self.acks_late and request.get("lr_fence") and not request.is_eager
        if countdown is None and eta is None and self._uses_backoff():
            assert self.backoff is not None
            previous_s = float(request.get("lr_previous_s") or 0.0)
            countdown = self.backoff.delay_s(request.retries or 0, previous_s, self._rng)
        settings = dict(exc=exc, throw=throw, eta=eta, countdown=countdown, max_retries=max_retries, **options)
        if not ours:
            return super().retry(args, kwargs, **settings)
        token = planning.set(True)
        try:
            super().retry(args, kwargs, **settings)
        except Retry as planned:
            plan = self._plan(planned, args, kwargs)
            raise PlannedRetry(planned.message, planned.exc or exc, planned.when, plan) from None
        finally:
            planning.reset(token)
        raise AssertionError("Task.retry returned although it was told to raise")

    def _uses_backoff(self) -> bool:
        return self.backoff is not None and self.default_retry_delay == Task.default_retry_delay

    def signature_from_request(self, request: Any = None, args: Any = None, kwargs: Any = None, **more: Any) -> Any:
        """Celery's; while a retry is planned, one that is never sent."""
        if planning.get():
            request = request or self.request
            return _Unsent(request.args if args is None else args, request.kwargs if kwargs is None else kwargs)
        return super().signature_from_request(request, args, kwargs, **more)

    def _plan(self, planned: Retry, args: Any, kwargs: Any) -> Plan:
        when = planned.when
        if isinstance(when, datetime):
            when = (maybe_make_aware(when) - datetime.now(UTC)).total_seconds()
        wait_s = float(when or 0.0)
        if not wait_s <= LONGEST_DELAY_S:  # nor is it, for what is no number
            raise OverflowError(f"a retry cannot wait for {when} s")
        delay_s = max(0.0, wait_s)
        unsent = planned.sig
        if (args is None and kwargs is None) or not isinstance(unsent, _Unsent):
            return Plan(delay_s)
        request = self.request
        embed = {name: request.get(name) for name in ("callbacks", "errbacks", "chain", "chord")}
        serializer = self.serializer or self.app.conf.task_serializer
        return Plan(delay_s, *body_of(unsent.args, unsent.kwargs, embed, serializer), self._headers_of(unsent))

    def _headers_of(self, unsent: _Unsent) -> dict[str, Any]:
        """The headers that depend on the arguments."""
        amqp = self.app.amqp
        headers = {
            "argsrepr": saferepr(unsent.args, amqp.argsrepr_maxsize),
            "kwargsrepr": saferepr(unsent.kwargs, amqp.kwargsrepr_maxsize),
        }
        if self.lock is not None:
            headers["lr_lock"] = encodable(self.lock_name(unsent.args, unsent.kwargs))
        return headers

    # --- lock

    def lock_name(self, args: Any, kwargs: Any) -> str:
        """The business key of these arguments; "" for none. Raises TypeError or KeyError when it does not fit."""
        if self.lock is None:
            return ""
        bound = inspect.signature(self.run).bind(*(args or ()), **(kwargs or {}))
        bound.apply_defaults()
        lock: Any = inspect.getattr_static(self, "lock")  # a function on the class is no method of the task
        return str(lock(**bound.arguments) if callable(lock) else lock.format(**bound.arguments))

    def apply_async(self, args: Any = None, kwargs: Any = None, *more: Any, **options: Any) -> Any:
        """As Celery's. The message says which submission of its task id it is, which tells a task that is run again
        under its id from one that was published twice; and its lock's name (a worker adds it where it is missing).
        """
        given = options.get("headers") or {}
        ours = {} if "lr_job" in given else {"lr_new": uuid.uuid4().hex[:16]}  # a shard is its job's, not a new one
        if self.lock is not None:
            ours["lr_lock"] = encodable(self.lock_name(args, kwargs))
        options["headers"] = {**given, **ours}
        return super().apply_async(args, kwargs, *more, **options)
