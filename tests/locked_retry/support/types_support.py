"""A Redis with one of everything that the scripts know, to break one key of; and where each message is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError
from table_support import KEYS, Renewal, SettlementKind, Worker, message, settle

from locked_retry import Budget
from locked_retry.broker.turns import Answer, Claim, Script, Settlement, call, renewal_arguments
from locked_retry.operator.dead_letters import Tools
from locked_retry.operator.delayed import cancel

HOUR_MS = 3_600_000
BUDGET = Budget(tokens=5, refill=0.1, wait_s=60).encoded()
LISTS = ("celery", "mails")
#: Every message of the world, and in which of its keys that are not indexes it is.
PLACES = {
    "run": "lr:t:run",  # holds the lock order:1
    "held": "lr:t:held",
    "kept": "lr:t:kept",
    "j/1": "lr:t:j/1",
    "wait1": "lr:wait:order:1",
    "wait2": "lr:wait:order:2",
    "lost": "lr:t:lost",  # of a worker that is gone; holds the lock order:2
    "later": "lr:t:later",  # a retry that is due
    "gone": "lr:t:gone",  # dead
    "j/2": "lr:t:j/2",  # dead
    "again": "celery",  # was held before
    "sub1": "celery",
    "new1": "celery",
    "new2": "mails",
    "j/3": "mails",
}
#: Everything else that a script may look at.
OTHERS = (
    *("lr:lease", "lr:delay", "lr:dead", "lr:fence", "lr:w:w1", "lr:w:-", "lr:stats", "lr:stale", "lr:clock"),
    *("lr:paused", "lr:look"),
    *("lr:t:again", "lr:t:wait1", "lr:t:wait2", "lr:t:new1", "lr:done:fin", "lr:done:held", "lr:done:new1"),
    *("lr:lock:order:1", "lr:lock:order:2", "lr:budget:celery", "lr:sub:sub1", "lr:sub:s2"),
    *("lr:job:j", "lr:marks:j", "lr:job:k", "lr:marks:k", "lr:t:k/2", "joins"),
    *("unacked", "unacked_index", "order:fence", "order:effect:paid"),
)
INDEXES = ("lr:lease", "lr:delay", "lr:dead")
KEYS_OF_ALL = (*sorted({*PLACES.values(), *OTHERS}),)


def _string(redis: Redis, key: str) -> None:
    redis.set(key, "x")


def _list(redis: Redis, key: str) -> None:
    redis.rpush(key, "x")


def _hash(redis: Redis, key: str) -> None:
    redis.hset(key, "x", "y")


def _set(redis: Redis, key: str) -> None:
    redis.sadd(key, "x")


def _zset(redis: Redis, key: str) -> None:
    redis.zadd(key, {"x": 1e15})


def _stream(redis: Redis, key: str) -> None:
    redis.xadd(key, {"x": "y"})


#: Each puts something of a type where something of ours was; one of them is of the right type, and nonsense.
TYPES: dict[str, Callable[[Redis, str], None]] = {
    "string": _string,
    "list": _list,
    "hash": _hash,
    "set": _set,
    "zset": _zset,
    "stream": _stream,
}


def script(redis: Redis, name: str, lists: tuple[str, ...], *arguments: Any) -> Any:
    """Run a script that has the indexes in front."""
    names = [*KEYS.indexes(), *lists]
    return call(redis, Script.load(name), [len(names), *names, KEYS.prefix, *arguments])


def _shards(redis: Redis, job: str, numbers: range) -> Any:
    flat = [part for n in numbers for part in (f"{job}/{n}", message(f"{job}/{n}", lr_job=f"{job}/{n}"), 1 + n // 3)]
    return script(redis, "shard", LISTS, job, numbers[0], "", "0", "0", *flat)


@dataclass
class World:
    """What was built, as it can be put back at once."""

    redis: Redis
    worker: Worker = field(init=False)
    held: dict[str, Claim] = field(default_factory=dict)
    dumps: dict[bytes, bytes] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)  # the type of each key

    def __post_init__(self) -> None:
        self.worker = Worker(self.redis, "w1", queues=("celery",), lease_ms=HOUR_MS)
        self._build()
        self.redis.delete("lr:clock")  # else it is a stall when the world is put back
        self.dumps = {key: self.redis.dump(key) for key in self.redis.scan_iter()}  # type: ignore[misc]
        self.kinds = {key.decode(): self.redis.type(key).decode() for key in self.dumps}  # type: ignore[union-attr]
        self.number, self.last = self.worker.number, self.worker.last

    def _build(self) -> None:
        redis, worker = self.redis, self.worker
        for job in "jk":
            script(redis, "job", ("joins",), job, "what", "all", HOUR_MS, '{"total": \1total\1}', 0)
        _shards(redis, "j", range(1, 4))
        _shards(redis, "k", range(1, 2))
        self._claim(message("run", lr_lock="order:1"), *map(message, ("held", "kept", "later", "gone", "fin", "k/2")))
        ended = {
            "later": SettlementKind.RETRY,
            "gone": SettlementKind.DEAD,
            "j/2": SettlementKind.DEAD,
            "k/1": SettlementKind.DEAD,
        }
        self._end(**ended, **dict.fromkeys(("fin", "k/2"), SettlementKind.OK))
        worker.turn(settles=(Settlement("nobody", "5", SettlementKind.OK),))
        other = Worker(redis, "w2", queues=("celery",), lease_ms=HOUR_MS)
        redis.lpush("celery", message("lost", lr_lock="order:2"))
        (lost,) = other.turn(want=1).claims
        other.turn(renewals=(Renewal("lost", lost.fence, HOUR_MS, started=True),))
        self._claim(message("wait1", lr_lock="order:1"), message("wait2", lr_lock="order:2"))
        self._claim(message("again"))
        self._end(again=SettlementKind.REQUEUE)
        redis.lpush("celery", message("new1"), message("fin"))
        redis.lpush("mails", message("new2"))
        script(redis, "submit", ("celery",), "S", HOUR_MS, 1, 0, "sub1", message("sub1"), "1")
        redis.hset("unacked", "tag", "record")
        redis.zadd("unacked_index", {"tag": 1})
        redis.set("order:fence", 5)
        redis.zadd("lr:delay", {"later": 1})
        redis.zadd("lr:lease", {"lost": 1})

    def _claim(self, *messages: str) -> None:
        for one in messages:
            self.redis.lpush("celery", one)
        self.held |= {claim.row: claim for claim in self.worker.turn(want=50).claims}

    def _end(self, **kinds: SettlementKind) -> None:
        ends = [settle(self.held.pop(row), kind, delay_ms=HOUR_MS, budget=BUDGET) for row, kind in kinds.items()]
        assert set(self.worker.turn(settles=tuple(ends)).codes) == {"o"}

    def restore(self) -> None:
        """As it was when it was built."""
        self.redis.flushall()
        pipe = self.redis.pipeline(transaction=False)
        for key, dump in self.dumps.items():
            pipe.restore(key, 0, dump)
        pipe.execute()
        self.worker.number, self.worker.last = self.number, self.last

    def break_key(self, key: str, kind: str) -> None:
        """Somebody puts something else there."""
        self.redis.delete(key)
        TYPES[kind](self.redis, key)


# --- one call of every script


def turn(world: World) -> Answer:
    worker, held = world.worker, world.held
    worker.queues = LISTS
    ends = [settle(held[row], SettlementKind.OK, budget=BUDGET) for row in ("held", "j/1")]
    ends.append(settle(held["run"], SettlementKind.RETRY, delay_ms=HOUR_MS, budget=BUDGET))
    kept = Renewal("kept", held["kept"].fence, HOUR_MS, started=True)
    return worker.turn(want=50, settles=tuple(ends), renewals=(kept,))


def repeated_turn(world: World) -> Answer:
    """The last one of the world again: it claimed nothing."""
    return world.worker.again()


def renew(world: World) -> Any:
    some = [Renewal(row, world.held[row].fence, HOUR_MS, started=True) for row in ("kept", "run")]
    return call(world.redis, Script.load("renew"), renewal_arguments(KEYS, "w1", some))


def submit(world: World) -> Any:
    where = {"sub1": "1", "fin": "1", "run": "1", "s2": "1", "s3": "2", "s4": "1 2"}
    flat = [part for name, lists in where.items() for part in (name, message(name), lists)]
    return script(world.redis, "submit", LISTS, "T", HOUR_MS, len(where), "0", "0", *flat)


def shard(world: World) -> Any:
    return _shards(world.redis, "k", range(1, 4))


def job(world: World) -> Any:
    return script(world.redis, "job", ("joins",), "j", "what", "all", HOUR_MS, "", 0)


def requeue(world: World) -> Any:
    return Tools(world.redis).requeue(["gone", "j/2", "kept"])


def purge(world: World) -> Any:
    return Tools(world.redis).purge(["gone", "kept"])


def release(world: World) -> Any:
    return cancel(Tools(world.redis), ["later", "kept"])


def audit(world: World) -> Any:
    return Tools(world.redis).audit(repair=True)


def restore(world: World) -> Any:
    return call(
        world.redis, Script.load("restore"), [4, "unacked", "unacked_index", *LISTS, "tag", "record", "one", "two"]
    )


def fenced(world: World) -> Any:
    commands = (3, "SET", "order:state", "paid", 3, "LPUSH", "order:log", "paid")
    arguments = [2, "order:fence", "order:effect:paid", 9, "1", HOUR_MS, HOUR_MS, *commands]
    return call(world.redis, Script.load("fenced"), arguments)


CALLS: dict[str, Callable[[World], Any]] = {
    "turn": turn,
    "repeated turn": repeated_turn,
    "renew": renew,
    "submit": submit,
    "shard": shard,
    "job": job,
    "requeue": requeue,
    "purge": purge,
    "release": release,
    "audit": audit,
    "restore": restore,
    "fenced": fenced,
}

#: What each call ends.
ENDED = {"turn": {"held", "j/1"}, "purge": {"gone"}}


def refused(world: World, name: str) -> bool:
    """Make the call; whether Redis refused it."""
    try:
        CALLS[name](world)
    except ResponseError:
        return True
    return False


# --- where things are


def homes(redis: Redis) -> dict[str, list[str]]:
    """For each message of the world the places where it is: lists, indexes, wait lists."""
    found: dict[str, list[str]] = {name: [] for name in PLACES}

    def add(name: str, place: str) -> None:
        if name in found:
            found[name].append(place)

    for name in LISTS:
        for raw in redis.lrange(name, 0, -1) if redis.type(name) == b"list" else ():  # type: ignore[union-attr]
            if raw.startswith(b"{"):
                add(json.loads(raw)["headers"]["id"], name)
    for key in INDEXES:
        for member in redis.zrange(key, 0, -1) if redis.type(key) == b"zset" else ():  # type: ignore[union-attr]
            if redis.exists(KEYS.row(member.decode())):
                add(member.decode(), key)
    for key in redis.scan_iter("lr:wait:*"):
        for row in redis.lrange(key, 0, -1) if redis.type(key) == b"list" else ():  # type: ignore[union-attr]
            if redis.type(KEYS.row(row.decode())) == b"hash" and redis.hget(KEYS.row(row.decode()), "st") == b"p":
                add(row.decode(), key.decode())
    return found


def work_off(redis: Redis) -> None:
    """Everything is due, every lease has ended, and a worker runs all that there is."""
    worker = Worker(redis, "last", queues=LISTS, lease_ms=HOUR_MS, max_crashes=100)
    for _ in range(30):
        for index in ("lr:lease", "lr:delay"):
            for row in redis.zrange(index, 0, -1):  # type: ignore[union-attr]
                redis.zadd(index, {row: 1})
        claims = worker.turn(want=100).claims
        worker.turn(settles=tuple(settle(claim, SettlementKind.OK) for claim in claims))
        if not claims and not redis.exists("lr:lease", "lr:delay", *LISTS):
            return
    raise AssertionError(f"there is always something left: {homes(redis)}")
