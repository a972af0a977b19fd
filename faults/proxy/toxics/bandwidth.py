"""bandwidth: `rate` KB/s (1 KB = 1000 bytes), that is `rate` bytes per ms, per connection and direction.

A chunk that takes longer than 100 ms leaves in pieces, one each 100 ms: a slow line trickles. Rate 0
is a line that stands still until the toxic is changed or removed.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from taskchaos.faults.proxy.toxics.base import TIMER_SLACK_S, Chunk, Host, Outlet, QueueStage, monotonic, register

PIECE_MS = 100


@dataclass(frozen=True, slots=True)
class BandwidthAttributes:
    rate: int = 0  # KB/s

    def __post_init__(self) -> None:
        # The real server dies of it.
        if self.rate < 0:
            raise ValueError(f"bandwidth rate must not be negative: {self.rate}")


@register("bandwidth", "BandwidthToxic")
class BandwidthToxic(QueueStage):
    Attributes = BandwidthAttributes
    capacity: ClassVar[int] = 2

    def __init__(self, name: str, attributes: Any, following: Outlet, host: Host) -> None:
        super().__init__(name, attributes, following, host)
        self._in_hand: Chunk | None = None
        self._piece_s = 0.0  # when the next piece of the chunk in hand leaves
        self._done_s = 0.0  # when its last byte leaves
        self._late_s = 0.0  # how late the chunk before left; this one is given it back

    def interrupt_head(self) -> None:
        chunk, self._in_hand = self._in_hand, None
        self._late_s = 0.0
        if chunk is not None:
            self.following.feed(chunk)

    def cancel(self) -> None:
        super().cancel()
        self._in_hand = None

    def _holds(self) -> bool:
        return self._in_hand is not None or bool(self._queue)

    def _advance(self) -> None:
        self._timer = None
        rate = self.attributes.rate
        while self._holds():
            if self._in_hand is None:
                self._begin(self._take(), rate)
            if rate == 0:
                return
            now_s = monotonic()
            splits = self._in_hand is not None and len(self._in_hand.data) > rate * PIECE_MS
            due_s = self._piece_s if splits else self._done_s
            if due_s - now_s > TIMER_SLACK_S:
                self._arm(due_s - now_s, self._advance)
                return
            if splits:
                self._hand_on_piece(rate * PIECE_MS)
            else:
                self._hand_on_rest(now_s)
        self._end_if_empty()

    def _begin(self, chunk: Chunk, rate: int) -> None:
        self._in_hand = chunk
        begin_s = monotonic() - self._late_s
        self._piece_s = begin_s + PIECE_MS / 1000
        self._done_s = begin_s + (len(chunk.data) / rate / 1000 if rate else 0.0)

    def _hand_on_piece(self, size: int) -> None:
        chunk = self._in_hand
        assert chunk is not None
        self._in_hand = Chunk(chunk.data[size:], chunk.arrived_s)
        self._piece_s += PIECE_MS / 1000
        self.following.feed(Chunk(chunk.data[:size], chunk.arrived_s))

    def _hand_on_rest(self, now_s: float) -> None:
        chunk, self._in_hand = self._in_hand, None
        assert chunk is not None
        self._late_s = now_s - self._done_s
        self.following.feed(chunk)
