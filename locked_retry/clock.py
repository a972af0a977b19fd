"""The clock by which leases are kept: it never steps, and goes on while the machine sleeps.

CLOCK_MONOTONIC stands still in a suspended machine. A lease that ended meanwhile would be taken for a good one.
"""

from __future__ import annotations

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now_s() -> float:
    """Seconds, the same for all processes of a machine."""
    return time.clock_gettime(_CLOCK)
