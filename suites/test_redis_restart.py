"""Redis itself fails: it is killed, shut down, stopped, or comes back without its data."""

from __future__ import annotations

import pytest

from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.case.stack_options import Fsync
from taskchaos.harness.pytest.chaos import Chaos
from taskchaos.suites.loads import PAST_LEASE_S, busy

pytestmark = [pytest.mark.chaos(cost_s=10), pytest.mark.chaos_depth("default")]

REDIS = "redis"
#: How long it is away: longer than a client waits for an answer, shorter than a lease.
DOWN_S = 1.5
#: About as long as the visibility timeout or lease of 3 s: tasks end, and cannot say so before it is over.
ABOUT_A_LEASE_S = 2.9


def _once(
    chaos: Chaos, kind: str, hold_s: float = DOWN_S, *, fsync: Fsync = Fsync.EVERYSEC, keep_results: bool = False
) -> None:
    """Redis fails once while workers are busy and producers send."""
    schedule = Schedule.of(PlannedFault(kind, REDIS, 0.3, hold_s))
    busy(chaos, schedule, chaos.profile.lasting(hold_s + 1.0), fsync=fsync, keep_results=keep_results)


@pytest.mark.parametrize("fsync", [Fsync.ALWAYS, Fsync.EVERYSEC])
def test_kill(chaos: Chaos, fsync: Fsync) -> None:
    """SIGKILL. The kernel has what Redis had written: nothing may be missing, whenever it writes through."""
    _once(chaos, "redis_kill", fsync=fsync)


def test_kill_unlogged(chaos: Chaos) -> None:
    """SIGKILL to a Redis without an append-only file: what it held is gone, and everybody goes on with what comes."""
    _once(chaos, "redis_empty", fsync=Fsync.OFF)


@pytest.mark.parametrize("fsync", [Fsync.ALWAYS, Fsync.EVERYSEC])
def test_power_loss(chaos: Chaos, fsync: Fsync) -> None:
    """What was not written through is gone: nothing that was acknowledged, or what was in the last two seconds."""
    lost = PlannedFault("redis_power_loss", REDIS, 0.7, DOWN_S)
    busy(chaos, Schedule.of(lost), chaos.profile.lasting(0.7 + DOWN_S + 1.0), fsync=fsync, volatile_disk=True)


@pytest.mark.chaos_depth("nightly")
@pytest.mark.parametrize("fsync", [Fsync.ALWAYS, Fsync.EVERYSEC])
def test_power_losses(chaos: Chaos, fsync: Fsync) -> None:
    """One after the other: at any moment, in the middle of a write, at a sync."""
    hows: list[dict[str, int | str]] = [{}, {"lose": "torn", "nth": 2}, {"nth": 1}, {}, {"lose": "torn", "nth": 1}]
    every_s = 2 * DOWN_S
    lost = [PlannedFault("redis_power_loss", REDIS, 0.7 + n * every_s, DOWN_S, how) for n, how in enumerate(hows)]
    busy(chaos, Schedule.of(*lost), chaos.profile.lasting(len(lost) * every_s + 2.0), fsync=fsync, volatile_disk=True)


def test_restart(chaos: Chaos) -> None:
    """A deployment of Redis: SIGTERM, and a start."""
    _once(chaos, "redis_restart")


def test_pause(chaos: Chaos) -> None:
    """It stands still for a while, shorter than the visibility timeout or lease."""
    _once(chaos, "redis_pause")


def test_pause_past_lease(chaos: Chaos) -> None:
    """It stands still for longer than the visibility timeout or lease: when it goes on, all have ended at once."""
    _once(chaos, "redis_pause", PAST_LEASE_S)


def test_pause_keeps_results(chaos: Chaos) -> None:
    """It stands still for about as long as a lease: tasks end whose results have to wait for longer."""
    _once(chaos, "redis_pause", ABOUT_A_LEASE_S, keep_results=True)


def test_empty(chaos: Chaos) -> None:
    """A new instance without data takes the place of the old one."""
    _once(chaos, "redis_empty")
