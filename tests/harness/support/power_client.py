"""A client that does nothing but SET, and remembers when what was acknowledged; and what power losses take of it."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field

from redis import Redis
from redis.exceptions import RedisError

from taskchaos.faults.redis_power import PowerLoss
from taskchaos.harness.clock import now_ns
from taskchaos.harness.stack.direct_client import ONCE
from taskchaos.harness.stack.volatile_redis import VolatileRedis


@dataclass
class Setter:
    """Sets keys one after the other, in a thread, until Redis is gone or it is told to stop.

    acknowledged: when (CLOCK_MONOTONIC), by key.
    """

    port: int
    prefix: str
    acknowledged: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._client: Redis = Redis(port=self.port, retry=ONCE, socket_timeout=5)
        self._client.ping()
        self.enough, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        number = 0
        try:
            while not self._over.is_set():
                key = f"{self.prefix}:{number}"
                self._client.set(key, "x" * (number % 200))
                self.acknowledged[key] = now_ns()
                number += 1
                if number == 20:
                    self.enough.set()
        except RedisError:
            self.enough.set()

    def join(self, *, stop: bool = False) -> None:
        if stop:
            self._over.set()
        self._thread.join()
        self._client.close()


@dataclass(frozen=True)
class Round:
    """One power loss. missing: what was acknowledged and is not there; early: those of it that no loss explains."""

    loss: PowerLoss
    acknowledged: int
    missing: int
    early: int


def lose_power(server: VolatileRedis, prefix: str, *, after_s: float, torn: bool, nth: int, rewrite: bool) -> Round:
    """Have a client set keys, lose the power, start again, and look what is there."""
    setter = Setter(server.port, prefix)
    setter.enough.wait()
    if rewrite:
        server.ask("BGREWRITEAOF")
    setter.enough.clear()
    setter.enough.wait(after_s)  # so long it goes on
    loss = server.lose_power(torn=torn, nth=nth)
    setter.join()
    server.start()
    keys = list(setter.acknowledged)
    there = [value is not None for value in server.client.mget(keys)]
    missing = [key for key, is_there in zip(keys, there, strict=True) if not is_there]
    since_ns = loss.since_ns
    early = [key for key in missing if since_ns is None or setter.acknowledged[key] < since_ns]
    return Round(loss, len(keys), len(missing), len(early))


def rounds(server: VolatileRedis, count: int, seed: int, *, longest_s: float = 0.5) -> list[Round]:
    """So many power losses, drawn: at once or at a sync, of all that was not synced or in a write, during rewrites."""
    draw, found = random.Random(seed), []
    simple = not server.forgets_exactly
    for number in range(count):
        nth = 0 if simple else draw.choice([0, 0, 1, 2])
        torn = not simple and draw.random() < 0.3
        after_s = draw.uniform(0.0, longest_s)
        rewrite = draw.random() < 0.3
        found.append(lose_power(server, f"r{number}", after_s=after_s, torn=torn, nth=nth, rewrite=rewrite))
    return found
