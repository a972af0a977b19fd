"""A role that uses what faults of Redis bite: it writes, calls a script, reads what is large, connects anew."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import redis


@contextmanager
def using(host: str, port: int) -> Iterator[list[str]]:
    """When this begins, all has been answered once; from then on, what it is told whatever becomes of it."""
    over, begun, told = threading.Event(), threading.Event(), list[str]()

    def use() -> None:
        client = redis.Redis(host=host, port=port, socket_timeout=0.2, retry=None)
        script = client.register_script("return redis.call('incr', KEYS[1])")
        while not over.wait(0.005):
            try:
                client.lpush("list", bytes(100_000))
                client.lpop("list")
                script(keys=["counted"])
                client.set("kept", bytes(20_000), ex=600)
                begun.set()
            except redis.RedisError as error:
                told.append(f"{type(error).__name__}: {error}")
        client.close()

    thread = threading.Thread(target=use, daemon=True)
    thread.start()
    try:
        assert begun.wait(10), told[-3:]
        told.clear()
        yield told
    finally:
        over.set()
        thread.join(10)
