"""The one clock of a run: CLOCK_MONOTONIC, the same for all processes of a host."""

from __future__ import annotations

import time

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


def now_ns() -> int:
    """Nanoseconds on CLOCK_MONOTONIC. Comparable between processes of one host, never between hosts."""
    return time.monotonic_ns()


def seconds(duration_ns: int) -> float:
    """A duration in seconds."""
    return duration_ns / NS_PER_S
