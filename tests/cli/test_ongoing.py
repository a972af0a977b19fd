"""Runs that go on: they are listed as that, are not removed, and a series of them ends when its user wants."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from cli_support import COMMAND, taskchaos, verdict
from waiting import until

pytestmark = pytest.mark.usefixtures("linux")

SUITE = """
import os, time
from pathlib import Path
from taskchaos.harness.contract import Slo
from taskchaos.harness.workload import LoadModel, Workload

def test_few(chaos):
    chaos(Workload(model=LoadModel.PREFILL, prefill=5), slo=Slo(target_tps=None))
    while Path({wait!r}).exists():
        time.sleep(0.02)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A suite whose runs go on for as long as there is a file `wait`."""
    (tmp_path / "test_own.py").write_text(SUITE.format(wait=str(tmp_path / "wait")))
    return tmp_path


def start(*words: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [COMMAND, *words],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # As from a terminal: whoever runs the tests in the background has SIGINT ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def judged(folder: Path) -> list[Path]:
    return list(folder.glob("cases/*/verdict.json"))


def test_a_run_that_goes_on_is_listed_and_stays(project: Path) -> None:
    (project / "wait").touch()
    run = start("run", "test_own.py", "-s", "stock_best", "-n", "1", cwd=project)
    try:
        runs = project / ".taskchaos" / "runs"
        until(lambda: any(map(judged, runs.glob("2*"))), "its case is judged", 60)
        (row,) = json.loads(taskchaos("runs", "--json", cwd=project).out)
        assert (row["state"], row["outcome"]) == ("going on", "")
        done = taskchaos("runs", "prune", "--keep", "0", cwd=project)
        assert done.out == "0 runs, 0 bytes removed\n"
    finally:
        (project / "wait").unlink()
        out, _ = run.communicate(timeout=60)
    assert run.returncode == 0, out
    (row,) = json.loads(taskchaos("runs", "--json", cwd=project).out)
    assert (row["state"], row["outcome"]) == ("ended", "pass")
    assert taskchaos("runs", "prune", "--keep", "0", cwd=project).out.endswith("bytes removed\n")
    assert list(runs.iterdir()) == []


def test_a_killed_run_is_cut_off_and_can_be_removed(project: Path) -> None:
    (project / "wait").touch()
    run = start("run", "test_own.py", "-s", "stock_best", "-n", "1", cwd=project)
    runs = project / ".taskchaos" / "runs"
    until(lambda: any(map(judged, runs.glob("2*"))), "its case is judged", 60)
    run.kill()
    run.communicate(timeout=60)
    until(
        lambda: json.loads(taskchaos("runs", "--json", cwd=project).out)[0]["state"] == "cut off", "its locks are gone"
    )
    assert taskchaos("judge", next(runs.glob("2*")).name, cwd=project).code == 2, "and it can be judged"
    assert "1 run, " in taskchaos("runs", "prune", "--keep", "0", cwd=project).out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_series_is_ended_by_its_user(project: Path, number: signal.Signals) -> None:
    """What has ended counts, what has not is ended and counts for nothing."""
    assert taskchaos("run", "test_own.py", "-s", "stock_best", "-n", "1", "--out", "run", cwd=project).code == 0
    series = start("replay", "run", "--times", "50", "-n", "2", "--out", "out", cwd=project)
    tries = project / "out" / "tries"
    until(lambda: len(list(tries.glob("run-*/verdict.json"))) >= 2, "two have ended", 90)
    os.kill(series.pid, number)
    out, _ = series.communicate(timeout=90)
    assert series.returncode == 130, out
    assert "Traceback" not in out
    found = json.loads((project / "out" / "times.json").read_text())
    assert found["ended"] == "interrupted" and 1 <= len(found["runs"]) < 50
    assert f"failed 0 of {len(found['runs'])}" in out and "; interrupted after " in out
    for one in found["runs"]:
        assert verdict(project / "out" / one["place"])["outcome"] == "pass"
    left = subprocess.run(["pgrep", "-f", str(tries)], capture_output=True, text=True, check=False).stdout.split()
    assert left == []
