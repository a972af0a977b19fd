"""What one ledger record costs the process that writes it, beside the write(2) that it cannot do without.

Usage: python bench/ledger.py [--quick] [--json FILE]

Compares, in interleaved pairs within one run: `Ledger.effect` and a bare `os.write` of a line of the same length to
an O_APPEND file. Prints microseconds per record (median of the pairs), the ratio with its interval, and the goal.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from estimate import Estimate

from taskchaos.harness.record.ledger import Ledger

GOAL_US = 20.0
PAIRS = 12


def _ledger(folder: Path, records: int) -> float:
    ledger = Ledger(folder, "worker-1")
    ledger.effect(0, 1)  # opens the file
    began = time.perf_counter()
    for op in range(records):
        ledger.effect(op, 1)
    return (time.perf_counter() - began) / records * 1e6


def _bare_write(folder: Path, records: int) -> float:
    line = b"E 1045801224922 123456 4294967297 0\n"
    fd = os.open(folder / "bare", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    began = time.perf_counter()
    for _ in range(records):
        os.write(fd, line)
    took = (time.perf_counter() - began) / records * 1e6
    os.close(fd)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="2 000 instead of 50 000 records a round")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    records = 2_000 if options.quick else 50_000
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(PAIRS):
            first, second = (_ledger, _bare_write) if number % 2 == 0 else (_bare_write, _ledger)
            taken = {run: run(Path(folder), records) for run in (first, second)}
            pairs.append((taken[_ledger], taken[_bare_write]))
    ratio = Estimate.of([a / b for a, b in pairs])
    figures = {
        "record_us": statistics.median(a for a, _ in pairs),
        "bare_write_us": statistics.median(b for _, b in pairs),
        "ratio": ratio.median,
        "ratio_interval": [ratio.low, ratio.high],
        "records": records,
        "pairs": PAIRS,
    }
    print(f"ledger record  {figures['record_us']:.2f} us  (goal: under {GOAL_US:g} us)")
    print(f"bare write(2)  {figures['bare_write_us']:.2f} us")
    print(f"ratio          {figures['ratio']:.2f}  [{ratio.low:.2f}, {ratio.high:.2f}]  ({PAIRS} pairs)")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
