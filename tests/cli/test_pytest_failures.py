"""What a user's own pytest session says of a case that failed: the loss in one line, no line of ours, and JUnit."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from repository import ROOT

pytestmark = pytest.mark.usefixtures("linux")

GUIDE = ROOT / "docs" / "how-to" / "judge-from-your-own-tests.md"
CASE = """
from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.contract import Slo
from taskchaos.harness.record.seen import Seen
from taskchaos.harness.workload import LoadModel, Workload

def test_y(chaos):
    load = Workload(model=LoadModel.PREFILL, prefill=132)
    {body}
"""
CALL = "chaos(load, slo=Slo(target_tps=None))"
DROPS = """
from taskchaos.harness.subject import CelerySubject

class Mine(CelerySubject):
    name = "mine"

    def register(self, app, body):
        @app.task(name="mine.task")
        def task(payload):
            if payload["op"] not in (42, 76, 80):
                body(payload)
        return task
"""
#: A subject whose own code fails, in what the harness calls.
RAISES = DROPS + "\n    def pending(self, redis):\n        raise RuntimeError('no idea')\n"
KINDS = {
    "Unexpected: lost: 3 of 132 (op-42, op-76, op-80): ": (DROPS, CALL),
    "NoVerdict: ": (RAISES, CALL),
    "Inconclusive: x.y.mine: expected pass, found unknown": (
        DROPS.replace("(42, 76, 80)", "()"),
        "chaos(load, slo=Slo(target_tps=None), must_see=[Seen.TAKEN_OVER])",
    ),
    "NeverCalled: chaos was never called": (DROPS, "pass"),
    "RuntimeError: chaos was called twice": (DROPS.replace("(42, 76, 80)", "()"), f"{CALL}; {CALL}"),
    "ValueError: no kind of fault 'nosuch'": (
        DROPS,
        'chaos(load, Schedule((PlannedFault("nosuch", "worker-1", 0, 0.1),)))',
    ),
    "ValueError: prefill has to be a whole number": (
        DROPS,
        "chaos(Workload(model=LoadModel.PREFILL, prefill=1.5))",
    ),
}


def _pytest(*arguments: str, cwd: Path, columns: int = 100) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env = {name: value for name, value in env.items() if name not in ("CI", "BUILD_NUMBER")} | {"COLUMNS": str(columns)}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=150,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("said", KINDS, ids=lambda said: " ".join(said.split()[:4]))
def test_a_failure_shows_the_users_line_and_none_of_ours(tmp_path: Path, said: str) -> None:
    subject, body = KINDS[said]
    (tmp_path / "mine.py").write_text(subject)
    (tmp_path / "test_x.py").write_text(CASE.format(body=body))
    done = _pytest("test_x.py", "--chaos-subject", "mine.py:Mine", "--chaos-out", "run", cwd=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    failures = done.stdout.partition("= FAILURES =")[2].partition("- taskchaos -")[0]
    if not said.startswith("Inconclusive"):  # an outcome of its own, told in the section taskchaos
        (line,) = re.findall(rf"^E +([A-Za-z.]*{re.escape(said)}.*)$", failures, re.MULTILINE)
        assert body == "pass" or f">       {body.rpartition('; ')[2]}" in failures.replace(f"{CALL}; ", ""), failures
        assert len(line) <= 230
    else:
        assert f"? {said.partition(': ')[2]}" in done.stdout
    places = re.findall(r"^(\S+\.py):\d+: ", failures, re.MULTILINE)
    assert set(places) <= {"test_x.py"} and str(ROOT) not in failures, failures


def test_a_lost_task_is_in_the_short_summary_and_whole_above_it(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(DROPS)
    (tmp_path / "test_x.py").write_text(CASE.format(body=CALL))
    done = _pytest("test_x.py", "--chaos-subject", "mine.py:Mine", "--junitxml", "j.xml", cwd=tmp_path, columns=90)
    found = "lost: 3 of 132 (op-42, op-76, op-80)"
    (short,) = (line for line in done.stdout.splitlines() if line.startswith("FAILED "))
    assert short.startswith(f"FAILED test_x.py::test_y[mine] - Unexpected: {found}"), short
    (whole,) = (line for line in done.stdout.splitlines() if line.startswith("✗ "))
    assert whole.startswith(f"✗ test_x.py::test_y[mine]: {found}: ") and len(whole) > 100, whole

    (case,) = ET.parse(tmp_path / "j.xml").getroot().iter("testcase")
    told = {one.get("name"): one.get("value") for one in case.iter("property")}
    assert (
        told.items()
        >= {
            "taskchaos_outcome": "fail",
            "taskchaos_expected": "pass",
            "taskchaos_failed": "lost, false_success",
            "taskchaos_lost": "3",
            "taskchaos_false_success": "3",
            "taskchaos_submitted": "132",
            "taskchaos_effects": "129",
            "taskchaos_seed": "1",
            "taskchaos_subject": "mine",
        }.items()
    )
    assert "taskchaos replay " in told["taskchaos_replay"]
    documented = set(re.findall(r"`(taskchaos)?_(\w+)`", GUIDE.read_text().partition("## JUnit")[2]))
    assert {name.removeprefix("taskchaos_") for name in told} - {name for _, name in documented} == {
        "counts_as",
        "false_success",
    }


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The files of the guide, each of which names itself in its first line."""
    blocks = re.findall(r"```python\n# (\S+)\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert [name for name, _ in blocks] == ["shop/retry.py", "tests/conftest.py", "tests/test_orders.py"]
    for name, code in blocks:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(code)
    return tmp_path


def test_the_project_of_the_guide_leaves_its_cases_out_of_an_ordinary_session(project: Path) -> None:
    done = _pytest("-rs", cwd=project)
    assert "1 passed, 1 skipped" in done.stdout, done.stdout + done.stderr
    assert "a chaos case: pytest --chaos-run" in done.stdout


@pytest.mark.parametrize("words", [["--chaos-run"], ["--chaos-run", "-n", "2"]], ids=" ".join)
def test_the_project_of_the_guide_judges_its_own_subject(project: Path, words: list[str]) -> None:
    """Plain Celery may lose a task here, or not: both are verdicts about the subject that conftest.py names."""
    done = _pytest(*words, "--chaos-out", "run", cwd=project)
    assert (project / "run" / "cases" / "orders.a_worker_is_killed.shop" / "verdict.json").is_file(), done.stdout
    assert done.returncode == ("1 failed" in done.stdout)
    assert "1 failed, 1 passed" in done.stdout or "2 passed" in done.stdout, done.stdout


def test_the_project_of_the_guide_takes_another_subject(project: Path) -> None:
    done = _pytest("--chaos-subject", "locked_retry", cwd=project)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
