"""Random schedules: faults of all families, several at once, of all roles; each seed has others."""

from __future__ import annotations

import pytest

from taskchaos.faults.base import QUEUE, RESULTS
from taskchaos.faults.process import KillChild
from taskchaos.faults.schedule import FAULTS
from taskchaos.faults.swarm import Ground, swarm
from taskchaos.harness.case.stack_options import Fsync, Pool, roles
from taskchaos.harness.contract import PhaseName, Slo
from taskchaos.harness.pytest.chaos import Chaos
from taskchaos.harness.workload import Workload

pytestmark = [pytest.mark.chaos(cost_s=17), pytest.mark.chaos_depth("nightly")]

#: Far below what the workers can do: what is missing is missing because something went wrong.
RATE_TPS = 30
WORKERS, PRODUCERS = 2, 2
REDIS, POWER_LOSS = "redis", "redis_power_loss"
#: At these a Redis that writes through at once ends, for good: it has no way to answer.
ENDING = frozenset({"disk_full", "redis_sync_error"})
#: So much longer than elsewhere is the time for faults, of which so many are drawn at most, and half find a place.
MORE_S = 5.0
FAULTS_PER_S = 2
QUIET_S = 1.0


def test_seed(chaos: Chaos, chaos_seed: int) -> None:
    """Every third task fails once and every twentieth for good; after the last heal work goes on."""
    profile = chaos.profile
    fault_s = MORE_S + profile.fault_s
    workload = Workload(
        rate_tps=RATE_TPS,
        baseline_s=QUIET_S + profile.baseline_s,
        fault_s=fault_s,
        healed_s=QUIET_S + profile.healed_s,
        failures=1,
        failing_every=3,
        permanent_every=20,
        work_ms=20,
    )
    slo = Slo(target_tps=RATE_TPS / 6, phases=frozenset({PhaseName.HEALED}))
    schedule = swarm(chaos_seed, round(FAULTS_PER_S * fault_s), fault_s, _ground(chaos))
    # Under everysec Redis answers while it puts a write off that waits for an fsync: even a SIGKILL takes that along.
    chaos(
        workload,
        schedule,
        slo=slo,
        workers=WORKERS,
        producers=PRODUCERS,
        fsync=Fsync.ALWAYS,
        volatile_disk=any(fault.kind == POWER_LOSS for fault in schedule.faults),
        keep_results=True,
    )


def _ground(chaos: Chaos) -> Ground:
    """Every role of the stack, and every fault that it can do."""
    workers, producers = roles("worker", WORKERS), roles("producer", PRODUCERS)
    commands = chaos.commands
    taken = tuple(dict.fromkeys(filter(None, (commands.pop, commands.retry))))
    return Ground(
        kinds=tuple(
            kind
            for kind in FAULTS
            if chaos.can(kind) and kind not in ENDING and (chaos.pool is Pool.PREFORK or not _of_child(kind))
        ),
        links=(*producers, *workers, *(f"{worker}{RESULTS}" for worker in workers)),
        workers=workers,
        producers=producers,
        servers=(REDIS,),
        queues=(QUEUE,),
        clocks=workers,  # producers may not look at theirs, and that of Redis ends all leases at once
        commands=dict.fromkeys(producers, (commands.publish,)) | dict.fromkeys(workers, taken),
    )


def _of_child(kind: str) -> bool:
    """Whether it is done to a pool child, which only the prefork pool has."""
    return issubclass(FAULTS[kind], KillChild)
