"""Engines with their doorbells on real connections, in a loop of the test's own, without Celery."""

from __future__ import annotations

import contextlib
import os
import selectors
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from redis import Connection

from locked_retry.adapter.queue_order import QueueOrder
from locked_retry.broker.turns import Claim, Keys, SettlementKind
from locked_retry.options import Options
from locked_retry.worker.engine import Engine
from locked_retry.worker.session import Session


class Watched(Connection):
    """As a channel makes them."""

    @property
    def open(self) -> bool:
        return self._sock is not None


class Engined:
    """An engine, and what kombu's channel is to it. What it is given has ended at once."""

    def __init__(self, loop: Loop, *queues: str, user: str = "", idle_s: float = 1.0) -> None:
        self.loop, self.queues, self.user = loop, list(queues), user
        self.free: int | None = None
        self.connection = SimpleNamespace(cycle=SimpleNamespace(arm=lambda: None))
        options = Options(idle_s=idle_s)
        self.session = Session(options)
        self.engine = Engine(self, self.session, Keys(), options, QueueOrder())
        self.got: list[str] = []
        loop.all.append(self)

    def turn_queue_keys(self, order: Any = None) -> tuple[list[str], tuple[str, ...]]:
        return self.queues, tuple(self.queues)

    def room(self, session: Session) -> int:
        room = session.limit(0) - len(session.held)
        return max(0, room if self.free is None else min(room, self.free))

    def look_after(self, now_s: float) -> None:
        """Nothing is ever lost here."""

    def cycle_connect(self, line: Any, kind: str) -> Connection:
        if not line.open:
            named = {"username": self.user, "password": "secret"} if self.user else {}
            line.connection = Watched(port=self.loop.port, protocol=3, socket_timeout=5, **named)
            line.connection.connect()
            self.loop.forget(line.connection._sock.fileno())
            read = self.engine.on_turn_readable if kind == "TURN" else self.engine.bell.on_readable
            self.loop.selector.register(line.connection._sock, selectors.EVENT_READ, read)
        return line.connection

    def deliver(self, claim: Claim, queue: str, claimed_at_s: float) -> None:
        self.got.append(claim.row)
        self.session.end(claim.fence, SettlementKind.OK)

    def hear(self) -> None:
        """Nobody says anything here."""

    def buried(self, one: Any) -> None:
        raise AssertionError(f"nothing fails here: {one}")


class Loop:
    """Goes round them until something is so."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.selector = selectors.DefaultSelector()
        self.all: list[Engined] = []

    def forget(self, fd: int) -> None:
        """A socket of this number that was closed."""
        with contextlib.suppress(KeyError):
            self.selector.unregister(fd)

    def until(self, condition: Callable[[], object], what: str, deadline_s: float = 10.0) -> None:
        end_s = time.monotonic() + deadline_s
        while not condition():
            assert time.monotonic() < end_s, f"not within {deadline_s:g} s: {what}"
            for key, _ in self.selector.select(0.002):
                key.data()
            for one in self.all:
                one.engine.pump()

    def rest(self, for_s: float) -> None:
        end_s = time.monotonic() + for_s
        self.until(lambda: time.monotonic() > end_s, "time")

    def stop(self) -> None:
        for one in self.all:
            one.engine.disconnect()
            os.close(one.engine._reader)
            os.close(one.engine._writer)
        self.selector.close()
