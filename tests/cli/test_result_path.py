"""The suite `result_path` sees results that are given up, and proves nothing about a subject that keeps none."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_support import rule, taskchaos, verdict

pytestmark = pytest.mark.usefixtures("linux")

GIVES_UP = """
import locked_retry
from taskchaos.suites.subjects.locked_retry import MAX_CRASHES, LockedRetry

class Mine(LockedRetry):
    name = "gives_up"

    def install(self, app, settings):
        lease_s = float(settings.visibility_timeout_s)
        locked_retry.install(app, lease_s=lease_s, max_crashes=MAX_CRASHES, exclusive=True, result_wait_s=0.1)
"""

KEEPS_NONE = """
from dataclasses import replace

from taskchaos.harness.contract import Claim
from taskchaos.suites.subjects.locked_retry import LockedRetry

class Mine(LockedRetry):
    name = "keeps_none"
    contract = replace(LockedRetry.contract, claims=LockedRetry.contract.claims - {Claim.RESULTS})

    def install(self, app, settings):
        super().install(app, settings)
        app.conf.task_ignore_result = True
"""


@pytest.mark.parametrize(
    ("code", "exit_code", "blamed", "outcome", "reason"),
    [
        pytest.param(GIVES_UP, 1, "results", "fail", "left no final result", id="gives up"),
        pytest.param(KEEPS_NONE, 2, "faults", "unknown", "no fault bit", id="keeps none"),
    ],
)
def test_results_that_are_not_kept_never_pass(
    tmp_path: Path, code: str, exit_code: int, blamed: str, outcome: str, reason: str
) -> None:
    (tmp_path / "mine.py").write_text(code)
    out = tmp_path / "run"
    arguments = ("-s", "mine.py:Mine", "--profile", "default", "-k", "refused", "-n", "1", "--out", str(out))
    done = taskchaos("run", "result_path", *arguments, cwd=tmp_path)
    (case,) = verdict(out)["cases"]
    assert (done.code, case["outcome"]) == (exit_code, outcome), done.out + done.err
    assert rule(case, blamed)["outcome"] == outcome
    assert reason in rule(case, blamed)["reason"]
    assert rule(case, "lost")["outcome"] == "pass", "a result that is lost is no task that is lost"
