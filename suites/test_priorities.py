"""Tasks of four priorities come in bursts that are longer than what workers hold: the more urgent go first."""

from __future__ import annotations

from collections.abc import Collection
from typing import Unpack

import pytest

from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.case.stack_options import StackChanges
from taskchaos.harness.contract import Slo
from taskchaos.harness.pytest.chaos import UNDISTURBED_S, Chaos
from taskchaos.harness.record.seen import Seen
from taskchaos.suites.loads import kills, phased

pytestmark = [pytest.mark.chaos(cost_s=15), pytest.mark.chaos_depth("default")]

#: Every eight seconds a burst that keeps the workers busy for five and more, half of that with the two most urgent.
#: What waits for less than twice what they may take to write down what they have (more than a second) is not compared.
RATE_TPS = 40
BURST = 320
CAPACITY_TPS = 60
PRIORITIES = 4


def _priorities(
    chaos: Chaos,
    schedule: Schedule = Schedule(),  # noqa: B008 (immutable)
    must_see: Collection[Seen] = (),
    **needs: Unpack[StackChanges],
) -> None:
    """As many tasks of each priority, in turn."""
    work_ms = 1000 * chaos.slots // CAPACITY_TPS
    workload = phased(chaos.profile, RATE_TPS, burst=BURST, priorities=PRIORITIES, work_ms=work_ms)
    chaos(workload, schedule, slo=Slo(target_tps=None), must_see=must_see, **needs)


def test_quiet(chaos: Chaos) -> None:
    """Nothing happens but that."""
    _priorities(chaos, visibility_timeout_s=UNDISTURBED_S)


def test_kill(chaos: Chaos) -> None:
    """Workers are killed in turn: what they had comes back, and what waits is taken as urgently as before."""
    _priorities(chaos, kills("kill_tree", chaos.profile), (Seen.TAKEN_OVER,))


def test_cut(chaos: Chaos) -> None:
    """One worker is cut off for a while: what comes back, and what is sent then, is taken as urgently as before."""
    hold_s = round(0.3 * chaos.profile.fault_s, 3)
    _priorities(chaos, Schedule.of(PlannedFault("refused", "worker-1", 0.1, hold_s)))
