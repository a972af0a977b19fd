"""From a claimed message to Celery's consumer: read, checked, addressed, and handed over.

Whatever a message makes Celery raise ends here. Raised into the loop it would end the worker, and the next worker would
get the same message.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from celery.worker import state

from locked_retry.adapter.eta import left_s
from locked_retry.adapter.wellformed import fault_in
from locked_retry.broker.connection import FAILURES
from locked_retry.broker.rows import CANCELLED
from locked_retry.broker.turns import Claim, DeadLettered, SettlementKind
from locked_retry.log import Event, say
from locked_retry.text import describe, value_of
from locked_retry.worker.session import Session


def deliver(channel: Any, claim: Claim, queue: str, claimed_at_s: float) -> None:
    """Hand a claimed message to its consumer. What is not due, or cannot be handed over, is settled here."""
    session: Session = channel.engine.session
    if queue not in channel.connection._callbacks:
        session.end_now(claim.fence, SettlementKind.REQUEUE, reason="no longer consumed here")
        return
    payload, fault = _read(channel, claim)
    if not fault:
        wait_s = left_s(_eta(channel, payload))
        if wait_s:
            session.end_now(claim.fence, SettlementKind.SNOOZE, round(wait_s * 1000), "ETA")
            return
        _address(payload, claim, claimed_at_s, session.options.lease_s)
        with _revoked(channel, payload, claim) if CANCELLED in payload["headers"] else nullcontext():
            fault = _hand_over(channel, payload, queue, claim)
    if fault and claim.fence in session.held:
        say(Event.NOT_A_MESSAGE, row=claim.row, error=fault)
        session.decide(claim.fence, SettlementKind.DEAD, reason=fault)
        channel.qos.ack(claim.fence)
        channel.buried(DeadLettered(claim.row, fault, claim.raw))


def _read(channel: Any, claim: Claim) -> tuple[Any, str]:
    """The message, and what is wrong with it."""
    try:
        payload = value_of(claim.raw)
    except Exception as error:  # also RecursionError, and what kombu's own types raise
        return None, f"not a JSON message: {describe(error)}"
    fault = fault_in(payload)
    if not fault:
        try:
            channel.decode_body(payload["body"], payload["properties"].get("body_encoding"))
        except Exception as error:
            fault = f"its body cannot be decoded: {describe(error)}"
    return payload, fault


def _eta(channel: Any, payload: Any) -> Any:
    """Of protocol 2, and of protocol 1 in JSON, where it stands in the body."""
    if "task" in payload["headers"] or payload.get("content-type") != "application/json":
        return payload["headers"].get("eta")
    return _body(channel, payload).get("eta")


def _body(channel: Any, payload: Any) -> dict[str, Any]:
    """Of protocol 1. Empty for what is none: Celery is going to say so."""
    try:
        body = value_of(channel.decode_body(payload["body"], payload["properties"].get("body_encoding")))
    except Exception:
        return {}
    return body if isinstance(body, dict) else {}


@contextmanager
def _revoked(channel: Any, payload: Any, claim: Claim) -> Iterator[None]:
    """Celery revokes at once what is handed over meanwhile, whatever the base of its task. A shard counts as failed."""
    task_id = payload["headers"].get("id") or _body(channel, payload).get("id")
    before = task_id in state.revoked
    state.revoked.add(task_id)
    channel.engine.session.decide(claim.fence, SettlementKind.FINAL, reason="cancelled")
    try:
        yield
    finally:
        if not before:
            state.revoked.discard(task_id)


def _address(payload: Any, claim: Claim, claimed_at_s: float, lease_s: float) -> None:
    """Write into the message what this delivery of it is."""
    properties = payload["properties"]
    properties["delivery_tag"] = claim.fence  # one tag per delivery: nobody acks another's
    info = properties["delivery_info"] = properties.get("delivery_info") or {}
    info["redelivered"] = bool(info.get("redelivered") or claim.crashes or claim.returns)
    payload["headers"].update(lr_row=claim.row, lr_fence=claim.fence, lr_claimed_at_s=claimed_at_s, lr_lease_s=lease_s)


def reason_for(channel: Any, claim: Claim) -> str:
    """Why Celery rejects a message that was handed over: it gives no reason."""
    name, known = value_of(claim.raw)["headers"].get("task"), channel.known_tasks()
    if name is None or not known or any(name in tasks for tasks in known):
        return "rejected"
    return f"no task {name!r} is registered here"


def _hand_over(channel: Any, payload: Any, queue: str, claim: Claim) -> str:
    """Why the message has to be a dead letter; "" when it was handed over, or given back."""
    try:
        channel.connection._deliver(payload, queue)
    except FAILURES as error:  # the broker, or the results: the message did nothing to deserve it
        say(Event.NOT_HANDLED, row=claim.row, error=error)
        channel.engine.session.decide_return(claim.fence, describe(error))
        channel.qos.ack(claim.fence)
    except Exception as error:
        say(Event.NOT_HANDLED, traceback=True, row=claim.row, error=error)
        return f"it cannot be handled: {describe(error)}"
    return ""
