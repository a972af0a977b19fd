"""What waits for its time: tasks with an ETA, and retries. To list it, to run it now, and to cancel it.

Who cancels a task only says so, in its message: the worker that claims it next revokes it as Celery does. So its
result, signal, event and chord hear of it whatever fails meanwhile. In a paused queue that waits, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from locked_retry.broker.audit import chunks
from locked_retry.broker.rows import CANCELLED, generation, headline, number_in, rows_by_time
from locked_retry.broker.turns import RowState, text_of, wire
from locked_retry.operator.dead_letters import Tools
from locked_retry.text import message_text


@dataclass(frozen=True, slots=True)
class Delayed:
    """One message that waits until it is due. `reason`: of the attempt before, "ETA" if there was none."""

    row: str
    task: str
    task_id: str
    due_ms: int
    attempts: int
    queue: str
    reason: str
    message: str


def delayed(tools: Tools, task: str = "") -> Iterator[Delayed]:
    """All, in the order in which they are due; of one task if it is named."""
    for chunk in chunks(row for row, _ in rows_by_time(tools.redis, f"{tools.keys.prefix}delay")):
        for one in _read(tools, chunk):
            if not task or one.task == task:
                yield one


def run_now(tools: Tools, rows: Iterable[str]) -> list[str]:
    """To the front of their queues. Returns those that went; the others are not delayed, or no longer."""
    return _release(tools, rows, cancel=False)


def cancel(tools: Tools, rows: Iterable[str]) -> list[str]:
    """As `run_now`, for the worker to revoke them. Returns those that it will."""
    return _release(tools, rows, cancel=True)


def _release(tools: Tools, rows: Iterable[str], cancel: bool) -> list[str]:
    released: list[str] = []
    for chunk in chunks(rows):
        words = [word for one in _read(tools, chunk) for word in (one.row, _seen(one), _due(one, cancel))]
        if words:
            released += map(text_of, tools.call("release", *map(wire, words)))
    return released


def _read(tools: Tools, rows: Sequence[str]) -> Iterator[Delayed]:
    """Those of these rows that are delayed."""
    pipe = tools.redis.pipeline(transaction=False)
    for row in rows:
        pipe.hmget(wire(tools.keys.row(row)), "st", "msg", "q", "err", "a")
        pipe.zscore(f"{tools.keys.prefix}delay", wire(row))
    found = pipe.execute()
    for row, values, due_ms in zip(rows, found[::2], found[1::2], strict=True):
        if values[0] == RowState.DELAYED and due_ms is not None:
            message, queue, reason, attempts = (text_of(value or b"") for value in values[1:])
            yield Delayed(row, *headline(message), int(due_ms), number_in(attempts), queue, reason, message)


def _seen(one: Delayed) -> str:
    """What the script compares: it may have run since, and wait again with another message."""
    return hashlib.sha1(one.message.encode("utf-8", "surrogateescape")).hexdigest()


def _due(one: Delayed, cancel: bool) -> str:
    """The message, due now."""
    try:
        payload = json.loads(one.message)
        headers = payload["headers"]
        headers.update(generation(headers, int(headers.get("retries") or 0), one.row), eta=None)
        if cancel:
            headers[CANCELLED] = True
    except (ValueError, KeyError, TypeError, AttributeError):
        return one.message  # no Celery message: whoever claims it buries it
    return message_text(payload)
