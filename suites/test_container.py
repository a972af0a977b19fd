"""Containers fail: a worker loses its network or its memory, is restarted by a deployment."""

from __future__ import annotations

import pytest

from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.profile import Profile
from taskchaos.harness.pytest.chaos import Chaos
from taskchaos.suites.loads import busy, idle, in_turn, past_lease

pytestmark = [pytest.mark.chaos(cost_s=9), pytest.mark.chaos_depth("default")]


def _half(kind: str, target: str, profile: Profile) -> Schedule:
    """One fault that holds for half of the fault phase, in its middle."""
    quarter_s = profile.fault_s / 4
    return Schedule.of(PlannedFault(kind, target, round(quarter_s, 3), hold_s=round(2 * quarter_s, 3)))


def _each(kind: str, profile: Profile, hold_s: float, **parameters: int) -> Schedule:
    """The two workers one after the other, each once."""
    return in_turn(kind, (0.1, profile.fault_s / 2), hold_s, **parameters)


def test_cut(chaos: Chaos) -> None:
    """A worker's container is in no network for a while, and then in it again."""
    idle(chaos, _half("disconnect", "worker-1", chaos.profile))


def test_cut_past_lease(chaos: Chaos) -> None:
    """A busy worker's container is in no network for longer than the visibility timeout or lease, and then again."""
    past_lease(chaos, "disconnect")


def test_restart(chaos: Chaos) -> None:
    """A rolling deployment: SIGTERM to one worker after the other, with the time that it takes to end by itself."""
    busy(chaos, _each("restart", chaos.profile, 0.1, grace_s=10))


def test_restart_killed(chaos: Chaos) -> None:
    """A deployment in a hurry: SIGKILL a second after SIGTERM, which Celery's warm shutdown does not make."""
    busy(chaos, _each("restart", chaos.profile, 0.1, grace_s=1))


def test_out_of_memory(chaos: Chaos) -> None:
    """Each worker's container runs out of memory once, and the kernel kills a pool child."""
    busy(chaos, _each("out_of_memory", chaos.profile, chaos.profile.fault_s / 2 - 0.1))
