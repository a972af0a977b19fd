"""The suite `poison` sees what it is for: poison that is given up too soon or too late, and poison that is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli_support import rule, taskchaos, verdict

pytestmark = pytest.mark.usefixtures("linux")


def _run(folder: Path, code: str, *chosen: str) -> tuple[int, dict[str, Any]]:
    """Run the chosen case of the suite against the subject of this code: exit code and the case."""
    (folder / "mine.py").write_text(code)
    out = folder / "run"
    arguments = ("poison", "-s", "mine.py:Mine", "--profile", "default", "-n", "1", "-k", *chosen, "--out", str(out))
    done = taskchaos("run", *arguments, cwd=folder)
    (case,) = verdict(out)["cases"]
    return done.code, case


HASTY = """
import locked_retry
from taskchaos.suites.subjects.locked_retry import LockedRetry

class Mine(LockedRetry):
    name = "hasty"

    def install(self, app, settings):
        app.conf.task_ignore_result = True
        locked_retry.install(app, lease_s=float(settings.visibility_timeout_s), max_crashes=1, exclusive=True)
"""

PATIENT = HASTY.replace("hasty", "patient").replace("max_crashes=1", "max_crashes=6")


@pytest.mark.parametrize(
    ("code", "failed", "note"),
    [
        pytest.param(HASTY, "dead_letter", "dead after 0 of 4 attempts, 1 of 5 crashes", id="too soon"),
        pytest.param(PATIENT, "retries", "6 crashes of 5", id="too late"),
    ],
)
def test_a_poison_task_has_to_be_given_up_when_the_contract_says(
    tmp_path: Path, code: str, failed: str, note: str
) -> None:
    exit_code, case = _run(tmp_path, code, "task")
    assert (exit_code, case["failed_rules"]) == (1, [failed])
    assert rule(case, failed)["samples"][0]["note"] == note


def test_a_poison_task_that_kills_nothing_proves_nothing(tmp_path: Path) -> None:
    tame = """
from taskchaos.suites.subjects.locked_retry import LockedRetry

class Mine(LockedRetry):
    name = "tame"

    def register(self, app, body):
        return super().register(app, lambda payload, fence=None: body({**payload, "poison": False}, fence))
"""
    exit_code, case = _run(tmp_path, tame, "task")
    assert (exit_code, case["outcome"]) == (2, "unknown")
    assert "had to end a process and never did" in rule(case, "evidence")["reason"]


def test_a_poison_message_that_ends_a_worker_is_a_failure(tmp_path: Path) -> None:
    plain = """
from taskchaos.suites.subjects.stock import BestSettings

class Mine(BestSettings):
    name = "plain"
    expectations = {}
"""
    exit_code, case = _run(tmp_path, plain, "timelimit")
    assert (exit_code, case["outcome"]) == (1, "fail")
    assert rule(case, "workers")["observed"] > 0


def test_a_poison_message_that_nobody_takes_proves_nothing(tmp_path: Path) -> None:
    elsewhere = """
from taskchaos.suites.subjects.locked_retry import LockedRetry

class Mine(LockedRetry):
    name = "elsewhere"

    def install(self, app, settings):
        super().install(app, settings)
        app.conf.task_default_queue = "elsewhere"
"""
    exit_code, case = _run(tmp_path, elsewhere, "timelimit")
    assert (exit_code, case["outcome"]) == (2, "unknown")
    assert "nobody took it from the queue" in rule(case, "faults")["reason"]
