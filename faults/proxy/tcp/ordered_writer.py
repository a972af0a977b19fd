"""One direction of a followed connection, in front of the toxics: bytes pass in order, or wait behind a barrier.

Everything that a rule does to bytes is one of four things: write some, leave some out, put a barrier that opens later,
or do something once all that came before has passed. The order of what is written never changes.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

_WAITING_BYTES = 256 * 1024


class Passage(Protocol):
    """The link that a writer stands in."""

    def pass_on(self, data: bytes) -> None:
        """To the toxics, then to the socket."""

    def finish(self) -> None:
        """The source has closed, and nothing follows."""

    def flow_changed(self) -> None: ...


class Barrier:
    """A place in the order that nothing passes before it is opened. `final`: its end is the end of the stream."""

    __slots__ = ("final", "opened")

    def __init__(self, *, final: bool = False) -> None:
        self.final = final
        self.opened = False


class OrderedWriter:
    """`feed` gets what the source reads; who follows the connection decides what of it is written, and when."""

    def __init__(self, passage: Passage, feed: Callable[[bytes], None], before_end: Callable[[], None]) -> None:
        self.feed = feed
        self.muted = False  # from now on, what is written is dropped
        self.paused = False  # the source is not to be read
        self.ahead = 0  # so many of the bytes that are written next have been passed on already
        self._passage = passage
        self._before_end = before_end
        self._queue: deque[bytes | Barrier | Callable[[], None]] = deque()
        self._waiting_bytes = 0

    @property
    def full(self) -> bool:
        """Whether the source should not be read for now."""
        return self.paused or self._waiting_bytes > _WAITING_BYTES

    @property
    def blocked(self) -> bool:
        return bool(self._queue)

    def write_ahead(self, data: bytes) -> None:
        """Pass these on at once, and nothing when they are written in their turn. Only while nothing can wait."""
        self._passage.pass_on(data)
        self.ahead += len(data)

    def write(self, data: bytes) -> None:
        if self.ahead:
            passed = min(self.ahead, len(data))
            self.ahead -= passed
            data = data[passed:]
            if not data:
                return
        if self.muted:
            return
        if not self._queue:
            self._passage.pass_on(data)
            return
        self._queue.append(data)
        was_full = self.full
        self._waiting_bytes += len(data)
        if self.full is not was_full:
            self._passage.flow_changed()

    def block(self, *, final: bool = False) -> Barrier:
        """Let nothing pass that is written from now on until the barrier is opened."""
        barrier = Barrier(final=final)
        self._queue.append(barrier)
        return barrier

    def open(self, barrier: Barrier) -> None:
        barrier.opened = True
        self._drain()

    def open_all(self) -> None:
        """Open every barrier."""
        for item in list(self._queue):
            if isinstance(item, Barrier):
                item.opened = True
        self._drain()

    def then(self, action: Callable[[], None]) -> None:
        """Do this when all that was written before has passed."""
        if self._queue:
            self._queue.append(action)
        else:
            action()

    def pause(self, paused: bool) -> None:
        """Stop or resume reading the source."""
        self.paused = paused
        self._passage.flow_changed()

    def end(self) -> None:
        """The source has closed; that news takes its turn."""
        self._before_end()
        if any(isinstance(item, Barrier) and item.final for item in self._queue):
            self.drop()
        self.then(self._passage.finish)

    def drop(self) -> None:
        """Forget what waits."""
        self._queue.clear()
        self._waiting_bytes = 0

    def cancel(self) -> None:
        """The connection is gone."""
        self.drop()
        self.muted = True

    def _drain(self) -> None:
        was_full = self.full
        queue = self._queue
        while queue:
            item = queue[0]
            if isinstance(item, Barrier):
                if not item.opened:
                    break
                queue.popleft()
            elif isinstance(item, bytes):
                queue.popleft()
                self._waiting_bytes -= len(item)
                self._passage.pass_on(item)
            else:
                queue.popleft()
                item()
        if self.full is not was_full:
            self._passage.flow_changed()
