"""A herd of real workers: who is its watch, who sleeps, how many turns they have taken."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path

from redis import Redis
from server_process import Server
from waiting import until
from worker_support import Tested


class Pack(Tested):
    """Workers of one queue, one process each, that have gone to sleep except one."""

    __test__ = False

    def __init__(self, server: Server, folder: Path) -> None:
        super().__init__(server.url, folder)
        self.server = server
        self.redis: Redis = server.client

    def start(
        self, count: int, *, idle_s: float = 1.0, prefetch: int = 1, pool: str = "prefork", rest: bool = True
    ) -> None:
        """Start so many, and wait until all are idle."""
        conf = f'{{"worker_prefetch_multiplier": {prefetch}}}'
        first = len(self.workers)
        for _ in range(count):
            self.worker(pool=pool, conf=conf, options=f'{{"idle_s": {idle_s}}}', more=("-c1",), wait=False)
        for number in range(first, first + count):
            self.ready(number, 60)
        if rest:
            self.rest()

    @property
    def alive(self) -> int:
        """How many there are."""
        return sum(worker.poll() is None for worker in self.workers)

    def rest(self, deadline_s: float = 20.0, asleep: int | None = None) -> None:
        """Wait until one watches and the others are asleep."""
        wanted = self.alive - 1 if asleep is None else asleep

        def resting() -> bool:
            return bool(self.watch_key()) and self.asleep() == wanted and not self.held()

        until(resting, lambda: f"idle: {self.asleep()} asleep of {self.alive}, watch {self.watch_key()}", deadline_s)

    def held(self) -> int:
        """What the workers hold, and what waits for them. In one step: what is claimed meanwhile would be neither."""
        with self.redis.pipeline(transaction=True) as pipe:
            return sum(pipe.zcard("lr:lease").llen("celery").execute())

    def asleep(self) -> int:
        """How many block on the bell."""
        return sum(one["cmd"] == "blpop" and "b" in one["flags"] for one in self.redis.client_list())

    def watch_key(self) -> str:
        """The key of the watch; "" if there is none."""
        return next((key.decode() for key in self.redis.scan_iter("lr:watch:*")), "")

    def watch(self) -> int:
        """The number of the worker that watches, once it has said so."""

        def known() -> int:
            token = (self.redis.get(self.watch_key()) or b"").decode()  # type: ignore[union-attr]
            tokens = [re.search(r"event=started worker=(\w+)", self.log(n)) for n in range(len(self.workers))]
            return next((n + 1 for n, found in enumerate(tokens) if found and found[1] == token), 0)

        return until(known, "the watch is known") - 1

    def run(self, name: str, deadline_s: float = 10.0) -> None:
        """Send a task, and wait until it has run."""
        self.send("note", name)
        until(lambda: self.notes("end", name), lambda: f"{name} has run: {self.log(self.alive - 1)}", deadline_s)

    def turns(self) -> dict[str, int]:
        """The number of each worker's last turn, as Redis has it. (kombu runs scripts of its own each second.)"""
        found = {key.decode(): self.redis.hget(key, "tn") for key in self.redis.scan_iter("lr:w:*")}
        return {key: int(number) for key, number in found.items() if number}  # type: ignore[arg-type]

    def turns_since(self, before: dict[str, int]) -> int:
        """How many have been taken; at least one by those that were not known."""
        return sum(number - before.get(key, number - 1) for key, number in self.turns().items())

    def thief(self) -> socket.socket:
        """Who sleeps, takes a call, and does nothing."""
        bell = self.watch_key().replace(":watch:", ":bell:")
        one = socket.create_connection(("127.0.0.1", self.redis.get_connection_kwargs()["port"]), 30)
        one.sendall(f"BLPOP {bell} 0\r\n".encode())
        self.redis.zadd(bell.replace(":bell:", ":asleep:"), {"thief": 1e15})
        self.rest(asleep=1)
        return one


@contextlib.contextmanager
def pack_on(server: Server, folder: Path) -> Iterator[Pack]:
    server.client.flushall()
    pack = Pack(server, folder)
    try:
        yield pack
    finally:
        pack.stop()
