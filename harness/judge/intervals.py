"""How sure a share, or a ratio of two rates, is: 95 % intervals."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

#: The normal quantile of a 95 % interval.
_Z = 1.959963984540054
#: Fewer windows than these say nothing of how much they vary.
FEWEST_WINDOWS = 8
_RESAMPLES = 1000
_TAIL = 0.025


@dataclass(frozen=True, slots=True)
class Interval:
    """From low to high, both included."""

    low: float
    high: float


def wilson(hits: int, trials: int) -> Interval | None:
    """The 95 % interval of a chance of which `hits` of `trials` were seen; None without a trial.

    Wilson's score interval (E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22, 1927), which stays within 0 and 1 and holds for few trials too
    (Brown, Cai and DasGupta, "Interval estimation for a binomial proportion", Statistical Science 16, 2001).
    """
    if not trials:
        return None
    share, z2 = hits / trials, _Z * _Z
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials))
    low = 0.0 if hits == 0 else max(0.0, middle - half)
    return Interval(low, 1.0 if hits == trials else min(1.0, middle + half))


def ratio_of_means(after: Sequence[float], before: Sequence[float]) -> Interval | None:
    """The 95 % interval of mean(after) / mean(before), both series of windows; None where it cannot be told.

    A percentile bootstrap over blocks of neighbouring windows, which resemble each other (moving blocks, the cube root
    of their number long: Hall, Horowitz and Jing, "On blocking rules for the bootstrap with dependent data", Biometrika
    82, 1995), widened as Student's t is for so few blocks; `tests/harness/judge/test_intervals.py` says how often it
    holds. It says how steady these two series are, and nothing of how other runs would differ from them. The same
    series give the same interval.
    """
    if min(len(after), len(before)) < FEWEST_WINDOWS:
        return None
    dice = random.Random(0)
    above, below = _means(after, dice), _means(before, dice)
    if min(below) <= 0 or sum(before) <= 0:
        return None
    ratios = sorted(a / b for a, b in zip(above, below, strict=True))
    low, high = ratios[int(_TAIL * _RESAMPLES)], ratios[math.ceil((1 - _TAIL) * _RESAMPLES) - 1]
    middle = (sum(after) / len(after)) / (sum(before) / len(before))
    wider = _wider(min(len(series) // _width(series) for series in (after, before)))
    return Interval(max(0.0, middle - wider * max(0.0, middle - low)), middle + wider * max(0.0, high - middle))


def _width(series: Sequence[float]) -> int:
    return max(1, round(math.cbrt(len(series))))


def _means(series: Sequence[float], dice: random.Random) -> list[float]:
    """Means of as many series as there are resamples, each of blocks of this one."""
    width = _width(series)
    blocks = [sum(series[start : start + width]) / width for start in range(len(series) - width + 1)]
    count = math.ceil(len(series) / width)
    return [sum(dice.choices(blocks, k=count)) / count for _ in range(_RESAMPLES)]


def _wider(blocks: int) -> float:
    """How much wider an interval has to be because its spread was guessed from so few blocks.

    Student's quantile over the normal one (Abramowitz and Stegun, 26.7.5), and the bias of the variance.
    """
    freedom, z = blocks - 1, _Z
    t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    return t / z * math.sqrt(blocks / freedom)
