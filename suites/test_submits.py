"""What is submitted comes twice, or all at once, or not at all: producers forget what they have sent, work comes in
bursts, and who submits may die over it.
"""

from __future__ import annotations

from collections.abc import Collection

import pytest

from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.contract import Slo
from taskchaos.harness.pytest.chaos import Chaos
from taskchaos.harness.record.seen import Seen
from taskchaos.suites.loads import phased

pytestmark = [pytest.mark.chaos(cost_s=8), pytest.mark.chaos_depth("default")]

RATE_TPS = 30
#: So many at once, each second or so: ten times what the workers are offered otherwise.
BURST = 30


def _offered(
    chaos: Chaos,
    schedule: Schedule = Schedule(),  # noqa: B008 (immutable)
    must_see: Collection[Seen] = (Seen.RETRIED, Seen.SENT_TWICE),
    producers: int = 1,
    **more: int,
) -> None:
    """Every fourth task fails once."""
    workload = phased(chaos.profile, RATE_TPS, work_ms=20, failures=1, failing_every=4, **more)
    target_tps = min(chaos.target_tps, 0.6 * RATE_TPS)
    slo = Slo(target_tps=target_tps, recovery_limit_s=chaos.profile.recovery_limit_s)
    chaos(workload, schedule, slo=slo, must_see=must_see, producers=producers)


def test_twice_late(chaos: Chaos) -> None:
    """Every third task is submitted again when the first has long ended."""
    _offered(chaos, again_every=3, again_after_ms=2500)


def test_twice_under_fire(chaos: Chaos) -> None:
    """And a worker is killed meanwhile."""
    kills = (PlannedFault("kill_tree", f"worker-{n}", 0.2 + n, 0.1) for n in (1, 2))
    _offered(chaos, Schedule.of(*kills), again_every=3, again_after_ms=700)


def test_burst(chaos: Chaos) -> None:
    """All tasks of a second are due at once."""
    _offered(chaos, burst=BURST, must_see=(Seen.RETRIED,))


def test_producer_killed(chaos: Chaos) -> None:
    """One of two producers dies in the middle of its submits, and again soon after it is back. The other goes on."""
    kills = (PlannedFault("kill_producer", "producer-1", at_s, 0.4) for at_s in (0.2, 0.9))
    _offered(chaos, Schedule.of(*kills), must_see=(Seen.RETRIED,), producers=2)
