"""The median of ratios that were taken in pairs, and its exact interval: order statistics, no assumption on noise."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """`confidence` is that of the interval: at least 95 % from 6 values on, less with fewer."""

    median: float
    low: float
    high: float
    confidence: float

    @classmethod
    def of(cls, values: list[float]) -> Estimate:
        """The narrowest symmetric interval with at least 95 %; from smallest to largest if none has that."""
        ordered = sorted(values)
        skip = outside(len(ordered))
        return cls(statistics.median(ordered), ordered[skip], ordered[-1 - skip], confidence(len(ordered), skip))

    def __str__(self) -> str:
        return f"{self.median:5.2f} [{self.low:.2f}, {self.high:.2f}]"


def confidence(count: int, skip: int) -> float:
    """That the median lies between the values left when `skip` of `count` are left out on each side."""
    return 1.0 - 2 * sum(math.comb(count, k) for k in range(skip + 1)) / float(2**count)


def outside(count: int) -> int:
    """How many of `count` ordered values lie outside the interval of their median, on each side."""
    skip = 0
    while confidence(count, skip + 1) >= CONFIDENCE:
        skip += 1
    return skip
