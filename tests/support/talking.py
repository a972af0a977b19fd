"""A role that talks to Redis through its link, as workers and producers do, whatever becomes of its connections."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from taskchaos.faults.base import Link


@contextmanager
def talking(*links: Link, key: str = "talk") -> Iterator[None]:
    """A client on each link that sends one small command after the other; when this begins, all have been answered."""
    over = threading.Event()
    answered = [threading.Event() for _ in links]
    threads = [
        threading.Thread(target=_talk, args=(link, key, first, over), daemon=True)
        for link, first in zip(links, answered, strict=True)
    ]
    for thread in threads:
        thread.start()
    try:
        assert all(first.wait(10) for first in answered), "no answer before anything went wrong"
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(10)


def _talk(link: Link, key: str, answered: threading.Event, over: threading.Event) -> None:
    client = redis.Redis(host=link.host, port=link.port, socket_timeout=0.2, retry=None)
    while not over.wait(0.005):
        try:
            client.incr(key)
            answered.set()
        except redis.RedisError:
            pass  # that is what it is for
    client.close()
