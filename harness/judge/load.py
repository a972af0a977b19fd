"""What is to be said of a load that is more than workers can do, which would look like a slow subject otherwise."""

from __future__ import annotations

from taskchaos.harness.case.plan import Case
from taskchaos.harness.workload import LoadModel


def told_load(case: Case) -> str:
    """One sentence; empty for a load that workers can keep up with."""
    load, slots = case.workload, case.stack.slots
    if load.model is LoadModel.PREFILL:
        return f"All {load.operations:,} tasks are in the queue before a worker starts: how fast they go is measured."
    done_tps = 1000 * slots / load.work_ms if load.work_ms else float("inf")
    if load.rate_tps > done_tps:
        return (
            f"More is offered than workers can do, on purpose: {load.rate_tps:g} tasks/s, and {slots} at a time of "
            f"{load.work_ms} ms each are {done_tps:.3g}/s."
        )
    if load.burst > slots:
        busy = f", which keep them busy for {load.burst / done_tps:.1f} s" if load.work_ms else ""
        return (
            f"Tasks come {load.burst} at once, every {load.burst / load.rate_tps:.1f} s, to workers that run {slots} "
            f"at a time{busy}: that they queue is on purpose."
        )
    return ""
