"""How steady verdicts are: the cases of `make chaos` again and again, on the quiet machine and beside a CPU hog.

Usage: python bench/steadiness.py [--quick] [--runs N] [--json FILE] [-- OPTIONS OF taskchaos run]

A verdict that depends on luck is a defect. Runs alternate between the two conditions, so that what drifts meets both
alike. Prints for each condition how many cases were run again, and which came to something else than expected.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COMMAND = str(Path(sys.executable).with_name("taskchaos"))
RUNS = 30
HOG = "while True: pass"


@dataclass
class Tally:
    """What the cases of one condition came to."""

    cases: int = 0
    again: Counter[str] = field(default_factory=Counter)
    odd: Counter[str] = field(default_factory=Counter)
    wall_s: list[float] = field(default_factory=list)

    def add(self, verdict: dict[str, Any]) -> None:
        """Take one run."""
        self.wall_s.append(verdict["wall_s"])
        for case in verdict["cases"]:
            self.cases += 1
            if case["tries"] > 1:
                self.again[case["id"]] += 1
            if not case["as_expected"]:
                self.odd[f"{case['id']}: {_what(case)}"] += 1

    def lines(self, name: str) -> list[str]:
        """For people."""
        again, odd = self.again.total(), self.odd.total()
        share = 100 * again / self.cases if self.cases else 0.0
        longest = max(self.wall_s, default=0.0)
        head = (
            f"{name}: {len(self.wall_s)} runs, {self.cases} cases, {odd} not as expected, {again} ({share:.1f} %) again"
        )
        told = [f"  again {count} x {case}" for case, count in self.again.most_common()]
        told += [f"  odd   {count} x {case}" for case, count in self.odd.most_common()]
        return [f"{head}, longest run {longest:.1f} s", *told]


def _what(case: dict[str, Any]) -> str:
    if case["error"]:
        return f"{case['trouble']}: {case['error'][:200]}"
    told = [r for r in case["rules"] if r["outcome"] in ("fail", "unknown")]
    return "; ".join(f"{r['outcome']} {r['rule']} ({r['reason'][:120]})" for r in told[:2]) or "nothing failed"


def _run(seed: int, folder: Path, options: list[str], *, hog: bool) -> dict[str, Any]:
    beside = subprocess.Popen([sys.executable, "-c", HOG]) if hog else None
    try:
        words = [COMMAND, "run", "--seed", str(seed), "--out", str(folder), *options]
        subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    finally:
        if beside is not None:
            beside.kill()
            beside.wait()
    verdict: dict[str, Any] = json.loads((folder / "verdict.json").read_text())
    return verdict


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one run of each condition")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"runs of each condition (default {RUNS})")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--keep", type=Path, help="keep the run folders of runs that were not as expected here")
    parser.add_argument("options", nargs="*", help="options of taskchaos run")
    given = parser.parse_args()
    tallies = {"quiet": Tally(), "beside a CPU hog": Tally()}
    for seed in range(1, (1 if given.quick else given.runs) + 1):
        for name, tally in tallies.items():
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place) / f"{seed}-{name.split()[0]}"
                tally.add(found := _run(seed, folder, given.options, hog=name != "quiet"))
                if given.keep and found["exit_code"]:
                    given.keep.mkdir(parents=True, exist_ok=True)
                    subprocess.run(["cp", "-r", str(folder), str(given.keep)], check=True)
            print(f"seed {seed}, {name}: exit {found['exit_code']} in {found['wall_s']:.1f} s", flush=True)
    for name, tally in tallies.items():
        print("\n".join(tally.lines(name)))
    if given.json:
        figures = {
            name: {"cases": t.cases, "again": dict(t.again), "odd": dict(t.odd), "wall_s": t.wall_s}
            for name, t in tallies.items()
        }
        given.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
