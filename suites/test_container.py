"""Containers fail: a worker loses its network or its memory, is restarted by a deployment; Redis's disk is full."""

from __future__ import annotations

import pytest

from faults.schedule import PlannedFault, Schedule
from harness.profile import Profile
from harness.suite import Chaos
from suites.loads import busy, idle

pytestmark = [pytest.mark.chaos(cost_s=9), pytest.mark.depth("default")]

#: Large enough for the append-only file of a nightly case, and full in a moment.
REDIS_DISK_MB = 64


def _half(kind: str, target: str, profile: Profile) -> Schedule:
    """One fault that holds for half of the fault phase, in its middle."""
    quarter_s = profile.fault_s / 4
    return Schedule.of(PlannedFault(kind, target, round(quarter_s, 3), hold_s=round(2 * quarter_s, 3)))


def _each(kind: str, profile: Profile, hold_s: float) -> Schedule:
    """The two workers one after the other, each once."""
    half_s = profile.fault_s / 2
    return Schedule.of(
        PlannedFault(kind, "worker-1", 0.1, hold_s), PlannedFault(kind, "worker-2", round(half_s, 3), hold_s)
    )


def test_cut(chaos: Chaos, profile: Profile) -> None:
    """A worker's container is in no network for a while, and then in it again."""
    idle(chaos, profile, _half("disconnect", "worker-1", profile))


def test_restart(chaos: Chaos, profile: Profile) -> None:
    """A rolling deployment: SIGTERM to one worker after the other, SIGKILL a second later to what still runs."""
    busy(chaos, profile, _each("restart", profile, 0.1))


def test_out_of_memory(chaos: Chaos, profile: Profile) -> None:
    """Each worker's container runs out of memory once, and the kernel kills a pool child."""
    busy(chaos, profile, _each("out_of_memory", profile, round(profile.fault_s / 2 - 0.1, 3)))


def test_disk_full(chaos: Chaos, profile: Profile) -> None:
    """Redis cannot write: submits fail or are unknown meanwhile, and nothing acknowledged may be lost."""
    idle(chaos, profile, _half("disk_full", "redis", profile), redis_disk_mb=REDIS_DISK_MB)
