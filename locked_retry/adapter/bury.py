"""Celery's end of a task that became a dead letter without its request's doing: result, callbacks, signal and event.

A task whose crashes are used up has nobody left to fail it: its process is gone, and the turn that buries it may be
another worker's. So the worker that is told of it does what Celery's request does when a pool process is lost. So it
does for a message that Celery cannot read: whoever waits for its result hears of it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from billiard.einfo import ExceptionInfo
from celery import signals
from celery.exceptions import InvalidTaskError, WorkerLostError
from celery.utils.saferepr import saferepr
from celery.worker.request import Request
from kombu.utils.json import loads

from locked_retry.adapter.results import backend_of, later, marking
from locked_retry.adapter.wellformed import fault_in_body, without_faults
from locked_retry.broker.turns import DeadLettered
from locked_retry.log import Event, say


def fail(buried: DeadLettered, consumer: Any, channel: Any) -> None:
    """Store FAILURE, call errbacks, tell a chord, send `task_failure` and task-failed. Never raises: it is logged.

    `consumer` is Celery's. What needs the result backend is done later, by a thread. A repeat (after a lost reply)
    stores the same result again.
    """
    error = WorkerLostError(buried.reason)
    try:
        payload: Any = loads(buried.raw.decode())  # type: ignore[no-untyped-call]
    except Exception as unreadable:  # nobody can say whose result it was
        say(Event.FAILURE_NOT_STORED, row=buried.row, error=unreadable)
        return
    try:
        _fail(request_of(payload, consumer, channel), error)
    except Exception:  # no message that Celery can read
        task_id = _id_of(payload)
        if task_id:
            later(lambda: consumer.app.backend.mark_as_failure(task_id, error), consumer.app, f"failure of {task_id}")
        else:
            say(Event.FAILURE_NOT_STORED, traceback=True, row=buried.row)


def _id_of(payload: Any) -> str:
    headers = payload.get("headers") if isinstance(payload, dict) else None
    task_id = headers.get("id") if isinstance(headers, dict) else None
    return task_id if isinstance(task_id, str) else ""


def request_of(payload: Any, consumer: Any, channel: Any) -> Request:
    """Celery's request for a message that nobody holds. Raises for one that Celery cannot read."""
    message = channel.Message(without_faults(payload), channel=channel)
    fault = fault_in_body(message.payload, message.headers)
    if fault:  # its callbacks and chord are not to be believed either
        raise InvalidTaskError(fault)
    return Request(
        message,
        app=consumer.app,
        hostname=consumer.hostname,
        eventer=consumer.event_dispatcher,
        task=consumer.app.tasks[message.headers["task"]],
        body=message.body,
        headers=message.headers,
        decoded=False,
        utc=consumer.app.uses_utc_timezone(),
    )


def _fail(request: Any, lost: WorkerLostError) -> None:
    task, context, stored = request.task, request._context, request.store_errors
    later(
        marking(partial(backend_of, task), "mark_as_failure", request.id, lost, request=context, store_result=stored),
        request.app,
        f"failure of {request.id}",
    )
    try:
        raise lost
    except WorkerLostError as error:
        info = ExceptionInfo()
        signals.task_failure.send(
            sender=task,
            task_id=request.id,
            exception=error,
            args=request.args,
            kwargs=request.kwargs,
            traceback=error.__traceback__,
            einfo=info,
        )
        request.send_event("task-failed", exception=saferepr(error), traceback=info.traceback)
