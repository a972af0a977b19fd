"""What Redis holds for locked_retry at one moment: counters, rows by state, queues, delays, memory.

Nothing here holds Redis up: keys are found by SCAN, which costs about a second per million keys, and sizes are taken
from a sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from redis.exceptions import ResponseError

from locked_retry.operator.application import Broker

SCAN_COUNT = 5000
#: Keys of each kind whose size is asked for.
SAMPLE = 100
#: Steps of SCAN in which the sample has to be found: the keys may be few among millions of others.
SAMPLE_SCANS = 20
#: Lists of Celery's own that are no queues of tasks.
NOT_TASKS = ("celeryev", "celery.pidbox")


@dataclass(frozen=True, slots=True)
class Depth:
    """Messages in one list of a queue; whether it is paused (queues.py)."""

    queue: str
    priority: int
    length: int
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows that are in a state now. What is queued is counted by the queues' depths."""

    running: int
    delayed: int
    parked: int
    dead: int


@dataclass(frozen=True, slots=True)
class Overdue:
    """For how long the oldest one should have been dealt with; 0 if none is late. High: no worker takes turns."""

    lease_s: float
    delay_s: float


@dataclass(frozen=True, slots=True)
class Size:
    """Mean bytes of the keys of one kind, over a sample."""

    sampled: int
    mean_bytes: float


@dataclass(frozen=True, slots=True)
class Memory:
    """From INFO and MEMORY USAGE. `max_bytes` is 0 when Redis has no limit."""

    used_bytes: int
    max_bytes: int
    policy: str
    index_bytes: dict[str, int]
    row: Size
    done: Size


@dataclass(frozen=True, slots=True)
class Statistics:
    """`counters`: since the keys exist, over all workers. `memory`: None where the server does not tell."""

    counters: dict[str, int]
    rows: Rows
    queues: tuple[Depth, ...]
    overdue: Overdue
    memory: Memory | None


def collect(broker: Broker) -> Statistics:
    """Ask Redis. Takes some dozens of round trips, and more by SCAN when there are many keys."""
    redis, prefix = broker.redis, broker.keys.prefix
    counters = {k.decode(): int(v) for k, v in sorted(redis.hgetall(f"{prefix}stats").items())}
    found = tuple(one for one in depths(broker, queue_names(broker)) if one.length or not one.priority)
    return Statistics(counters, _rows(broker), found, _overdue(broker), _memory(broker))


def _literal(text: str) -> str:
    """A name inside a MATCH pattern."""
    return "".join(f"\\{c}" if c in "*?[]\\^" else c for c in text)


def _lengths(broker: Broker, names: list[str]) -> list[int]:
    pipe = broker.redis.pipeline(transaction=False)
    for name in names:
        pipe.llen(name)
    return [n if isinstance(n, int) else 0 for n in pipe.execute(raise_on_error=False)]  # one may be no list


def _rows(broker: Broker) -> Rows:
    redis, prefix = broker.redis, broker.keys.prefix
    waits = redis.scan_iter(match=f"{_literal(broker.keys.wait(''))}*", count=SCAN_COUNT, _type="list")
    running, delayed, dead = (int(redis.zcard(f"{prefix}{name}")) for name in ("lease", "delay", "dead"))
    return Rows(running, delayed, sum(_lengths(broker, list(waits))), dead)


def queue_names(broker: Broker) -> list[str]:
    """The queues that producers or workers have declared: kombu keeps their bindings."""
    channel = broker.channel
    pattern = _literal(channel.global_keyprefix) + channel.keyprefix_queue.replace("%s", "*")
    found = set()
    for key in broker.redis.scan_iter(match=pattern, count=SCAN_COUNT, _type="set"):
        for binding in broker.redis.smembers(key):
            found.add(binding.decode(errors="replace").split(channel.sep)[-1])
    return sorted(name for name in found if not any(one in name for one in NOT_TASKS))


def depths(broker: Broker, queues: Iterable[str]) -> Iterator[Depth]:
    """How long each list of these queues is."""
    paused = set(broker.redis.hkeys(broker.keys.paused))
    lists = [(queue, pri, key) for queue in queues for pri, key in broker.queue_lists(queue)]
    for (queue, priority, key), length in zip(lists, _lengths(broker, [key for _, _, key in lists]), strict=True):
        yield Depth(queue, priority, length, key.encode() in paused)


def _overdue(broker: Broker) -> Overdue:
    seconds, micros = broker.redis.time()
    late = []
    for name in ("lease", "delay"):
        first = broker.redis.zrange(f"{broker.keys.prefix}{name}", 0, 0, withscores=True)
        late.append(max(0.0, seconds + micros / 1e6 - first[0][1] / 1000) if first else 0.0)
    return Overdue(*late)


def _memory(broker: Broker) -> Memory | None:
    redis, prefix = broker.redis, broker.keys.prefix
    try:
        info = redis.info("memory")
        names = ("lease", "delay", "dead", "stats", "stale")
        index_bytes = {name: int(redis.memory_usage(f"{prefix}{name}") or 0) for name in names}
        row, done = (_size(broker, key) for key in (broker.keys.row(""), broker.keys.done("")))
    except ResponseError:  # hosted Redis may refuse MEMORY or INFO
        return None
    return Memory(
        used_bytes=int(info["used_memory"]),
        max_bytes=int(info.get("maxmemory", 0)),
        policy=str(info.get("maxmemory_policy", "?")),
        index_bytes=index_bytes,
        row=row,
        done=done,
    )


def _some(redis: Any, beginning: str) -> Iterator[bytes]:
    cursor = 0
    for _ in range(SAMPLE_SCANS):
        cursor, keys = redis.scan(cursor, match=f"{_literal(beginning)}*", count=1000)
        yield from keys
        if not cursor:
            return


def _size(broker: Broker, beginning: str) -> Size:
    pipe = broker.redis.pipeline(transaction=False)
    for key in islice(_some(broker.redis, beginning), SAMPLE):
        pipe.memory_usage(key, samples=0)
    sizes = [int(n) for n in pipe.execute() if n is not None]
    return Size(len(sizes), sum(sizes) / len(sizes) if sizes else 0.0)
