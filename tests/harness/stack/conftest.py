"""Real stacks for the tests: Redis, proxy, producers and workers on random ports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskchaos.harness.case.stack_options import StackOptions
from taskchaos.harness.stack.local.stack import LocalStack
from taskchaos.harness.workload import LoadModel, Workload


@pytest.fixture
def prefilled(tmp_path: Path) -> Iterator[Callable[..., LocalStack]]:
    """Makes started stacks (workers not yet running) with a workload that is sent at once."""
    made: list[LocalStack] = []

    def make(subject: str = "stock_best", operations: int = 20, work_ms: int = 0, **options: object) -> LocalStack:
        workload = Workload(model=LoadModel.PREFILL, prefill=operations, work_ms=work_ms)
        stack = LocalStack(tmp_path / f"case-{len(made)}", subject, workload, StackOptions(**options))  # type: ignore[arg-type]
        made.append(stack)
        return stack.__enter__()

    yield make
    for stack in made:
        stack.stop()
