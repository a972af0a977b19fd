"""Deployments: workers are restarted in turn, in a hurry, beside a restart of Redis; pool processes are replaced.

And two releases work on one queue for a while.
"""

from __future__ import annotations

import pytest

from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.case.stack_options import Pool
from taskchaos.harness.contract import Slo
from taskchaos.harness.profile import Profile
from taskchaos.harness.pytest.chaos import Chaos
from taskchaos.harness.record.seen import Seen
from taskchaos.suites.loads import busy, in_turn, kills, phased

pytestmark = [pytest.mark.chaos(cost_s=9), pytest.mark.chaos_depth("default")]

#: More than a task takes, so that a warm shutdown comes to its end.
PATIENT_S = 10
#: A pool process is replaced after so many tasks: each few seconds under this load.
TASKS_PER_CHILD = 15
#: So many at once, each second: enough for all processes of both workers for half of it.
BURST, BURST_WORK_MS, MOST_PROCESSES = 30, 100, 3


def _rolling(profile: Profile, grace_s: int, told: str = "SIGTERM") -> Schedule:
    """Both workers, one after the other."""
    return in_turn("restart", (0.1, profile.fault_s / 2), 0.1, grace_s=grace_s, told=told)


def test_rolling(chaos: Chaos) -> None:
    """SIGTERM to one worker after the other, with the time that it takes to end by itself."""
    busy(chaos, _rolling(chaos.profile, PATIENT_S))


def test_hurried(chaos: Chaos) -> None:
    """SIGKILL right behind SIGTERM: what was running is cut off."""
    busy(chaos, _rolling(chaos.profile, 0))


def test_cold(chaos: Chaos) -> None:
    """SIGQUIT: Celery gives back what it holds, and ends its tasks where they are."""
    busy(chaos, _rolling(chaos.profile, PATIENT_S, "SIGQUIT"))


def test_soft(chaos: Chaos) -> None:
    """SIGQUIT to a worker that waits for its tasks a little (`worker_soft_shutdown_timeout`)."""
    busy(chaos, _rolling(chaos.profile, PATIENT_S, "SIGQUIT"), soft_shutdown_s=1)


def test_autoscaled(chaos: Chaos) -> None:
    """Work comes in bursts, so that pool processes come and go (`--autoscale`), and some are killed meanwhile."""
    if chaos.pool is not Pool.PREFORK:
        chaos.does_not_apply(f"a {chaos.pool} worker has no pool children")
    profile = chaos.profile
    bursts = in_turn("kill_child", (0.15 + n for n in range(int(profile.fault_s))), 0.1)  # when a burst has just come
    workload = phased(profile, BURST, work_ms=BURST_WORK_MS, burst=BURST)
    slo = Slo(
        target_tps=min(chaos.target_tps, BURST / 2), recovery_limit_s=None
    )  # of what comes in bursts no rate tells
    chaos(workload, bursts, slo=slo, concurrency=MOST_PROCESSES, autoscale=True)


def test_with_redis(chaos: Chaos) -> None:
    """Redis is restarted while a worker is: who starts finds nobody, who is there loses its connections."""
    worker = PlannedFault("restart", "worker-1", 0.3, 0.1, {"grace_s": PATIENT_S})
    redis = PlannedFault("redis_restart", "redis", 0.2, 1.0)
    busy(chaos, Schedule.of(worker, redis), chaos.profile.lasting(2.5))


def test_recycled(chaos: Chaos) -> None:
    """Pool processes are replaced after a few tasks each (`worker_max_tasks_per_child`), and some are killed."""
    if chaos.pool is not Pool.PREFORK:
        chaos.does_not_apply(f"a {chaos.pool} worker has no pool children")
    busy(chaos, kills("kill_child", chaos.profile), max_tasks_per_child=TASKS_PER_CHILD)


#: An upgrade and the way back: who becomes what. Worker 2 begins with the previous release, and is killed as such.
ROLLING = ((2, "present"), (1, "previous"), (2, "previous"), (1, "present"))
MIXED_TPS, EACH_S = 20, 1.2


def test_mixed(chaos: Chaos) -> None:
    """The last release beside this one: workers of both on one queue, one killed, an upgrade, and the way back.

    What one release has queued, holds, or has put off for a retry, the other finds.
    """
    changes = (
        PlannedFault("change_release", f"worker-{n}", 1.0 + EACH_S * turn, 0.1, {"grace_s": PATIENT_S, "to": to})
        for turn, (n, to) in enumerate(ROLLING)
    )
    kill = PlannedFault("kill_tree", "worker-2", 0.1, 0.1)
    profile = chaos.profile.lasting(1.5 + EACH_S * len(ROLLING))
    workload = phased(profile, MIXED_TPS, work_ms=40, failures=1, failing_every=3)
    slo = Slo(target_tps=min(chaos.target_tps, MIXED_TPS / 4), recovery_limit_s=None)
    chaos(workload, Schedule.of(kill, *changes), slo=slo, must_see=(Seen.BOTH_RELEASES, Seen.RETRIED), behind=1)
