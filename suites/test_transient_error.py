"""Every task fails once and would succeed the second time: the plainest thing a retry is for."""

from __future__ import annotations

import pytest

from taskchaos.harness.contract import PhaseName, Slo
from taskchaos.harness.pytest.chaos import UNDISTURBED_S, Chaos
from taskchaos.harness.record.seen import Seen
from taskchaos.harness.workload import Workload

pytestmark = pytest.mark.chaos(cost_s=12)

#: Few enough that a subject that blocks its pool for a second per error still finishes in time to be judged.
RATE_TPS = 20


def test_once(chaos: Chaos) -> None:
    """One transient error per task. Delays of a second are fair; a rate of less than 40 % of the load is not."""
    workload = Workload(rate_tps=RATE_TPS, baseline_s=2 * chaos.profile.baseline_s, fault_s=0, healed_s=0, failures=1)
    target_tps = min(chaos.target_tps, 0.4 * RATE_TPS)
    chaos(
        workload,
        slo=Slo(target_tps=target_tps, phases=frozenset({PhaseName.BASELINE})),
        visibility_timeout_s=UNDISTURBED_S,
        must_see=(Seen.RETRIED,),
    )


@pytest.mark.chaos_depth("default")
def test_mixed(chaos: Chaos) -> None:
    """Every third task fails once and every twentieth for good, among tasks that succeed."""
    workload = Workload(
        rate_tps=RATE_TPS,
        baseline_s=2 * chaos.profile.baseline_s,
        fault_s=0,
        healed_s=0,
        failures=1,
        failing_every=3,
        permanent_every=20,
    )
    target_tps = min(chaos.target_tps, 0.6 * RATE_TPS)
    chaos(
        workload,
        slo=Slo(target_tps=target_tps, phases=frozenset({PhaseName.BASELINE})),
        visibility_timeout_s=UNDISTURBED_S,
        must_see=(Seen.RETRIED, Seen.GIVEN_UP),
    )
