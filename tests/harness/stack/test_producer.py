"""What a producer takes from its schedule."""

from __future__ import annotations

from typing import Any

from taskchaos.harness.stack.producer import Publishers
from taskchaos.harness.workload import Workload

NOBODY: Any = None


def test_a_second_submit_is_sent_although_one_beyond_the_plan_is_due_before_it() -> None:
    workload = Workload(rate_tps=10, baseline_s=0.3, fault_s=0, healed_s=0, again_every=1, again_after_ms=1000)
    publishers = Publishers(NOBODY, workload.due(0, 1, more=20))
    publishers.limit(workload.operations, last=True)
    sent = [item[0] for item in iter(publishers._next, None)]
    assert [(op.number, op.again) for op in sent] == [(n, again) for again in (False, True) for n in range(3)]
    assert publishers.taken == workload.operations, "what is sent again is no further operation of the plan"
