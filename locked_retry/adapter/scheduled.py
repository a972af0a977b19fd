"""`inspect scheduled`: Celery lists what is in a worker's timer. Here it waits in Redis, and belongs to no worker."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from celery.worker import control
from kombu.utils.json import loads
from redis import Redis

from locked_retry.adapter.bury import request_of
from locked_retry.adapter.eta import due_at
from locked_retry.broker.rows import headline
from locked_retry.broker.turns import RowState, text_of, wire

#: Each worker lists the next ones of the queues that it serves, so that a reply stays small.
MOST = 100
#: Rows of other queues that it looks at to find them.
MOST_SEEN = 1000
#: Celery's, of everything with an ETA.
PRIORITY = 6


def answer_inspect(**_: Any) -> None:
    """From now on `inspect scheduled` also lists what waits in Redis. Called when a worker begins."""
    known = control.Panel.data["scheduled"]
    if getattr(known, "__module__", "") == __name__:
        return

    def scheduled(state: Any, **kwargs: Any) -> Any:
        """List of currently scheduled ETA/countdown tasks."""
        found = known(state, **kwargs)
        channel = getattr(state.consumer.task_consumer, "channel", None)
        if getattr(channel, "engine", None) is not None:
            found = [*found, *_delayed(channel, state.consumer)]
        return found

    control.Panel.register(type="inspect", name="scheduled", alias="dump_schedule")(scheduled)


def _delayed(channel: Any, consumer: Any) -> list[dict[str, Any]]:
    redis, keys = Redis(connection_pool=channel.pool), channel.engine.keys
    served = {name.encode() for name in channel.turn_queue_keys()[0]}
    rows: Any = redis.zrange(f"{keys.prefix}delay", 0, MOST_SEEN - 1, withscores=True)
    pipe = redis.pipeline(transaction=False)
    for row, _ in rows:
        pipe.hmget(wire(keys.row(text_of(row))), "st", "q")
    places = pipe.execute()
    ours = [
        one for one, (state, queue) in zip(rows, places, strict=True) if state == RowState.DELAYED and queue in served
    ][:MOST]
    for row, _ in ours:
        pipe.hmget(wire(keys.row(text_of(row))), "msg", "err")
    found = zip(ours, pipe.execute(), strict=True)
    return [
        _shown(text_of(raw), reason == b"ETA", due_ms, consumer, channel)
        for (_, due_ms), (raw, reason) in found
        if raw is not None
    ]


def _shown(raw: str, first: bool, due_ms: float, consumer: Any, channel: Any) -> dict[str, Any]:
    """As Celery shows what is in its timer; of what it could not read, its names. first: it waits for its own ETA."""
    due = datetime.fromtimestamp(due_ms / 1000, UTC)
    try:
        payload = loads(raw)  # type: ignore[no-untyped-call]
        request = request_of(payload, consumer, channel)
        due = (due_at(payload["headers"].get("eta")) if first else None) or due
        shown = request.info()
    except Exception:
        task, task_id = headline(raw)
        shown = {"id": task_id, "name": task}
    return {"eta": due.isoformat(), "priority": PRIORITY, "request": shown}
