"""Loads that several suites share."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Unpack

from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.case.stack_options import StackChanges
from taskchaos.harness.contract import Slo
from taskchaos.harness.profile import Profile
from taskchaos.harness.pytest.chaos import Chaos
from taskchaos.harness.record.seen import Seen
from taskchaos.harness.workload import Workload

#: The work of a task is as long as it takes for the workers to do 20 a second; 30 are offered. So a kill meets busy
#: processes and a queue that is never empty. (An idle worker of stock Celery takes one more message to its grave.)
CAPACITY_TPS = 20
OFFERED_TPS = 30
#: The visibility timeout (3 s), the look for what is past it (each second), and some.
PAST_LEASE_S = 4.5
#: Few enough that stock Celery's workers are mostly blocked in BRPOP when a cut comes.
IDLE_TPS = 40


def phased(profile: Profile, rate_tps: int, **more: int) -> Workload:
    """A load of this rate over the three phases of the profile. more: other fields of the workload."""
    return Workload(
        rate_tps=rate_tps,
        baseline_s=profile.baseline_s,
        fault_s=profile.fault_s,
        healed_s=profile.healed_s,
        **more,  # type: ignore[arg-type]
    )


def in_turn(kind: str, starts_s: Iterable[float], hold_s: float, **parameters: int | str) -> Schedule:
    """The same fault again and again, of one worker after the other, from these times of the fault phase on."""
    return Schedule.of(
        *(
            PlannedFault(kind, f"worker-{1 + n % 2}", round(at_s, 3), round(hold_s, 3), parameters)
            for n, at_s in enumerate(starts_s)
        )
    )


def kills(kind: str, profile: Profile, count: int = 0) -> Schedule:
    """So many (as the profile has it) spread over the fault phase, the two workers in turn."""
    count = count or profile.kills
    step_s = profile.fault_s / (count + 1)
    return in_turn(kind, (0.1 + n * step_s for n in range(count)), 0.1)


def busy(
    chaos: Chaos,
    schedule: Schedule,
    profile: Profile | None = None,
    must_see: Collection[Seen] = (),
    **needs: Unpack[StackChanges],
) -> None:
    """Overload the workers, run the schedule, demand half of their capacity where no fault is in force."""
    profile = profile or chaos.profile
    workload = phased(profile, OFFERED_TPS, work_ms=1000 * chaos.slots // CAPACITY_TPS)
    slo = Slo(target_tps=min(chaos.target_tps, CAPACITY_TPS / 2), recovery_limit_s=profile.recovery_limit_s)
    chaos(workload, schedule, slo=slo, must_see=must_see, **needs)


def past_lease(chaos: Chaos, kind: str) -> None:
    """A busy worker is out of action for longer than the visibility timeout or lease, and then goes on."""
    longer = chaos.profile.lasting(PAST_LEASE_S + 1.0)
    stopped = Schedule.of(PlannedFault(kind, "worker-1", 0.1, hold_s=PAST_LEASE_S))
    busy(chaos, stopped, longer, must_see=(Seen.TAKEN_OVER,) if kind == "pause" else ())


def idle(chaos: Chaos, schedule: Schedule) -> None:
    """Offer little, run the schedule, demand 80 % of the load where no fault is in force."""
    slo = Slo(target_tps=min(chaos.target_tps, 0.8 * IDLE_TPS), recovery_limit_s=chaos.profile.recovery_limit_s)
    chaos(phased(chaos.profile, IDLE_TPS), schedule, slo=slo)
