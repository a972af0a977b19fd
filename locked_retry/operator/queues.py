"""Queues that are paused: nothing is claimed from them, by any worker, until they are resumed.

What a worker holds goes on; retries and whatever is published wait in the queue. It is kept in Redis, by the names of
the lists, so that it outlives workers and deployments. A worker notices within `idle_s` that one is resumed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from locked_retry.broker.rows import number_in
from locked_retry.broker.turns import text_of, wire
from locked_retry.operator.application import Broker
from locked_retry.operator.statistics import depths, queue_names


@dataclass(frozen=True, slots=True)
class QueueState:
    """One queue: what waits in it over all priorities, and since when it is paused (ms since 1970), if it is."""

    queue: str
    messages: int
    paused_since_ms: int | None


def queue_states(broker: Broker) -> list[QueueState]:
    """All that have been declared, and those that are paused."""
    paused = paused_queues(broker)
    lengths = dict.fromkeys([*queue_names(broker), *paused], 0)
    for depth in depths(broker, list(lengths)):
        lengths[depth.queue] += depth.length
    return [QueueState(queue, length, paused.get(queue)) for queue, length in sorted(lengths.items())]


def paused_queues(broker: Broker) -> dict[str, int]:
    """Since when each is, ms since 1970."""
    return {queue: since_ms for _, queue, since_ms in _entries(broker)}


def _entries(broker: Broker) -> Iterator[tuple[str, str, int]]:
    """Lists, their queues and times."""
    for name, value in broker.redis.hgetall(broker.keys.paused).items():
        since_ms, _, queue = text_of(value).partition(" ")
        yield text_of(name), queue, number_in(since_ms)


def pause(broker: Broker, queues: Iterable[str]) -> list[str]:
    """Returns those that were not paused before. A repeat keeps the time of the first."""
    before, names = paused_queues(broker), list(dict.fromkeys(queues))
    seconds, micros = broker.redis.time()
    pipe = broker.redis.pipeline()
    for queue in names:
        for _, name in broker.queue_lists(queue):
            pipe.hsetnx(broker.keys.paused, wire(name), wire(f"{seconds * 1000 + micros // 1000} {queue}"))
    pipe.execute()
    return [queue for queue in names if queue not in before]


def resume(broker: Broker, queues: Iterable[str]) -> list[str]:
    """Returns those that were paused."""
    names = set(queues)
    entries = [(name, queue) for name, queue, _ in _entries(broker) if queue in names]
    if entries:
        broker.redis.hdel(broker.keys.paused, *(wire(name) for name, _ in entries))
    return sorted({queue for _, queue in entries})
