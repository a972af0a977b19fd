"""A plan for tests that need one and do not care which."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from taskchaos.harness.case.plan import Case
from taskchaos.harness.contract import Claim, Contract
from taskchaos.harness.workload import LoadModel, Workload

PLAN = Case(
    suite="throughput",
    scenario="drain",
    subject="stock_best",
    subject_name="stock_best",
    seed=1,
    workload=Workload(model=LoadModel.PREFILL, prefill=3),
    contract=Contract(frozenset({Claim.NO_LOSS})),
)


def plan(**changes: Any) -> Case:
    """The plan with some fields changed."""
    return replace(PLAN, **changes)
