"""How a connection is followed that has been open, and unread, for a while.

Its requests are stopped until the server has been silent for QUIET_S: what was outstanding has been answered by then,
and what comes next from the client begins a request. If it does not, the stop fell into the middle of one; then those
bytes pass and it is tried again. A blocking command that is outstanding meanwhile is answered later, out of turn, and
that reply passes unpaired.
"""

import asyncio
from collections.abc import Callable

from taskchaos.faults.proxy.tcp.ordered_writer import OrderedWriter

QUIET_S = 0.025
_TRIES = 40


class Resync:
    """`on_ready` gets what the client sent in the meantime."""

    def __init__(
        self, up: OrderedWriter, down: OrderedWriter, loop: asyncio.AbstractEventLoop, on_ready: Callable[[bytes], None]
    ) -> None:
        self.tries_left = _TRIES
        self._up = up
        self._down = down
        self._loop = loop
        self._on_ready = on_ready
        self._kept: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self.again()

    def again(self) -> None:
        """Wait for a quiet moment."""
        self.tries_left -= 1
        self._up.feed = self._kept.append
        self._down.feed = self._pass
        self._up.paused = True  # the link is told by whoever sets the writers in force
        self._arm()

    def stop(self) -> None:
        """Give up: what the client sent passes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._up.write(self._take())
            self._up.pause(False)

    def _pass(self, data: bytes) -> None:
        self._arm()
        self._down.write(data)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(QUIET_S, self._ready)

    def _ready(self) -> None:
        self._timer = None
        self._up.pause(False)
        self._on_ready(self._take())

    def _take(self) -> bytes:
        kept = b"".join(self._kept)
        self._kept.clear()
        return kept
