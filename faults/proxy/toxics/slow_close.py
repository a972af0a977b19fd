"""slow_close: data passes at once, the close waits `delay` ms after its source has closed.

An update starts the wait again, removal ends it.
"""

from dataclasses import dataclass
from typing import Any

from taskchaos.faults.proxy.toxics.base import Chunk, Host, Outlet, Stage, register


@dataclass(frozen=True, slots=True)
class SlowCloseAttributes:
    delay: int = 0  # ms


@register("slow_close", "SlowCloseToxic")
class SlowCloseToxic(Stage):
    Attributes = SlowCloseAttributes

    def __init__(self, name: str, attributes: Any, following: Outlet, host: Host) -> None:
        super().__init__(name, attributes, following, host)
        self._ended = False

    def feed(self, chunk: Chunk) -> None:
        if not self._ended:
            self.following.feed(chunk)

    def end(self) -> None:
        if not self._ended:
            self._ended = True
            self._wait()

    def reconfigure(self, attributes: Any) -> None:
        super().reconfigure(attributes)
        if self._ended:
            self._wait()

    def release(self) -> None:
        self._disarm()
        if self._ended:
            self.following.end()

    def _wait(self) -> None:
        if self.attributes.delay <= 0:
            self._disarm()
            self.following.end()
        else:
            # Looked up when it fires: what follows may be another stage by then.
            self._arm(self.attributes.delay / 1000, lambda: self.following.end())
