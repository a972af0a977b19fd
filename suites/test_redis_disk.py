"""The disk of Redis fails: it is full, a sync fails, each sync takes long."""

from __future__ import annotations

import pytest

from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.case.stack_options import Fsync
from taskchaos.harness.pytest.chaos import Chaos
from taskchaos.suites.loads import busy

pytestmark = [pytest.mark.chaos(cost_s=10), pytest.mark.chaos_depth("default")]

HOLD_S = 1.5
#: In a container: large enough for the append-only file of a nightly case, and full in a moment.
REDIS_DISK_MB = 64


def _once(chaos: Chaos, kind: str, hold_s: float = HOLD_S, *, redis_disk_mb: int = 0, **parameters: int | str) -> None:
    """The disk fails once while workers are busy and producers send."""
    schedule = Schedule.of(PlannedFault(kind, "redis", 0.3, hold_s, parameters))
    busy(chaos, schedule, chaos.profile.lasting(hold_s + 1.0), fsync=Fsync.EVERYSEC, redis_disk_mb=redis_disk_mb)


def test_full(chaos: Chaos) -> None:
    """Redis cannot write: submits fail or are unknown meanwhile, and nothing acknowledged may be lost."""
    _once(chaos, "disk_full", redis_disk_mb=REDIS_DISK_MB)


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_sync_error(chaos: Chaos, error: str) -> None:
    """One sync fails, and Redis refuses writes until somebody gives it a new file."""
    _once(chaos, "redis_sync_error", 2.0, error=error)


def test_slow(chaos: Chaos) -> None:
    """Syncs take longer than Redis waits for them (2 s): then writes wait."""
    _once(chaos, "redis_disk_slow", 3.0, delay_ms=2500)
