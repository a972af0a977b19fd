"""slicer: cuts chunks into pieces of about `average_size` bytes, each a write of its own, `delay` us apart.

The cuts are those of the real server: halves of halves, each cut moved by up to `size_variation` bytes. It dies of an
average below 1 and of a variation above the average; here the one leaves chunks whole, and the other cuts inside the
chunk.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

from taskchaos.faults.proxy.toxics.base import TIMER_SLACK_S, Chunk, Host, Outlet, QueueStage, monotonic, register


@dataclass(frozen=True, slots=True)
class SlicerAttributes:
    average_size: int = 0  # bytes
    size_variation: int = 0  # bytes
    delay: int = 0  # us


def cuts(size: int, average: int, variation: int, rng: Random) -> Iterator[int]:
    """Where the pieces of a chunk of `size` bytes end, in order; the last is `size`."""
    variation = max(0, variation)
    parts = [(0, size)]
    while parts:
        start, end = parts.pop()
        if average < 1 or end - start - average <= variation:
            yield end
            continue
        middle = start + (end - start) // 2
        if variation > 0:
            middle += rng.randrange(-variation, variation)
        middle = min(max(middle, start + 1), end - 1)
        parts += ((middle, end), (start, middle))


@register("slicer", "SlicerToxic")
class SlicerToxic(QueueStage):
    Attributes = SlicerAttributes
    go_integer: ClassVar[str] = "int"
    capacity: ClassVar[int] = 2

    def __init__(self, name: str, attributes: Any, following: Outlet, host: Host) -> None:
        super().__init__(name, attributes, following, host)
        self._in_hand: Chunk | None = None
        self._cuts: Iterator[int] = iter(())
        self._from = 0  # how much of the chunk in hand has left
        self._due_s = 0.0  # when the next piece may leave

    def interrupt_head(self) -> None:
        chunk, self._in_hand = self._in_hand, None
        self._due_s = 0.0
        if chunk is not None:
            self.following.feed(Chunk(chunk.data[self._from :], chunk.arrived_s))

    def cancel(self) -> None:
        super().cancel()
        self._in_hand = None

    def _holds(self) -> bool:
        # The delay after the last piece counts: the close comes behind it.
        return self._in_hand is not None or bool(self._queue) or self._timer is not None

    def _advance(self) -> None:
        self._timer = None
        now_s = monotonic()
        if self._due_s - now_s <= TIMER_SLACK_S and (self._in_hand is not None or self._queue):
            self._due_s = max(self._due_s, now_s - TIMER_SLACK_S) + max(0, self.attributes.delay) / 1_000_000
            self._hand_on_piece()
        if self._in_hand is not None or self._queue or self._due_s - now_s > TIMER_SLACK_S:
            # One piece in each turn of the event loop: it would join writes of the same turn.
            self._arm(self._due_s - now_s if self._due_s - now_s > TIMER_SLACK_S else 0.0, self._advance)
        else:
            self._end_if_empty()

    def _hand_on_piece(self) -> None:
        if self._in_hand is None:
            self._begin(self._take())
        chunk = self._in_hand
        assert chunk is not None
        start, self._from = self._from, next(self._cuts)
        if self._from == len(chunk.data):
            self._in_hand = None
        self.following.feed(Chunk(chunk.data[start : self._from], chunk.arrived_s))

    def _begin(self, chunk: Chunk) -> None:
        settings = self.attributes
        self._in_hand = chunk
        self._from = 0
        rng = self.host.rng(self.name)
        self._cuts = cuts(len(chunk.data), settings.average_size, settings.size_variation, rng)
