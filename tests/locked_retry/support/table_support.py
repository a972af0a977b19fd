"""Redis as a table: put a message in, run a turn, look at all that is there afterwards."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from redis import Redis

from locked_retry.broker.turns import Answer, Claim, Keys, Renewal, Settlement, SettlementKind, Turn, run_turn

KEYS = Keys()
LEASE_MS = 60_000
_tags = itertools.count()


def message(task_id: str, *, tag: str = "", **headers: Any) -> str:
    """A Celery message as kombu writes it."""
    return json.dumps(
        {
            "body": "W10=",
            "content-type": "application/json",
            "headers": {"id": task_id, "task": "t", "retries": 0, "lang": "py", **headers},
            "properties": {"delivery_tag": tag or f"tag-{next(_tags)}", "body_encoding": "base64", "priority": 0},
        }
    )


@dataclass
class Worker:
    """A worker that takes turns, counting them."""

    redis: Redis
    name: str = "w1"
    queues: tuple[str, ...] = ("q",)
    lease_ms: int = LEASE_MS
    max_crashes: int = 3
    number: int = field(default=0, init=False)
    last: Turn | None = field(default=None, init=False)

    def turn(self, want: int = 0, settles: tuple[Settlement, ...] = (), renewals: tuple[Renewal, ...] = ()) -> Answer:
        self.number += 1
        self.last = Turn(
            worker=self.name,
            number=self.number,
            queue_keys=self.queues,
            queues=len(self.queues),
            want=want,
            want_bytes=1_000_000,
            lease_ms=self.lease_ms,
            done_ms=60_000,
            max_crashes=self.max_crashes,
            settles=settles,
            renewals=renewals,
        )
        return run_turn(self.redis, KEYS, self.last)

    def again(self) -> Answer:
        """The same turn once more: what happens after a lost reply."""
        assert self.last is not None
        return run_turn(self.redis, KEYS, self.last)

    def claim(self, *messages: str) -> tuple[Claim, ...]:
        for one in messages:
            self.redis.lpush("q", one)
        return self.turn(want=len(messages)).claims

    def end(self, claim: Claim, kind: SettlementKind, **more: Any) -> str:
        return self.turn(settles=(settle(claim, kind, **more),)).codes


def settle(claim: Claim, kind: SettlementKind, **more: Any) -> Settlement:
    return Settlement(claim.row, claim.fence, kind, **more)


def row(redis: Redis, name: str) -> dict[str, str]:
    return {k.decode(): v.decode() for k, v in redis.hgetall(KEYS.row(name)).items()}  # type: ignore[union-attr]


def state(redis: Redis, name: str) -> str | None:
    return row(redis, name).get("st")


def where(redis: Redis, name: str) -> set[str]:
    """The indexes a row is in: exactly one for a row that exists."""
    found = {i for i in ("lease", "delay", "dead") if redis.zscore(f"lr:{i}", name) is not None}
    messages = redis.lrange("q", 0, -1) if redis.type("q") == b"list" else []
    queued = [json.loads(m) for m in messages]  # type: ignore[union-attr]
    if any(name in (m["headers"]["id"], str(m["headers"].get("lr", "")).rpartition("~")[2]) for m in queued):
        found.add("queue")
    if any(name.encode() in redis.lrange(k, 0, -1) for k in redis.scan_iter("lr:wait:*")):  # type: ignore[operator]
        found.add("wait")
    return found


def stat(redis: Redis, name: str) -> int:
    return int(redis.hget("lr:stats", name) or 0)  # type: ignore[arg-type]


_READ: dict[str, Callable[[Redis, bytes], Any]] = {
    "string": lambda redis, key: redis.get(key),
    "list": lambda redis, key: redis.lrange(key, 0, -1),
    "hash": lambda redis, key: redis.hgetall(key),
    "set": lambda redis, key: redis.smembers(key),
    "zset": lambda redis, key: redis.zrange(key, 0, -1, withscores=True),
    "stream": lambda redis, key: redis.xrange(key),
}


def everything(redis: Redis) -> dict[str, Any]:
    """All keys with their values, without clocks: equal before and after means that nothing happened."""
    found: dict[str, Any] = {}
    for key in sorted(redis.scan_iter()):
        read = _READ[redis.type(key).decode()]  # type: ignore[union-attr]
        found[key.decode()] = read(redis, key)
    found.pop("lr:stats", None)
    return found


__all__ = [
    "KEYS",
    "LEASE_MS",
    "Renewal",
    "SettlementKind",
    "Worker",
    "everything",
    "message",
    "replace",
    "row",
    "settle",
]
__all__ += ["stat", "state", "where"]
