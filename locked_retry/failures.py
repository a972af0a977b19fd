"""Celery's end of a task that the script buried: its result, callbacks, signal and event.

A task whose crashes are used up has nobody left to fail it: its process is gone, and the turn that buries it may be
another worker's. So the worker that is told of it does what Celery's request does when a pool process is lost.
"""

from __future__ import annotations

from typing import Any

from billiard.einfo import ExceptionInfo
from celery import signals
from celery.exceptions import WorkerLostError
from celery.utils.saferepr import saferepr
from celery.worker.request import Request
from kombu.utils.json import loads

from locked_retry.log import Event, say
from locked_retry.store import Buried


def fail(buried: Buried, consumer: Any, channel: Any) -> None:
    """Store FAILURE, call errbacks, tell a chord, send `task_failure` and task-failed. Never raises: it is logged.

    `consumer` is Celery's. A repeat (after a lost reply) stores the same result again.
    """
    try:
        request = _request(buried, consumer, channel)
        if request is not None:
            _fail(request, WorkerLostError(buried.reason))
    except Exception:
        # The dead letter is safe; a result backend that is away, or a message that is no task, must not stop the loop.
        say(Event.FAILURE_NOT_STORED, traceback=True, row=buried.row)


def _request(buried: Buried, consumer: Any, channel: Any) -> Request | None:
    payload: Any = loads(buried.raw.decode())  # type: ignore[no-untyped-call]
    message = channel.Message(payload, channel=channel)
    task = consumer.app.tasks.get(message.headers.get("task"))
    if task is None:
        return None
    return Request(
        message,
        app=consumer.app,
        hostname=consumer.hostname,
        eventer=consumer.event_dispatcher,
        task=task,
        body=message.body,
        headers=message.headers,
        decoded=False,
        utc=consumer.app.uses_utc_timezone(),
    )


def _fail(request: Any, lost: WorkerLostError) -> None:
    try:
        raise lost
    except WorkerLostError as error:
        info = ExceptionInfo()
        task = request.task
        task.backend.mark_as_failure(request.id, error, request=request._context, store_result=request.store_errors)
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
