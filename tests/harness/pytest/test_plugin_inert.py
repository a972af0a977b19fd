"""Installed beside other people's tests, the plugin does nothing: no import, no hook, no name of theirs is taken.

An unrelated project may have packages called harness, faults and suites, and fixtures called subject and profile.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = """
import json, os, sys
from pathlib import Path
import pytest

@pytest.fixture
def subject():
    return "of their own"

@pytest.fixture
def profile():
    return "of their own"

def pytest_addoption(parser):
    parser.addoption("--subject")
    parser.addoption("--profile")
    parser.addoption("--stack")

@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    plugin = sys.modules["taskchaos_pytest"]
    manager = session.config.pluginmanager
    found = {
        "modules": sorted(m for m in sys.modules if m.partition(".")[0] in OURS),
        "hooks": sorted(caller.name for caller in manager.get_hookcallers(plugin)),
    }
    name = os.environ.get("PYTEST_XDIST_WORKER", "controller")
    Path(__file__).with_name(f"{name}.json").write_text(json.dumps(found))

OURS = ("taskchaos", "taskchaos_pytest", "locked_retry", "celery", "kombu", "redis", "toxiproxy", "click", "jinja2")
"""
TESTS = """
import faults, harness, suites
from harness.tool import here
import pytest

@pytest.mark.parametrize("number", range(5))
def test_theirs(number, subject, profile):
    assert (subject, profile, here) == ("of their own", "of their own", True)
    assert faults.here and harness.here and suites.here
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("harness", "faults", "suites"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("here = True\n")
        (tmp_path / name / "tool.py").write_text("here = True\n")
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_theirs.py").write_text(TESTS)
    return tmp_path


def _pytest(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--strict-markers", *words]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("words", [(), ("-n", "2"), ("--subject", "x", "--profile", "y", "--stack", "z")])
def test_a_foreign_project_is_not_touched(project: Path, words: tuple[str, ...]) -> None:
    """Nothing but the plugin's own file is imported, and none of its hooks is one that is called for a test."""
    done = _pytest(project, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout
    processes = {path.stem: json.loads(path.read_text()) for path in project.glob("*.json")}
    assert processes.keys() == ({"controller", "gw0", "gw1"} if "-n" in words else {"controller"})
    for found in processes.values():
        assert found["modules"] == ["taskchaos_pytest"]
        assert found["hooks"] == ["pytest_addoption", "pytest_configure"]


def test_the_plugin_may_be_named_as_others_are(project: Path) -> None:
    done = _pytest(project, "-p", "taskchaos_pytest")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_test_that_asks_for_chaos_is_told_how_to_get_it(project: Path) -> None:
    (project / "test_case.py").write_text(
        "import pytest\npytestmark = [pytest.mark.chaos(cost_s=8), pytest.mark.chaos_alone]\n"
        "@pytest.mark.chaos_depth('default')\ndef test_case(chaos):\n    pass\n"
        "def test_of_a_subject(chaos_subject):\n    pass\n"
    )
    done = _pytest(project)
    assert done.returncode != 0
    assert "5 passed, 2 errors" in done.stdout, "theirs are run"
    assert "run it with `pytest --chaos-run`, or with `taskchaos run`" in done.stdout


def test_every_option_and_fixture_bears_our_name(project: Path) -> None:
    """Options begin with --chaos-, fixtures and markers with chaos."""
    shown = _pytest(project, "--help").stdout
    options = shown.partition("chaos suites for Celery on Redis")[2].partition("\n\n")[0]
    named = [word.rstrip(",") for line in options.splitlines() for word in line.split()[:1] if word.startswith("--")]
    assert len(named) >= 14 and all(name.partition("=")[0].startswith("--chaos-") for name in named), named
    for flag, start in (("--fixtures", "chaos"), ("--markers", "@pytest.mark.chaos")):
        words = (("-p", "no:taskchaos_pytest"), ("--chaos-run",))
        before, after = (_pytest(project, flag, *more).stdout.splitlines() for more in words)
        added = [
            line for line in after if line not in before and line[:1].strip() and not line.startswith(("---", "="))
        ]
        ours = [line for line in added if "--" in line or line.startswith("@")]
        assert ours and all(line.startswith(start) for line in ours), ours
