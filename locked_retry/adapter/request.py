"""How the end of an execution reaches the script: hooks that Celery calls in the worker's main process.

The pool process never publishes a retry. `LockedTask.retry` raises `PlannedRetry`; Celery carries the exception to the
main process, where `LockedRequest.on_retry` decides how the delivery ends ("retry, with this delay and this message")
and then acknowledges, as Celery always does. The acknowledgement is what sends the decision, with the next turn.
`create_request_cls` replaces `on_success`, so success is what an acknowledgement means when nothing was decided.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from billiard.einfo import ExceptionWithTraceback
from celery.exceptions import (
    Ignore,
    InvalidTaskError,
    Reject,
    Retry,
    Terminated,
    TimeLimitExceeded,
    WorkerLostError,
)
from celery.worker.request import Request
from celery.worker.state import task_ready
from celery.worker.strategy import default as default_strategy
from kombu import serialization
from kombu.exceptions import ContentDisallowed, DecodeError
from kombu.utils import json as kombu_json

from locked_retry.adapter import releases, results
from locked_retry.adapter.callbacks import giving_back, info_of, settling, telling
from locked_retry.adapter.transport import consumers
from locked_retry.adapter.wellformed import fault_in_body
from locked_retry.broker.turns import DeadLettered, SettlementKind
from locked_retry.lease import LeaseLost
from locked_retry.log import Event, say
from locked_retry.text import describe, encodable, message_text, shown, value_of
from locked_retry.worker.session import Held, Session, pause_ms

#: The name of a row begins so when the script could not read its message (turn.lua).
UNREAD = "raw-"

JSON = "application/json"

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
    headers.update(retries=int(headers.get("retries") or 0) + 1, eta=None, lr_previous_s=plan.delay_s)
    headers["lr"] = f"{_generation(headers)}~{held.claim.row}"
    if plan.body is not None:
        payload["body"] = plan.body
        payload["content-type"], payload["content-encoding"] = plan.content_type, plan.content_encoding
        properties["body_encoding"] = "base64"
        headers.pop("compression", None)
        headers.update(plan.headers)
    (properties.get("delivery_info") or {}).pop("redelivered", None)
    return message_text(payload)


def _generation(headers: Mapping[str, Any]) -> str:
    """Which attempt a message is, as the script writes it in front of the row."""
    return f"{int(headers.get('retries') or 0)}~{int(headers.get('replaced_task_nesting') or 0)}"


def redelivered(held: Held) -> str:
    """The message of a delivery that may have had effects, marked as kombu marks what it restores."""
    payload = json.loads(held.claim.raw)
    info = payload["properties"]["delivery_info"] = payload["properties"].get("delivery_info") or {}
    info["redelivered"] = True
    return message_text(payload)


def _unwrap(exc_info: Any) -> Any:
    exc: Any = exc_info.exception
    return exc.exc if isinstance(exc, ExceptionWithTraceback) else exc


class LockedRequest(Request):  # type: ignore[misc]
    """A request whose end is decided in one place. Everything Celery does at an end, it still does."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Celery makes a subclass for each task, which replaces these two."""
        super().__init_subclass__(**kwargs)
        for name, kept in (("on_success", telling), ("execute_using_pool", giving_back)):
            if name in vars(cls):
                setattr(cls, name, kept(vars(cls)[name]))

    def settle_anyway(self, where: str, error: BaseException) -> None:
        """The delivery ends as was decided, though something raised on the way; undecided, it goes back at a cost."""
        say(Event.CALLBACK_FAILED, traceback=True, task_id=self.id, callback=where, error=error)
        session, tag = self._locked_session, self._message.delivery_tag
        if session is None or tag not in session.held:
            return
        if isinstance(error, SystemExit | KeyboardInterrupt):
            self._crashed(describe(error), again=True)
        elif where == "on_success":
            self._decide(SettlementKind.OK)
        elif self._lost:
            self._crashed(self._lost, again=bool(self.task.reject_on_worker_lost))
        session.decide_return(tag, f"{where} raised {describe(error)}")
        task_ready(self)
        self.acknowledge()

    def _decide(self, kind: SettlementKind, delay_ms: int = 0, reason: str = "", message: str = "") -> None:
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

    def cancel(self, pool: Any, *args: Any, **kwargs: Any) -> None:
        """Nobody can end a thread. Celery says so by raising, in a signal handler: that ends the worker, or is lost."""
        with contextlib.suppress(NotImplementedError):
            super().cancel(pool, *args, **kwargs)

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """A pool process took it: from now on its worker's death is a crash."""
        session = self._locked_session
        if session is not None:
            session.started(self._message.delivery_tag, pid)
        super().on_accepted(pid, time_accepted)

    def cut_short(self, outcome: tuple[bool, str | None, float]) -> bool:
        """Whether it was told that its lease ends when its body was done, but its chain or result was still to be sent.

        outcome: failed, the result's text, run time.
        """
        held = self._held
        if held is None or not held.told_once:
            return False
        results.receive()
        return outcome[1] is None and not held.left

    def check_sent(self, outcome: tuple[bool, str | None, float]) -> None:
        """Before 5.7 Celery takes for a success what raised between the end of the body and that of storing its result.

        Its chain may not have been sent: as in 5.7, it has failed.
        """
        failed, text, _ = outcome
        if not failed and text is None and not self.app.conf.worker_deduplicate_successful_tasks:  # has no text either
            self._decide(SettlementKind.DEAD, reason="an error after its body: see the log of its worker")

    @settling
    def on_retry(self, exc_info: Any) -> None:
        exc, held = _unwrap(exc_info), self._held
        if held is not None and held.told:  # the retry is what became of LeaseLost
            self._requeue("its lease ended")
        if isinstance(exc, PlannedRetry) and held is not None:
            message = next_generation(held, exc.plan)
            if exc.plan.body is not None:
                held.budget = ""  # to hold it back would be to run the old arguments again
            self._decide(SettlementKind.RETRY, round(exc.plan.delay_s * 1000), exc.excs or shown(exc), message)
        super().on_retry(exc_info)

    @settling
    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        exc, held = _unwrap(exc_info), self._held
        if held is not None and held.told_once:
            results.receive()
        if held is not None and held.told and (held.killed or not held.left):  # LeaseLost, or what was made of it
            self._requeue("its lease ended")
            exc_info = info_of(LeaseLost("its lease ended"))  # nothing has become of it
        elif isinstance(exc, LeaseLost) and held is not None and held.told_once:  # it was renewed meanwhile
            self._requeue("its lease ended")
        elif isinstance(exc, LeaseLost):
            self._decide(SettlementKind.REQUEUE, reason="its lease ended before it began")
        elif isinstance(exc, Reject) and exc.requeue:
            self._requeue(f"rejected: {shown(exc.reason)}")
        elif isinstance(exc, Reject):
            self._decide(SettlementKind.DEAD, reason=f"rejected: {shown(exc.reason)}")
        elif isinstance(exc, WorkerLostError | SystemExit | KeyboardInterrupt):
            self._lost = describe(exc)
            exc_info = releases.as_lost(exc_info, exc)
        elif not isinstance(exc, Exception):  # its process ends, or should have; Celery would take it for a failure
            self._lost = describe(exc)
            exc_info = info_of(WorkerLostError(self._lost))
        elif isinstance(exc, TimeLimitExceeded):
            self._crashed(f"hard time limit of {exc} s", not releases.acks_on_timeout(self.task))
        elif self.task.throws and isinstance(exc, self.task.throws):
            self._decide(SettlementKind.FINAL, reason=describe(exc))
        elif not isinstance(exc, Ignore | Retry | Terminated):
            self._decide(SettlementKind.DEAD, reason=describe(exc))
        if isinstance(exc, MemoryError):  # which Celery raises again, into the loop
            exc_info = info_of(RuntimeError(describe(exc)))
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
        if not releases.CALL_SOON_WAKES and (session := self._locked_session) is not None:
            session.wake()

    def reject(self, requeue: bool = False) -> None:
        if self._lost:
            self._crashed(self._lost, again=requeue)
        super().reject(requeue)

    def _success_was_stored(self) -> Any:
        if self.chord:  # which may not have heard of it: its body would never run. Told twice, it counts once
            return False
        stored = super()._success_was_stored()
        if stored:
            self._decide(SettlementKind.OK)
        return stored

    def _retry_worker_lost(self, exc: Any, exc_info: Any) -> Any:
        held = self._held
        if held is None:
            return super()._retry_worker_lost(exc, exc_info)
        plan = Plan(float(self.task.default_retry_delay or 0))
        self._decide(SettlementKind.RETRY, round(plan.delay_s * 1000), self._lost, next_generation(held, plan))
        token = planning.set(True)
        try:
            return super()._retry_worker_lost(exc, exc_info)
        finally:
            planning.reset(token)

    def _requeue(self, reason: str) -> None:
        held = self._held
        if held is not None:
            self._decide(SettlementKind.REQUEUE, 0, reason, redelivered(held))

    def on_timeout(self, soft: bool, timeout: float) -> None:
        if soft:
            super().on_timeout(soft, timeout)
        else:
            self._on_hard_timeout(timeout)

    @settling
    def _on_hard_timeout(self, timeout: float) -> None:
        self._crashed(f"hard time limit of {timeout} s", not releases.acks_on_timeout(self.task))
        super().on_timeout(False, timeout)

    def _crashed(self, reason: str, again: bool) -> None:
        held = self._held
        if held is None:
            return
        if again:
            self._decide(SettlementKind.CRASH, pause_ms(held.claim.crashes), f"{held.max_crashes} {reason}")
        else:
            self._decide(SettlementKind.DEAD, reason=reason)


def strategy(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Celery's own strategy, after what has to be seen to when a message arrives: options, ETA, a missing lock."""
    consumers.add(consumer)
    releases.acknowledge_at_once(consumer)
    handle = default_strategy(task, app, consumer, **options)

    def on_message(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **more: Any) -> Any:
        session: Session | None = getattr(message.channel, "turn_session", None)
        held = session.held.get(message.delivery_tag) if session is not None else None
        try:
            _check_body(message)
            if session is not None and held is not None and _put_off(task, message, session, held):
                message.ack()
                return None
            return handle(message, body, ack, reject, callbacks, **more)
        except (DecodeError, InvalidTaskError, ContentDisallowed) as error:  # Celery drops it; here it is kept
            if session is not None and held is not None:
                session.decide(message.delivery_tag, SettlementKind.DEAD, reason=shown(error))
                message.channel.buried(DeadLettered(held.claim.row, shown(error), held.claim.raw))
            raise

    return on_message


def _put_off(task: Any, message: Any, session: Session, held: Held) -> bool:
    """Whether the delivery ends here: it was published without the lock that its task needs.

    Raises InvalidTaskError when its lock has no name for these arguments.
    """
    tag, headers = message.delivery_tag, message.headers
    budget = task.budget.encoded() if task.budget is not None else ""
    lease_s, max_crashes = task.lease_s or session.options.lease_s, task.max_crashes or session.options.max_crashes
    exclusive = session.options.exclusive if task.exclusive is None else task.exclusive
    session.set_task(tag, lease_s, max_crashes, budget, exclusive)
    if exclusive:
        message.channel.guard_tasks()
    unread = held.claim.row.startswith(UNREAD) and "lr" not in headers
    if task.lock is not None and ("lr_lock" not in headers or unread):
        payload = json.loads(held.claim.raw)
        payload["headers"]["lr"] = f"{_generation(payload['headers'])}~{held.claim.row}"
        args, kwargs, _ = message.payload
        try:
            payload["headers"]["lr_lock"] = encodable(task.lock_name(args, kwargs))
        except Exception as error:
            raise InvalidTaskError(f"its lock has no name for these arguments: {describe(error)}") from error
        session.decide(tag, SettlementKind.REQUEUE, 0, "published without its lock", message_text(payload))
        return True
    return False


def _check_body(message: Any) -> None:
    """Decode it here, so that whatever is wrong with it ends the message and not, as in Celery, the worker.

    Raises DecodeError, InvalidTaskError and ContentDisallowed, which Celery's consumer handles.
    """
    try:
        body = _body(message)
    except ContentDisallowed:
        raise
    except Exception as error:
        raise DecodeError(f"its body cannot be decoded: {describe(error)}") from error
    fault = fault_in_body(body, message.headers)
    if fault:
        raise InvalidTaskError(fault)


def _body(message: Any) -> Any:
    """The decoded body, which Celery asks for too. Raises what kombu raises.

    JSON is not left to kombu, which takes longer; unless the application has registered a decoder of its own.
    """
    kombus = serialization.registry._decoders.get(JSON) is kombu_json.loads
    if kombus and message.content_type == JSON and JSON in (message.accept or ()):
        try:
            message._decoded_cache = value_of(message.body)
        except Exception:
            pass  # kombu says what is wrong with it
    return message.payload


def body_of(args: Any, kwargs: Any, embed: Any, serializer: str) -> tuple[str, str, str]:
    """A message body with new arguments: base64, content type, content encoding."""
    content_type, content_encoding, data = serialization.dumps(  # type: ignore[no-untyped-call]
        (args, kwargs, embed), serializer=serializer
    )
    raw = data.encode() if isinstance(data, str) else data
    return base64.b64encode(raw).decode(), content_type, content_encoding
