"""How long to wait before the next attempt: exponential with full jitter, decorrelated, fixed.

Every law is a frozen value with one method, `delay_s`. The delay is drawn once, by the process that asks for the retry,
and sent as a number: a repeat of the request after a lost reply can therefore not draw again.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from locked_retry.limits import LONGEST_DELAY_S, Limits

#: Exponents beyond this only meet the cap; 2.0 ** 1024 would overflow.
_LARGEST_EXPONENT = 64


@runtime_checkable
class Backoff(Protocol):
    """A law of waiting. `retries` counts from 0; `previous_s` is the wait before this attempt (0 on the first)."""

    def delay_s(self, retries: int, previous_s: float, rng: random.Random) -> float:
        """Draw the wait before the next attempt, in seconds."""


@dataclass(frozen=True, slots=True)
class Exponential:
    """`U(floor, min(cap, base * 2^n))`: full jitter, which puts the least total load on what failed (AWS, 2015).

    `jitter=False` waits the whole `min(cap, base * 2^n)`. Everything may be below one second.
    """

    base_s: float = 1.0
    cap_s: float = 600.0
    floor_s: float = 0.0
    jitter: bool = True

    def __post_init__(self) -> None:
        for name in ("base_s", "cap_s", "floor_s"):
            Limits(0, LONGEST_DELAY_S).check(name, getattr(self, name))
        if not 0 <= self.floor_s <= self.base_s <= self.cap_s:
            raise ValueError(f"need 0 <= floor_s <= base_s <= cap_s, got {self}")

    def ceiling_s(self, retries: int) -> float:
        """The longest wait after this many retries."""
        return min(self.cap_s, self.base_s * 2.0 ** min(max(retries, 0), _LARGEST_EXPONENT))

    def delay_s(self, retries: int, previous_s: float, rng: random.Random) -> float:
        ceiling_s = self.ceiling_s(retries)
        return rng.uniform(self.floor_s, ceiling_s) if self.jitter else ceiling_s


@dataclass(frozen=True, slots=True)
class Decorrelated:
    """`min(cap, U(base, 3 * previous))`: spreads like full jitter, never waits less than `base`."""

    base_s: float = 1.0
    cap_s: float = 600.0

    def __post_init__(self) -> None:
        for name in ("base_s", "cap_s"):
            Limits(0, LONGEST_DELAY_S).check(name, getattr(self, name))
        if not 0 <= self.base_s <= self.cap_s:
            raise ValueError(f"need 0 <= base_s <= cap_s, got {self}")

    def delay_s(self, retries: int, previous_s: float, rng: random.Random) -> float:
        return min(self.cap_s, rng.uniform(self.base_s, 3.0 * max(previous_s, self.base_s)))


@dataclass(frozen=True, slots=True)
class Fixed:
    """Always the same wait. A herd that failed together comes back together: for single tasks only."""

    wait_s: float = 1.0

    def __post_init__(self) -> None:
        Limits(0, LONGEST_DELAY_S).check("wait_s", self.wait_s)

    def delay_s(self, retries: int, previous_s: float, rng: random.Random) -> float:
        return self.wait_s
