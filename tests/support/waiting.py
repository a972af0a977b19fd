"""How tests wait: for a condition, with a deadline, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], what: str | Callable[[], str] = "the condition", deadline_s: float = 30.0) -> T:
    """Poll until the condition's value is true, and return it. Fails the test, saying what, when time runs out."""
    end_s = time.monotonic() + deadline_s
    while not (found := condition()):
        assert time.monotonic() < end_s, f"not within {deadline_s:g} s: {what if isinstance(what, str) else what()}"
        time.sleep(0.005)
    return found
