"""Containers fail: a worker loses its network or its memory, is restarted by a deployment; Redis's disk is full."""

from __future__ import annotations

import pytest

from faults.schedule import PlannedFault, Schedule
from harness.profile import Profile
from harness.suite import Chaos
from suites.loads import busy, idle, in_turn, past_lease

pytestmark = [pytest.mark.chaos(cost_s=9), pytest.mark.depth("default")]

#: Large enough for the append-only file of a nightly case, and full in a moment.
REDIS_DISK_MB = 64


def _half(kind: str, target: str, profile: Profile) -> Schedule:
    """One fault that holds for half of the fault phase, in its middle."""
    quarter_s = profile.fault_s / 4
    return Schedule.of(PlannedFault(kind, target, round(quarter_s, 3), hold_s=round(2 * quarter_s, 3)))


def _each(kind: str, profile: Profile, hold_s: float, **parameters: int) -> Schedule:
    """The two workers one after the other, each once."""
    return in_turn(kind, (0.1, profile.fault_s / 2), hold_s, **parameters)


def test_cut(chaos: Chaos, profile: Profile) -> None:
    """A worker's container is in no network for a while, and then in it again."""
    idle(chaos, profile, _half("disconnect", "worker-1", profile))


def test_cut_past_lease(chaos: Chaos, profile: Profile) -> None:
    """A busy worker's container is in no network for longer than the visibility time-out or lease, and then again."""
    past_lease(chaos, profile, "disconnect")


def test_restart(chaos: Chaos, profile: Profile) -> None:
    """A rolling deployment: SIGTERM to one worker after the other, with the time that it takes to end by itself."""
    busy(chaos, profile, _each("restart", profile, 0.1, grace_s=10))


def test_restart_killed(chaos: Chaos, profile: Profile) -> None:
    """A deployment in a hurry: SIGKILL a second after SIGTERM, which Celery's warm shutdown does not make."""
    busy(chaos, profile, _each("restart", profile, 0.1, grace_s=1))


def test_out_of_memory(chaos: Chaos, profile: Profile) -> None:
    """Each worker's container runs out of memory once, and the kernel kills a pool child."""
    busy(chaos, profile, _each("out_of_memory", profile, profile.fault_s / 2 - 0.1))


def test_disk_full(chaos: Chaos, profile: Profile) -> None:
    """Redis cannot write: submits fail or are unknown meanwhile, and nothing acknowledged may be lost."""
    idle(chaos, profile, _half("disk_full", "redis", profile), redis_disk_mb=REDIS_DISK_MB)
