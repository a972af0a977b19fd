"""How fast and how lean the checker is: one synthetic case of a million operations.

usage: python bench/checker.py [--quick] [--operations N] [--json FILE]

2 % of the operations are retried, 0.1 % take effect twice, 0.01 % are lost. Peak memory is that of this process,
so the first figure is the history itself.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import resource
import sys
import time
from array import array
from pathlib import Path

from taskchaos.harness.backoff import BackoffLaw
from taskchaos.harness.checker import check, series
from taskchaos.harness.clock import NS_PER_MS, NS_PER_S
from taskchaos.harness.contract import Claim, Contract, PhaseName, Slo
from taskchaos.harness.record.history import (
    Attempts,
    Deliveries,
    Effects,
    FaultInterval,
    FinalState,
    History,
    Phase,
    Reports,
    Submits,
)

FULL, QUICK = 1_000_000, 100_000
RATE = 2_000
TARGETS = {"seconds": 2.0, "rss_mib": 300.0}


def synthetic(operations: int) -> History:
    """A case of open load: two workers, one of them killed half-way."""
    rng = random.Random(1)
    submits, deliveries, attempts = Submits(), Deliveries(), Attempts()
    effects, claims = Effects(), Reports()
    gap_ns = NS_PER_S // RATE
    lost = 0
    for op in range(operations):
        due_ns = op * gap_ns
        at_ns = due_ns + rng.randrange(2, 30) * NS_PER_MS
        chance = rng.random()
        _row(submits, op, due_ns, due_ns + 1000, due_ns + NS_PER_MS, 1, 2)
        _row(deliveries, op, at_ns, op & 1)
        if chance < 0.0001:
            lost += 1
            continue
        if chance < 0.02:
            _row(attempts, op, at_ns, at_ns + NS_PER_MS, 2, op & 1, 100 + (op & 1), at_ns)
            at_ns += NS_PER_S
        _row(attempts, op, at_ns, at_ns + NS_PER_MS, 1, op & 1, 100 + (op & 1), at_ns)
        _row(effects, op, at_ns)
        if 0.5 < chance < 0.501:
            _row(attempts, op, at_ns + NS_PER_S, at_ns + NS_PER_S + 1, 1, 0, 100, at_ns + NS_PER_S)
            _row(effects, op, at_ns + NS_PER_S)
        _row(claims, op, at_ns + 2 * NS_PER_MS, 1)
    end_ns = operations * gap_ns
    half_ns = end_ns // 2
    return History(
        planned=operations,
        roles=("worker-1", "worker-2", "producer-1"),
        producers=("producer-1",),
        finished=frozenset({"producer-1"}),
        submits=submits,
        deliveries=deliveries,
        attempts=attempts,
        effects=effects,
        claims=claims,
        faults=(FaultInterval("worker_kill", "worker-1", half_ns, half_ns + NS_PER_S, proven=True, healed=True),),
        planned_faults=1,
        phases=(
            Phase(PhaseName.BASELINE, 0, half_ns, operations // 2),
            Phase(PhaseName.FAULT, half_ns, half_ns + NS_PER_S, RATE),
            Phase(PhaseName.HEALED, half_ns + NS_PER_S, end_ns, operations - operations // 2 - RATE),
        ),
        final=FinalState(reads=3, read_at_ns=end_ns + 5 * NS_PER_S, converged=True, quiet=True),
        slo=Slo(target_tps=1000.0, recovery_limit_s=5.0),
    )


def _row(table: Submits | Deliveries | Attempts | Effects | Reports, *values: int) -> None:
    columns: list[array[int]] = [getattr(table, name) for name in table.__slots__]
    for values_of, value in zip(columns, values, strict=True):
        values_of.append(value)


def _peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def measure(operations: int, repetitions: int) -> dict[str, float]:
    """The figures, the time being the median of the repetitions."""
    history = synthetic(operations)
    rows = sum(
        len(table.op)
        for table in (history.submits, history.deliveries, history.attempts, history.effects, history.claims)
    )
    gc.collect()
    before_mib = _peak_mib()
    contract = Contract(frozenset(Claim), backoff=BackoffLaw())
    took = []
    for _ in range(repetitions):
        begun = time.perf_counter()
        verdict = check(history, contract)
        took.append(time.perf_counter() - begun)
    after_mib = _peak_mib()
    begun = time.perf_counter()
    windows = series(history, 1.0)
    series_s = time.perf_counter() - begun
    assert verdict.operations.submitted == operations and windows, "the checker judged something else"
    check_s = sorted(took)[len(took) // 2]
    return {
        "operations": operations,
        "rows": rows,
        "check_s": round(check_s, 3),
        "rows_per_s": round(rows / check_s),
        "series_s": round(series_s, 3),
        "peak_mib_before": round(before_mib, 1),
        "peak_mib_after": round(after_mib, 1),
        "lost": float(verdict.rules[0].observed or 0),
        "duplicates": verdict.operations.duplicates,
    }


def main() -> int:
    """Measures, prints, and says whether the targets for a million operations were met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} operations, once")
    parser.add_argument("--operations", type=int, help=f"default {FULL}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    options = parser.parse_args()
    operations = options.operations or (QUICK if options.quick else FULL)
    found = measure(operations, 1 if options.quick else 3)
    print(f"{found['operations']:,} operations, {found['rows']:,} rows")
    print(f"check   {found['check_s']:.2f} s   {found['rows_per_s']:,} rows/s   (target {TARGETS['seconds']:g} s)")
    print(f"series  {found['series_s']:.2f} s")
    print(
        f"peak    {found['peak_mib_before']:.0f} MiB with the history, {found['peak_mib_after']:.0f} MiB after"
        f"   (target {TARGETS['rss_mib']:g} MiB)"
    )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    met = found["check_s"] <= TARGETS["seconds"] and found["peak_mib_after"] <= TARGETS["rss_mib"]
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
