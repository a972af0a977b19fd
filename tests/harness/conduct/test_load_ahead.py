"""A load that goes on until the last heal is known to its producers before it is due, chords too."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from taskchaos.harness.conduct.conductor import _until_healed
from taskchaos.harness.workload import Workload

RATE_TPS = 50


@pytest.mark.parametrize(("chord_of", "first_due"), [(0, 40), (39, 40), (9, 40)])
def test_what_is_due_right_after_the_plan_is_known_at_its_end(chord_of: int, first_due: int) -> None:
    workload = Workload(rate_tps=RATE_TPS, baseline_s=0.4, fault_s=0.4, healed_s=0, chord_of=chord_of)
    assert workload.operations == first_due
    told: list[int] = []
    nemesis = SimpleNamespace(done=False)

    def extend(operations: int, *, last: bool) -> None:
        told.append(operations)
        nemesis.done = True

    stack, log = SimpleNamespace(extend_load=extend), SimpleNamespace(emit=lambda event: None)
    case = SimpleNamespace(workload=workload, id="c")
    stage: Any = SimpleNamespace(case=case, nemesis=nemesis, stack=stack, log=log, tick=lambda: None)
    _until_healed(stage, time.monotonic() - workload.fault_s)
    assert told[0] >= first_due + workload.together
