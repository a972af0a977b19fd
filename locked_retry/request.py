"""How the end of an execution reaches the script: hooks that Celery calls in the worker's main process.

The pool process never publishes a retry. `LockedTask.retry` raises `PlannedRetry`; Celery carries the exception to the
main process, where `LockedRequest.on_retry` decides how the delivery ends ("retry, with this delay and this message")
and then acknowledges, as Celery always does. The acknowledgement is what sends the decision, with the next turn.
`create_request_cls` replaces `on_success`, so success is what an acknowledgement means when nothing was decided.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from celery.exceptions import Ignore, InvalidTaskError, Reject, Retry, Terminated, TimeLimitExceeded, WorkerLostError
from celery.utils.time import maybe_iso8601, maybe_make_aware
from celery.worker.request import Request
from celery.worker.strategy import default as default_strategy
from kombu import serialization
from kombu.exceptions import ContentDisallowed, DecodeError

from locked_retry.lease import LeaseLost
from locked_retry.session import Held, Session
from locked_retry.store import Kind
from locked_retry.transport import consumers

#: After a crash the next try waits 0.1 s, 0.2 s, 0.4 s, ...: what kills its process must not kill it in a hot loop.
CRASH_PAUSE_MS = 100
#: An ETA nearer than this is left to Celery's own timer.
NEAR_S = 0.05

#: Set while a retry is planned: the signature that Celery makes for it is then one that is never sent.
planning: ContextVar[bool] = ContextVar("locked_retry_planning", default=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a retry changes: the wait, drawn once by the client; body and some headers if arguments were replaced."""

    delay_s: float
    body: str | None = None  # base64
    content_type: str = ""
    content_encoding: str = ""
    headers: Mapping[str, Any] = field(default_factory=dict)


class PlannedRetry(Retry):  # type: ignore[misc]
    """`Retry`, with the plan that the main process settles."""

    def __init__(self, message: Any = None, exc: Any = None, when: Any = None, plan: Plan | None = None) -> None:
        self.plan = plan or Plan(0.0)
        super().__init__(message, exc=exc, when=when)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.exc, self.when, self.plan)


def next_generation(held: Held, plan: Plan) -> str:
    """The message of the next attempt: the stored one, one retry older, under the same row."""
    payload = json.loads(held.claim.raw)
    headers, properties = payload["headers"], payload["properties"]
    retries = int(headers.get("retries") or 0) + 1
    nesting = int(headers.get("replaced_task_nesting") or 0)
    headers.update(retries=retries, eta=None, lr=f"{retries}~{nesting}~{held.claim.row}", lr_previous_s=plan.delay_s)
    if plan.body is not None:
        payload["body"] = plan.body
        payload["content-type"], payload["content-encoding"] = plan.content_type, plan.content_encoding
        properties["body_encoding"] = "base64"
        headers.pop("compression", None)
        headers.update(plan.headers)
    properties.get("delivery_info", {}).pop("redelivered", None)
    return json.dumps(payload)


def redelivered(held: Held) -> str:
    """The message of a delivery that may have had effects, marked as kombu marks what it restores."""
    payload = json.loads(held.claim.raw)
    payload["properties"].setdefault("delivery_info", {})["redelivered"] = True
    return json.dumps(payload)


def _unwrap(exc_info: Any) -> Any:
    exc: Any = exc_info.exception
    return exc.exc if isinstance(exc, ExceptionWithTraceback) else exc


def _lease_lost() -> Any:
    """What Celery is told of a task that was ended with its lease: nothing has become of it."""
    try:
        raise LeaseLost("its lease ended")
    except LeaseLost:
        return ExceptionInfo()


class LockedRequest(Request):  # type: ignore[misc]
    """A request whose end is decided in one place. Everything Celery does at an end, it still does."""

    def _decide(self, kind: Kind, delay_ms: int = 0, reason: str = "", message: str = "") -> None:
        session = self._locked_session
        if session is not None:
            session.decide(self._message.delivery_tag, kind, delay_ms, reason, message)

    @property
    def _locked_session(self) -> Session | None:
        return getattr(self._message.channel, "turn_session", None)

    @property
    def _held(self) -> Held | None:
        session = self._locked_session
        return session.held.get(self._message.delivery_tag) if session is not None else None

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """A pool process took it: from now on its worker's death is a crash."""
        session = self._locked_session
        if session is not None:
            session.started(self._message.delivery_tag, pid)
        super().on_accepted(pid, time_accepted)

    def on_retry(self, exc_info: Any) -> None:
        exc, held = _unwrap(exc_info), self._held
        if held is not None and held.told:  # the retry is what became of LeaseLost
            self._requeue("its lease ended")
        if isinstance(exc, PlannedRetry) and held is not None:
            message = next_generation(held, exc.plan)
            if exc.plan.body is not None:
                held.budget = ""  # to hold it back would be to run the old arguments again
            self._decide(Kind.RETRY, round(exc.plan.delay_s * 1000), str(exc.excs or exc), message)
        super().on_retry(exc_info)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        exc, held = _unwrap(exc_info), self._held
        if held is not None and held.told:  # by LeaseLost, what the task made of it, or SIGKILL
            self._requeue("its lease ended")
            exc_info = _lease_lost()
        elif isinstance(exc, LeaseLost):
            self._decide(Kind.REQUEUE, reason="its lease ended before it began")
        elif isinstance(exc, Reject) and exc.requeue:
            self._requeue(f"rejected: {exc.reason}")
        elif isinstance(exc, Reject):
            self._decide(Kind.DEAD, reason=f"rejected: {exc.reason}")
        elif isinstance(exc, WorkerLostError | SystemExit | KeyboardInterrupt):
            self._lost = f"{type(exc).__name__}: {exc}"
        elif isinstance(exc, TimeLimitExceeded):
            self._crashed(f"hard time limit of {exc} s", not self.task.acks_on_timeout)
        elif not isinstance(exc, Ignore | Retry | Terminated):
            self._decide(Kind.DEAD, reason=f"{type(exc).__name__}: {exc}")
        result = super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)
        if self._already_cancelled and not self.acknowledged:  # Celery killed it and leaves it to be delivered again
            self._requeue("cancelled")
            self.reject(requeue=True)
        return result

    # A lost process may be a crash, a retry, a success or a failure: Celery's next call says which.

    _lost = ""

    def acknowledge(self) -> None:
        if self._lost:
            self._crashed(self._lost, again=False)
        super().acknowledge()

    def reject(self, requeue: bool = False) -> None:
        if self._lost:
            self._crashed(self._lost, again=requeue)
        super().reject(requeue)

    def _success_was_stored(self) -> Any:
        stored = super()._success_was_stored()
        if stored:
            self._decide(Kind.OK)
        return stored

    def _retry_worker_lost(self, exc: Any, exc_info: Any) -> Any:
        held = self._held
        if held is None:
            return super()._retry_worker_lost(exc, exc_info)
        plan = Plan(float(self.task.default_retry_delay or 0))
        self._decide(Kind.RETRY, round(plan.delay_s * 1000), self._lost, next_generation(held, plan))
        token = planning.set(True)
        try:
            return super()._retry_worker_lost(exc, exc_info)
        finally:
            planning.reset(token)

    def _requeue(self, reason: str) -> None:
        held = self._held
        if held is not None:
            self._decide(Kind.REQUEUE, 0, reason, redelivered(held))

    def on_timeout(self, soft: bool, timeout: float) -> None:
        if not soft:
            self._crashed(f"hard time limit of {timeout} s", not self.task.acks_on_timeout)
        super().on_timeout(soft, timeout)

    def _crashed(self, reason: str, again: bool) -> None:
        held = self._held
        if held is None:
            return
        if again:
            pause_ms = CRASH_PAUSE_MS * 2 ** min(held.claim.crashes, 9)
            self._decide(Kind.CRASH, pause_ms, f"{held.max_crashes} {reason}")
        else:
            self._decide(Kind.DEAD, reason=reason)


def strategy(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Celery's own strategy, after what has to be seen to when a message arrives: options, ETA, a missing lock."""
    consumers.add(consumer)
    handle = default_strategy(task, app, consumer, **options)

    def on_message(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **more: Any) -> Any:
        session: Session | None = getattr(message.channel, "turn_session", None)
        held = session.held.get(message.delivery_tag) if session is not None else None
        try:
            _check_body(message, body)
            if session is not None and held is not None and _put_off(task, message, session, held):
                message.ack()
                return None
            return handle(message, body, ack, reject, callbacks, **more)
        except DecodeError as error:  # Celery drops it; here it is kept
            if session is not None:
                session.decide(message.delivery_tag, Kind.DEAD, reason=f"cannot be decoded: {error}")
            raise

    return on_message


def _put_off(task: Any, message: Any, session: Session, held: Held) -> bool:
    """Whether the delivery ends here: it is not due yet, or was published without the lock that its task needs.

    Raises InvalidTaskError when its lock has no name for these arguments.
    """
    tag, headers = message.delivery_tag, message.headers
    budget = task.budget.encoded() if task.budget is not None else ""
    lease_s, max_crashes = task.lease_s or session.options.lease_s, task.max_crashes or session.options.max_crashes
    exclusive = session.options.exclusive if task.exclusive is None else task.exclusive
    session.set_task(tag, lease_s, max_crashes, budget, exclusive)
    if exclusive:
        message.channel.guard_tasks()
    left_s = _left_s(headers.get("eta"))
    if left_s > NEAR_S:
        session.decide(tag, Kind.SNOOZE, round(left_s * 1000), "ETA")
        return True
    if task.lock is not None and "lr_lock" not in headers:
        payload = json.loads(held.claim.raw)
        args, kwargs, _ = message.payload
        try:
            payload["headers"]["lr_lock"] = task.lock_name(args, kwargs)
        except Exception as error:
            raise InvalidTaskError(f"its lock has no name for these arguments: {error!r}") from error
        session.decide(tag, Kind.REQUEUE, 0, "published without its lock", json.dumps(payload))
        return True
    return False


def _check_body(message: Any, body: Any) -> None:
    """Decode it here, so that whatever is wrong with it ends the message and not, as in Celery, the worker.

    Raises DecodeError, InvalidTaskError and ContentDisallowed, which Celery's consumer handles.
    """
    try:
        payload = message.payload
    except (DecodeError, ContentDisallowed):
        raise
    except Exception as error:
        raise DecodeError(f"its body cannot be decoded: {error!r}") from error
    if isinstance(payload, dict):
        fits = body is not None or "args" in payload
    else:
        fits = isinstance(payload, list | tuple) and len(payload) == 3 and isinstance(payload[2], dict | None)
    if not fits:
        raise InvalidTaskError("its body is not args, kwargs and options")


def _left_s(eta: Any) -> float:
    """Seconds until then; 0 for none, and for what Celery will refuse."""
    try:
        due = maybe_iso8601(eta)
        return (maybe_make_aware(due) - datetime.now(UTC)).total_seconds() if due else 0.0
    except (AttributeError, TypeError, ValueError):
        return 0.0


def body_of(args: Any, kwargs: Any, embed: Any, serializer: str) -> tuple[str, str, str]:
    """A message body with new arguments: base64, content type, content encoding."""
    content_type, content_encoding, data = serialization.dumps(  # type: ignore[no-untyped-call]
        (args, kwargs, embed), serializer=serializer
    )
    raw = data.encode() if isinstance(data, str) else data
    return base64.b64encode(raw).decode(), content_type, content_encoding
