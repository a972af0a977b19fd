"""A load that is more than workers can do, on purpose, is said to be that; any other is not remarked on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from taskchaos.harness.case.plan import Case
from taskchaos.harness.case.stack_options import Pool, StackOptions
from taskchaos.harness.contract import Contract
from taskchaos.harness.judge.load import told_load
from taskchaos.harness.subject import Settings
from taskchaos.harness.workload import LoadModel, Workload

STACK = StackOptions(workers=2, settings=Settings(concurrency=2))
LOADS = {
    "a queue that is full before": (
        Workload(model=LoadModel.PREFILL, prefill=2000),
        "All 2,000 tasks are in the queue before a worker starts",
    ),
    "more than workers can do": (
        Workload(rate_tps=30, work_ms=200),
        "30 tasks/s, and 4 at a time of 200 ms each are 20/s",
    ),
    "bursts": (
        Workload(rate_tps=40, burst=320, work_ms=66),
        "320 at once, every 8.0 s, to workers that run 4 at a time",
    ),
    "as much as workers can do": (Workload(rate_tps=20, work_ms=200), ""),
    "a small burst": (Workload(rate_tps=20, burst=4, work_ms=20), ""),
    "tasks that take no time": (Workload(rate_tps=200), ""),
}


@pytest.mark.parametrize("name", LOADS)
def test_a_load_is_told(name: str) -> None:
    load, told = LOADS[name]
    case = Case("s", "c", "x", "x", 1, load, Contract(frozenset()), stack=STACK)
    assert told in told_load(case) and bool(told) == bool(told_load(case))


def test_a_solo_worker_runs_one_at_a_time() -> None:
    assert STACK.slots == 4 and replace(STACK, pool=Pool.SOLO).slots == 2
