"""The law of waiting that a subject claims: how long after a failed attempt the next one may begin.

A law is a distribution, and the checker compares the observed waits with it. So what is needed of it is the chance that
a wait is so short, not a wait drawn from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import floor
from typing import Annotated

from taskchaos.faults.bounds import Member, Real, check

#: Exponents beyond this only meet the cap.
_LARGEST_EXPONENT = 64
#: No wait is longer than a year.
WAIT = Real(0, 365 * 86_400.0)
#: Seconds that are equal but for rounding.
_ROUNDING_S = 1e-9


class LawKind(StrEnum):
    """How the longest wait goes on: doubled with each retry, always the same, or three times the last wait."""

    EXPONENTIAL = "exponential"
    FIXED = "fixed"
    DECORRELATED = "decorrelated"


class JitterKind(StrEnum):
    """Which part of the longest wait is drawn: none of it, all of it, or its second half."""

    NONE = "none"
    FULL = "full"
    EQUAL = "equal"


@dataclass(frozen=True, slots=True)
class BackoffLaw:
    """How long a subject claims to wait. Times in seconds; retries count from 0.

    EXPONENTIAL: the longest wait is `min(cap, base * 2^retries)`, FIXED: `min(cap, base)`, of which `jitter` says what
    is drawn, uniformly, and never less than `floor_s`. DECORRELATED: `min(cap, U(base, 3 * previous wait))`, whatever
    `jitter` says. grain_s: waits are whole multiples of it (Celery's retry_backoff: 1 s); 0: they are not.
    """

    kind: Annotated[LawKind, Member(LawKind)] = LawKind.EXPONENTIAL
    base_s: Annotated[float, WAIT] = 1.0
    cap_s: Annotated[float, WAIT] = 600.0
    floor_s: Annotated[float, WAIT] = 0.0
    jitter: Annotated[JitterKind, Member(JitterKind)] = JitterKind.FULL
    grain_s: Annotated[float, WAIT] = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError for a law that cannot be kept."""
        check(self, "backoff: ")
        if not self.floor_s <= self.base_s <= self.cap_s:
            raise ValueError(f"backoff: need floor_s <= base_s <= cap_s, got {self}")

    def between_s(self, retries: int, previous_s: float = 0.0) -> tuple[float, float]:
        """The shortest and the longest wait after so many retries. previous_s: the wait before the failed attempt."""
        low, high = self._drawn(retries, previous_s)
        return min(low, self.cap_s), min(high, self.cap_s)

    def longest_s(self, attempts: int) -> float:
        """The longest of all waits between so many attempts."""
        if self.kind is LawKind.DECORRELATED:
            return min(self.cap_s, self.base_s * 3.0 ** min(max(attempts - 1, 0), _LARGEST_EXPONENT))
        return max((self.between_s(n)[1] for n in range(min(attempts - 1, _LARGEST_EXPONENT))), default=0.0)

    def share_until(self, wait_s: float, retries: int, previous_s: float = 0.0) -> float:
        """The chance that a wait is no longer than this."""
        return self._share(wait_s + _ROUNDING_S, retries, previous_s)

    def share_below(self, wait_s: float, retries: int, previous_s: float = 0.0) -> float:
        """The chance that a wait is shorter than this."""
        return self._share(wait_s - _ROUNDING_S, retries, previous_s)

    def _drawn(self, retries: int, previous_s: float) -> tuple[float, float]:
        """Between which times a wait is drawn, before the cap of a decorrelated one."""
        if self.kind is LawKind.DECORRELATED:
            return self.base_s, 3.0 * max(previous_s, self.base_s)
        exponent = min(max(retries, 0), _LARGEST_EXPONENT) if self.kind is LawKind.EXPONENTIAL else 0
        high = min(self.cap_s, self.base_s * 2.0**exponent)
        low = {JitterKind.NONE: high, JitterKind.FULL: 0.0, JitterKind.EQUAL: high / 2}[self.jitter]
        return max(low, self.floor_s), high

    def _share(self, wait_s: float, retries: int, previous_s: float) -> float:
        low, high = self._drawn(retries, previous_s)
        if wait_s >= min(high, self.cap_s):
            return 1.0  # what is drawn beyond the cap is the cap
        if wait_s < low:
            return 0.0
        if self.grain_s:
            first, last = round(low / self.grain_s), floor(high / self.grain_s + _ROUNDING_S)
            return min(1.0, (floor(wait_s / self.grain_s) - first + 1) / (last - first + 1))
        return (wait_s - low) / (high - low)

    def __str__(self) -> str:
        words = f"{self.kind.value}, {self.base_s:g} s up to {self.cap_s:g} s"
        spread = "" if self.kind is LawKind.DECORRELATED else f", {self.jitter.value} jitter"
        return words + spread + (f", in steps of {self.grain_s:g} s" if self.grain_s else "")
