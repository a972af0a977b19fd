"""latency: every chunk leaves `latency` +/- `jitter` ms after it arrived, in order.

The stage is serial, so jitter cannot reorder. The delay counts from the arrival, so it limits no bandwidth until
`capacity` chunks wait.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from taskchaos.faults.proxy.toxics.base import TIMER_SLACK_S, Chunk, Host, Outlet, QueueStage, monotonic, register


@dataclass(frozen=True, slots=True)
class LatencyAttributes:
    latency: int = 0  # ms
    jitter: int = 0  # ms


@register("latency", "LatencyToxic")
class LatencyToxic(QueueStage):
    Attributes = LatencyAttributes
    capacity: ClassVar[int] = 1024

    def __init__(self, name: str, attributes: Any, following: Outlet, host: Host) -> None:
        super().__init__(name, attributes, following, host)
        self._due_s: float | None = None  # of the chunk at the head, once it has been drawn

    def interrupt_head(self) -> None:
        if self._due_s is not None and self._queue:
            self._hand_on(monotonic())
        self._due_s = None

    def cancel(self) -> None:
        super().cancel()
        self._due_s = None

    def _advance(self) -> None:
        self._timer = None
        while self._queue:
            now_s = monotonic()
            if self._due_s is None:
                self._due_s = self._queue[0].arrived_s + self._delay_ms() / 1000
            if self._due_s - now_s > TIMER_SLACK_S:
                self._arm(self._due_s - now_s, self._advance)
                return
            self._hand_on(self._due_s)
        self._end_if_empty()

    def _hand_on(self, leaves_s: float) -> None:
        # The chunk leaves with the time at which it was due: two latency toxics add up, timer errors do not.
        chunk = self._take()
        self._due_s = None
        self.following.feed(Chunk(chunk.data, max(leaves_s, chunk.arrived_s)))

    def _delay_ms(self) -> int:
        jitter_ms = self.attributes.jitter
        delay_ms: int = self.attributes.latency
        if jitter_ms > 0:
            delay_ms += self.host.rng(self.name).randrange(-jitter_ms, jitter_ms)
        return delay_ms
