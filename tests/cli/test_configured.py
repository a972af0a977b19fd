"""What a project's pyproject.toml says is what `taskchaos run` and `pytest --chaos-run` do, and nobody else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_support import taskchaos, verdict

pytestmark = pytest.mark.usefixtures("linux")

SUITE = """
from taskchaos.harness.contract import Slo
from taskchaos.harness.workload import LoadModel, Workload

def test_few(chaos):
    chaos(Workload(model=LoadModel.PREFILL, prefill=5), slo=Slo(target_tps=None))
"""
SUBJECT = "from taskchaos.harness.subject import CelerySubject\nclass Mine(CelerySubject):\n    name = 'mine'\n"
TABLE = """
[tool.taskchaos]
subject = "code/mine.py:Mine"
suites = ["chaos/test_own.py"]
target = 50
seed = 7
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with a subject and a suite; the commands run in a folder of it."""
    for folder in (".git", "chaos", "code", "below"):
        (tmp_path / folder).mkdir()
    (tmp_path / "pyproject.toml").write_text(TABLE)
    (tmp_path / "code" / "mine.py").write_text(SUBJECT)
    (tmp_path / "chaos" / "test_own.py").write_text(SUITE)
    return tmp_path


def _pytest(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=150, check=False)


def test_a_run_does_what_the_project_says_and_says_so(project: Path) -> None:
    done = taskchaos("run", "--out", "out", "-n", "1", cwd=project / "below")
    assert done.code == 0, done.out + done.err
    assert done.out.splitlines()[0] == f"{project / 'pyproject.toml'} says subject, suites, target, seed"
    result = verdict(project / "below" / "out")
    assert ([case["id"] for case in result["cases"]], result["seed"]) == (["own.few.mine"], 7)
    assert result["configured"] == ["subject", "suites", "target", "seed"]
    plan = json.loads((project / "below" / "out" / "plan.json").read_text())
    assert (plan["target_tps"], plan["configured"]) == (50.0, ["subject", "suites", "target", "seed"])
    again = taskchaos("replay", "out", cwd=project / "below")
    assert again.code == 0 and "pyproject.toml" not in again.out, "a replay is told by its plan alone"


def test_the_command_line_wins(project: Path) -> None:
    done = taskchaos(
        *("run", "../chaos/test_own.py", "-s", "stock_best", "--seed", "8", "--out", "out", "-n", "1"),
        cwd=project / "below",
    )
    assert done.code == 0, done.out + done.err
    assert done.out.splitlines()[0].endswith("pyproject.toml says target")
    result = verdict(project / "below" / "out")
    assert ([case["id"] for case in result["cases"]], result["seed"]) == (["own.few.stock_best"], 8)


@pytest.mark.parametrize("more", [(), ("-n", "2")])
def test_plain_pytest_does_the_same(project: Path, more: tuple[str, ...]) -> None:
    done = _pytest("--chaos-run", "--chaos-out", "out", "../chaos/test_own.py", *more, cwd=project / "below")
    assert done.returncode == 0, done.stdout + done.stderr
    result = verdict(project / "below" / "out")
    assert ([case["id"] for case in result["cases"]], result["seed"]) == (["own.few.mine"], 7)
    assert result["configured"] == ["subject", "target", "seed"]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("profil = 'quick'", "[tool.taskchaos] has no key 'profil': did you mean profile?"),
        ("seed = 'x'", "[tool.taskchaos] seed = 'x': has to be a whole number"),
        ("suites = ['partitoin']", "[tool.taskchaos] suites: no suite 'partitoin'; did you mean partition?"),
        ("x = ", "cannot be read: "),
    ],
)
def test_what_is_wrong_is_one_line_and_4_on_both_front_ends(project: Path, table: str, says: str) -> None:
    (project / "pyproject.toml").write_text(f"[tool.taskchaos]\n{table}\n")
    done = taskchaos("run", cwd=project / "below")
    assert done.code == 4 and says in done.error_line and str(project / "pyproject.toml") in done.error_line
    assert not (project / "below" / ".taskchaos").exists()
    if "suites" not in table:
        theirs = _pytest(
            "--chaos-run", "--rootdir", ".", "-c", os.devnull, "../chaos/test_own.py", cwd=project / "below"
        )
        assert theirs.returncode == 4 and says in theirs.stdout + theirs.stderr
        assert "Traceback" not in theirs.stdout + theirs.stderr


def test_a_misspelt_suite_is_told_as_it_was_given(project: Path) -> None:
    done = taskchaos("run", "partitoin", cwd=project)
    assert done.error_line == "taskchaos: no suite 'partitoin'; did you mean partition?"


def test_a_broken_table_is_nothing_to_tests_that_are_no_chaos_run(project: Path) -> None:
    (project / "pyproject.toml").write_text("[tool.taskchaos]\nnosuch = 1\n")
    (project / "test_theirs.py").write_text("def test_theirs(): pass\n")
    done = _pytest("test_theirs.py", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    for words in (["suites"], ["subjects"], ["judge", "nosuch"], ["runs"]):
        assert "nosuch = 1" not in taskchaos(*words, cwd=project).err
