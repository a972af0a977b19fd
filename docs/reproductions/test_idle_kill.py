"""kombu: a killed idle worker takes the next message to its grave (late acks and rejects do not help).

    taskchaos run docs/reproductions/test_idle_kill.py --subject stock_best

An idle worker is blocked in BRPOP. After SIGKILL its socket lives until the kernel has torn the process down, some
milliseconds; a message that is pushed meanwhile is popped for the dead. Ten kills of idle workers under a light load:
3 and 4 tasks were lost in two runs.
"""

from __future__ import annotations

import pytest

from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.contract import Slo
from taskchaos.harness.pytest.chaos import Chaos
from taskchaos.harness.workload import Workload

KILLS = 10


@pytest.mark.chaos(cost_s=15)
def test_next_message(chaos: Chaos) -> None:
    """Expected to fail with `lost` on stock Celery in nearly every run."""
    workload = Workload(rate_tps=150, baseline_s=1.0, fault_s=0.6 * KILLS, healed_s=1.0)
    kills = (PlannedFault("kill_tree", f"worker-{1 + n % 2}", round(0.6 * n, 2), 0.1) for n in range(KILLS))
    chaos(workload, Schedule.of(*kills), slo=Slo(target_tps=None))
