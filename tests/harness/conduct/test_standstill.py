"""When the machine slept under a case, or had its clock set, the case proves nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from taskchaos.harness.conduct.standstill import (
    EVERY_S,
    LARGEST_STEP_S,
    LONGEST_GAP_S,
    Clocks,
    Standstill,
    StandstillError,
    disturbance,
)


@pytest.mark.parametrize(
    ("awake_s", "wall_s", "said"),
    [
        (EVERY_S, EVERY_S, ""),
        (LONGEST_GAP_S, LONGEST_GAP_S, ""),
        (LONGEST_GAP_S + 0.1, LONGEST_GAP_S + 0.1, "everything stood still for 1.6 s"),
        (EVERY_S, EVERY_S + LARGEST_STEP_S + 0.1, "the machine's clock was set 0.6 s forward"),
        (EVERY_S, EVERY_S - LARGEST_STEP_S - 0.1, "the machine's clock was set 0.6 s back"),
        (EVERY_S, EVERY_S + LARGEST_STEP_S - 0.01, ""),
    ],
)
def test_a_gap_between_two_looks_is_told_from_a_clock_that_was_set(awake_s: float, wall_s: float, said: str) -> None:
    found = disturbance(Clocks(1000.0, 5000.0), Clocks(1000.0 + awake_s, 5000.0 + wall_s))
    assert found.startswith(said) and bool(found) == bool(said)


class Script:
    """Clocks as they were read, one after the other; then the last ones."""

    def __init__(self, *reads: tuple[float, float]) -> None:
        self.read_all = threading.Event()
        self._left = len(reads)
        self._reads: Iterator[tuple[float, float]] = iter(reads)
        self._last = Clocks(*reads[-1])

    def __call__(self) -> Clocks:
        found = next(self._reads, None)
        if found is None:
            return self._last
        self._left -= 1
        if not self._left:
            self.read_all.set()
        return Clocks(*found)


def _meanwhile(script: Script, error: type[BaseException] | None = None) -> None:
    """Something that is watched for long enough, and ends like this."""
    with Standstill(script):
        assert script.read_all.wait(10.0)
        if error is not None:
            raise error


STOOD_STILL = ((0.0, 0.0), (9.0, 9.0))


def test_a_disturbance_replaces_whatever_error_it_caused() -> None:
    with pytest.raises(StandstillError, match=r"stood still for 9\.0 s") as raised:
        _meanwhile(Script(*STOOD_STILL), ValueError)
    assert isinstance(raised.value.__cause__, ValueError)


def test_a_disturbance_right_before_the_end_is_seen() -> None:
    with pytest.raises(StandstillError), Standstill(Script(*STOOD_STILL)):
        pass


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_without_a_disturbance_errors_pass_unchanged(error: type[BaseException]) -> None:
    with pytest.raises(error):
        _meanwhile(Script((0.0, 0.0), (0.1, 0.1)), error)


def test_the_users_wish_to_end_comes_first() -> None:
    with pytest.raises(KeyboardInterrupt):
        _meanwhile(Script(*STOOD_STILL), KeyboardInterrupt)
