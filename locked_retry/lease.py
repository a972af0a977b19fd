"""Whether a lease is still good, asked in the process that runs the task.

Only the worker's main process talks to Redis. It writes into a piece of memory that its pool processes inherit: when
it last sent a renewal that Redis confirmed, and the fences that were lost or given up. A lease is valid until
`lease_s` after that moment (or after its own claim was sent), less a margin; both are read from a clock that all
processes of a machine share (clock.py). So nobody's wall clock matters, and a holder knows by itself when it has to
stop.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass

from celery.exceptions import Ignore

from locked_retry import clock

#: Places for fences that were lost or given up, half of which are used at most. Only what is written to takes memory.
_SLOTS = 1 << 17
_HEAD = struct.Struct("=dQQ")  # renewed_at_s, how many fences are in the table, the fence up to which all are revoked
_FENCE = struct.Struct("=Q")
_SPREAD = 0x9E3779B97F4A7C15  # Knuth's multiplicative hashing: fences are times, and alike in their low bits
#: What a lease is shortened by, for clocks that run at different speeds and for the time between check and effect.
MARGIN_SHARE = 0.01
MARGIN_LEAST_S = 0.002


class LeaseLost(Ignore):  # type: ignore[misc]
    """The task was not begun, or is ended, because its lease is over. It is offered again."""


class LeaseBoard:
    """That memory. One writer (the main process), any number of readers."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, _HEAD.size + _SLOTS * _FENCE.size)

    def renewed(self, sent_at_s: float) -> None:
        """All leases that are held and not revoked were renewed by a request sent at this (monotonic) time."""
        _, used, floor = _HEAD.unpack_from(self._page)
        _HEAD.pack_into(self._page, 0, sent_at_s, used, floor)

    def revoke(self, fence: str) -> None:
        """The lease with this fence is no longer held or renewed.

        When the table is full it begins again, and every fence up to the highest in it counts as revoked: to stop a few
        that are good is the lesser evil.
        """
        renewed_at_s, used, floor = _HEAD.unpack_from(self._page)
        number = int(fence)
        if used >= _SLOTS // 2:
            floor, used = max(floor, number, *self._fences()), 0
            _HEAD.pack_into(self._page, 0, renewed_at_s, used, floor)
            self._page[_HEAD.size :] = bytes(_SLOTS * _FENCE.size)
        place, found = self._place(number)
        if not found:
            _FENCE.pack_into(self._page, place, number)
            used += 1
        _HEAD.pack_into(self._page, 0, renewed_at_s, used, floor)

    @property
    def renewed_at_s(self) -> float:
        """When the last confirmed renewal was sent."""
        return float(_HEAD.unpack_from(self._page)[0])

    def revoked(self, fence: int) -> bool:
        """Whether the fence was revoked."""
        return self.renewed_for(fence) is None

    def renewed_for(self, fence: int) -> float | None:
        """When the last confirmed renewal was sent; None if the fence was revoked."""
        renewed_at_s, _, floor = _HEAD.unpack_from(self._page)
        return None if fence <= floor or self._place(fence)[1] else float(renewed_at_s)

    def _place(self, fence: int) -> tuple[int, bool]:
        """Where it is, or would be, and whether it is there."""
        slot = (fence * _SPREAD >> 40) % _SLOTS
        while True:
            place = _HEAD.size + slot * _FENCE.size
            (there,) = _FENCE.unpack_from(self._page, place)
            if there in (0, fence):
                return place, there == fence
            slot = (slot + 1) % _SLOTS

    def _fences(self) -> tuple[int, ...]:
        return struct.unpack_from(f"={_SLOTS}Q", self._page, _HEAD.size)


#: The board of this worker; replaced when a worker begins, before it has pool processes.
board = LeaseBoard()


def new_board(**_: object) -> None:
    """A board of this worker's own (several workers may be forked from one process)."""
    global board
    board = LeaseBoard()


@dataclass(frozen=True, slots=True)
class Lease:
    """The lease of one delivery. `claimed_at_s` is the monotonic time at which its claim was sent."""

    fence: int
    claimed_at_s: float
    lease_s: float

    @property
    def left_s(self) -> float:
        """Seconds for which it is certainly held; 0 when it may have been lost."""
        if self.lease_s == math.inf:
            return math.inf
        renewed_at_s = board.renewed_for(self.fence)
        if renewed_at_s is None:
            return 0.0
        margin_s = max(MARGIN_SHARE * self.lease_s, MARGIN_LEAST_S)
        since_s = max(self.claimed_at_s, renewed_at_s)
        return max(0.0, since_s + self.lease_s - margin_s - clock.now_s())

    def valid(self) -> bool:
        """Whether it is certainly still held."""
        return self.left_s > 0.0


#: The lease of a task that runs eagerly or outside a locked_retry worker: nobody competes.
UNLIMITED = Lease(0, math.inf, math.inf)
