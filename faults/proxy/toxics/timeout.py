"""timeout: drops all data of its direction, and closes after `timeout` ms in which there was none to drop.

TimeoutToxic 0 never closes: a black hole. Removal closes, because bytes are missing and the stream cannot go on.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from taskchaos.faults.proxy.toxics.base import TIMER_SLACK_S, Chunk, Host, Outlet, Stage, monotonic, register


@dataclass(frozen=True, slots=True)
class TimeoutAttributes:
    timeout: int = 0  # ms


@register("timeout", "TimeoutToxic")
class TimeoutToxic(Stage):
    Attributes = TimeoutAttributes
    closes_on_removal: ClassVar[bool] = True

    def __init__(self, name: str, attributes: Any, following: Outlet, host: Host) -> None:
        super().__init__(name, attributes, following, host)
        self._idle_since_s = monotonic()
        self._watch()

    def feed(self, chunk: Chunk) -> None:
        self._idle_since_s = monotonic()  # the timer looks at it when it fires; re-arming per chunk would be waste

    def reconfigure(self, attributes: Any) -> None:
        super().reconfigure(attributes)
        self._idle_since_s = monotonic()
        self._watch()

    def release(self) -> None:
        self._disarm()

    def end(self) -> None:
        self._disarm()
        self.following.end()

    def _watch(self) -> None:
        self._disarm()
        if self.attributes.timeout <= 0:
            return
        left_s = self._idle_since_s + self.attributes.timeout / 1000 - monotonic()
        if left_s > TIMER_SLACK_S:
            self._arm(left_s, self._watch)
        else:
            self.following.end()
