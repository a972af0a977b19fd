"""A job of the tests of sharding, and workers that end its shards."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from celery import Celery
from kombu import Connection
from redis import Redis
from table_support import SettlementKind, Worker, settle

from locked_retry import Job, shard


def split(app: Celery, items: Iterable[Any] = range(6), size: int = 2, **more: Any) -> Job:
    """Six items in three shards into "q", the join into "joins"; all of it named "j"."""
    given = {"join": app.signature("report").set(queue="joins"), "job_id": "j", **more}
    return shard(app.tasks["note"].s().set(queue="q"), items, size, **given)


def payloads(url: str, queue: str) -> list[Any]:
    """The messages of a queue as plain kombu reads them; they are taken."""
    with Connection(url) as connection, connection.SimpleQueue(queue, no_ack=True) as taken:
        return [taken.get(block=False) for _ in range(taken.qsize())]


def arguments(url: str, queue: str) -> list[Any]:
    return [one.payload[0] for one in payloads(url, queue)]


def summary(total: int, done: int, dead: int) -> dict[str, Any]:
    return {"job_id": "j", "total": total, "done": done, "dead": dead}


def work(redis: Redis, kind: SettlementKind = SettlementKind.OK, most: int = 100) -> int:
    """End up to so many queued shards; how many there were."""
    worker = Worker(redis, name=f"w-{kind}-{redis.incr('workers')}")
    claims = worker.turn(want=most).claims
    assert set(worker.turn(settles=tuple(settle_of(claim, kind) for claim in claims)).codes) <= {"o"}
    return len(claims)


def settle_of(claim: Any, kind: SettlementKind) -> Any:
    return settle(claim, kind, reason="1 it died" if kind is SettlementKind.CRASH else "")
