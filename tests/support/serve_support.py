"""Runs to be served."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import report_samples as samples

from taskchaos.harness.report import write_all


def write_run(runs: Path, name: str, *, failing: bool = False) -> Path:
    """A run of one case that passed, or failed."""
    case = samples.cases()[2 if failing else 0]
    case = replace(case, id="suite.scenario.mine", suite="suite", scenario="scenario", subject="mine")
    folder = samples.run_folder(runs / name, samples.judged(case), {case.id: samples.detail(samples.cases()[0])})
    write_all(folder)
    return folder
