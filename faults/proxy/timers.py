"""What a proxy is to do later: a toxic that begins or ends, a proxy that comes back."""

import asyncio
from collections.abc import Callable


class Timers:
    """One timer for each name; a new one replaces it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def at(self, name: str, delay_ms: int, action: Callable[[], None]) -> None:
        """Call `action` in so many ms, unless it is cancelled."""
        self.cancel(name)
        self._timers[name] = self._loop.call_later(delay_ms / 1000, self._run, name, action)

    def cancel(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def clear(self) -> None:
        for name in list(self._timers):
            self.cancel(name)

    def _run(self, name: str, action: Callable[[], None]) -> None:
        del self._timers[name]
        action()
