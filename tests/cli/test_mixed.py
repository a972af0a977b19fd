"""Two releases on one queue, from the command to the verdict; and an environment that cannot be used."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from cli_support import rule, taskchaos, verdict
from other_environment import USED, VERSION, bare, packages, with_other_release, with_our_packages

pytestmark = pytest.mark.usefixtures("linux")

SUITE = """
from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.contract import Slo
from taskchaos.harness.record.seen import Seen
from taskchaos.harness.workload import Workload

def run(chaos, behind, *faults):
    load = Workload(rate_tps=30, baseline_s=1.0, fault_s=2.0, healed_s=1.0, failures=1, failing_every=3)
    chaos(load, Schedule.of(*faults), slo=Slo(target_tps=None), must_see=[Seen.BOTH_RELEASES], behind=behind)

def change(worker, to, at_s):
    return PlannedFault("change_release", worker, at_s, 0.1, {"grace_s": 5, "to": to})

def test_there_and_back(chaos):
    run(chaos, 1, change("worker-2", "present", 0.1), change("worker-1", "previous", 1.0))

def test_alone(chaos):
    run(chaos, 0, change("worker-2", "present", 0.1))
"""

SUBJECT = """
from importlib.metadata import version
from taskchaos.suites.subjects.locked_retry import LockedRetry

assert version("locked-retry") != "0.1.9", "too old"

class Mine(LockedRetry):
    name = "mine"
"""


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_other_release(with_our_packages(bare(tmp_path_factory.mktemp("previous") / "venv")))


def run(folder: Path, previous: Path | str, *more: str) -> Path:
    (folder / "test_two.py").write_text(SUITE)
    out = folder / "run"
    taskchaos(
        "run", "test_two.py", "-s", "locked_retry", "--previous", str(previous), "--out", str(out), *more, cwd=folder
    )
    return out


def test_two_releases_work_side_by_side_and_the_verdict_names_both(tmp_path: Path, previous: Path) -> None:
    """What is in the working directory is of neither."""
    (tmp_path / "locked_retry.py").write_text("raise RuntimeError('a script of the same name')\n")
    out = run(tmp_path, previous, "-n", "2")
    cases = {case["scenario"]: case for case in verdict(out)["cases"]}
    case = cases["there_and_back"]
    assert case["outcome"] == "pass", case
    present, before = case["releases"]
    assert (present["release"], before["release"]) == ("present", "previous")
    assert f"locked-retry {VERSION}" in before["versions"] and VERSION not in present["versions"]
    assert present["effects"] > 0 and before["effects"] > 0
    assert present["effects"] + before["effects"] >= case["operations"]["effects"]
    assert (packages(previous) / "locked_retry" / USED).exists()
    assert "by the previous release (python 3" in (out / "report.html").read_text()
    assert cases["alone"]["outcome"] == "unknown"
    assert "not seen: workers of two releases do tasks" in rule(cases["alone"], "evidence")["reason"]


def test_without_one_the_case_is_left_out_and_it_says_what_to_give(tmp_path: Path) -> None:
    done = taskchaos(
        *("run", "deploy", "-k", "mixed", "-s", "locked_retry", "--profile", "default", "--out", str(tmp_path / "run"))
    )
    assert done.code == 2
    assert "deploy.mixed.locked_retry left out: change_release needs --stack local and --previous PYTHON" in done.out


def refused(folder: Path, python: Path | str, *more: str, subject: str = "locked_retry") -> str:
    done = taskchaos(
        *("run", "deploy", "-k", "mixed", "-s", subject, "--profile", "default", "--previous", str(python)),
        *("--out", str(folder / "run"), *more),
        cwd=folder,
    )
    assert done.code == 4
    assert not (folder / "run").exists()
    return done.error_line


def test_what_is_no_environment_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    assert "is not there; give the interpreter of another environment" in refused(tmp_path, tmp_path / "python")
    assert "is a folder; give the interpreter in it, such as bin/python" in refused(tmp_path, tmp_path)
    assert "cannot be run: Permission denied" in refused(tmp_path, tmp_path / "text")
    assert "is no Python that can be used: it says nothing" in refused(tmp_path, "/bin/true")
    assert "is not there; give the interpreter of another environment" in refused(tmp_path, "")
    (tmp_path / "other").write_text("#!/bin/sh\necho 'taskchaos: no answer'\n")
    (tmp_path / "other").chmod(0o755)
    assert "is no Python that can be used: taskchaos: no answer" in refused(tmp_path, tmp_path / "other")


def test_the_present_release_is_no_previous_one(tmp_path: Path) -> None:
    assert "is of this environment" in refused(tmp_path, sys.executable)
    assert "is of this environment" in refused(tmp_path, Path(sys.executable).with_name("python3"))


def test_what_an_environment_lacks_is_one_line(tmp_path: Path) -> None:
    python = bare(tmp_path / "venv")
    assert "lacks what a worker needs: No module named 'celery'" in refused(tmp_path, python)
    with_our_packages(python)
    assert "importing taskchaos.suites.subjects.locked_retry raised" in refused(tmp_path, python)
    (packages(python) / "locked_retry").mkdir()
    (packages(python) / "locked_retry" / "__init__.py").write_text("raise ImportError('half an upgrade')")
    assert "half an upgrade" in refused(tmp_path, python)


def test_a_subject_that_works_here_only_is_one_line(tmp_path: Path, previous: Path) -> None:
    (tmp_path / "mine.py").write_text(SUBJECT)
    line = refused(tmp_path, previous, subject="mine.py:Mine")
    assert "--previous" in line and "too old" in line


def test_another_environment_is_for_processes_of_this_machine(tmp_path: Path, previous: Path) -> None:
    assert "--worker-start zygote" in refused(tmp_path, previous, "--worker-start", "cli")
