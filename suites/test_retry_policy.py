"""The retry policy itself: tasks that fail several times, and a dependency that is down for a while."""

from __future__ import annotations

import pytest

from taskchaos.harness.contract import PhaseName, Slo
from taskchaos.harness.pytest.chaos import UNDISTURBED_S, Chaos
from taskchaos.harness.record.seen import Seen
from taskchaos.harness.workload import Workload

pytestmark = [pytest.mark.chaos(cost_s=20), pytest.mark.chaos_depth("default")]

#: Few enough that four attempts of each task keep no subject busy.
RATE_TPS = 20
#: Enough that a herd gathers.
OUTAGE_TPS = 30
#: As often as every subject that ships tries again.
RETRIES = 3


def test_several(chaos: Chaos) -> None:
    """Every task fails three times before it succeeds: each wait is to be one of the law that the subject claims."""
    workload = Workload(
        rate_tps=RATE_TPS, baseline_s=2 * chaos.profile.baseline_s, fault_s=0, healed_s=0, failures=RETRIES
    )
    slo = Slo(target_tps=min(chaos.target_tps, 0.4 * RATE_TPS), phases=frozenset({PhaseName.BASELINE}), waits=True)
    chaos(workload, slo=slo, visibility_timeout_s=UNDISTURBED_S, must_see=(Seen.RETRIED,))


def test_outage(chaos: Chaos) -> None:
    """What all tasks depend on is down for half of the fault phase: nobody makes it worse, nothing is lost."""
    profile = chaos.profile
    workload = Workload(
        rate_tps=OUTAGE_TPS,
        baseline_s=profile.baseline_s,
        fault_s=profile.fault_s,
        healed_s=profile.healed_s,
        outage_after_s=0.1,
        outage_s=profile.fault_s / 2,
    )
    slo = Slo(target_tps=min(chaos.target_tps, 0.8 * OUTAGE_TPS), growth=True)
    chaos(workload, slo=slo, visibility_timeout_s=UNDISTURBED_S, must_see=(Seen.RETRIED,))
