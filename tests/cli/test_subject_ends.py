"""Whatever of a subject ends the process that calls it is named, and told as the subject's doing."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_support import taskchaos, verdict

pytestmark = pytest.mark.usefixtures("linux")

MINE = """
import os
from taskchaos.harness.contract import Slo
from taskchaos.harness.subject import CelerySubject
from taskchaos.harness.workload import Workload

def end():
    {end}

class Mine(CelerySubject):
    name = "mine"
    def {call}(self, *arguments):
        end()

def test_quiet(chaos):
    workload = Workload(rate_tps=20, baseline_s=1.0, fault_s=0, healed_s=0, revoke_every=4, revoke_after_ms=100)
    chaos(workload, slo=Slo(target_tps=None))
def test_again(chaos):
    chaos(Workload(rate_tps=20, baseline_s=1.0, fault_s=0, healed_s=0), slo=Slo(target_tps=None))
"""
WAYS = {
    "status": ("os._exit(0)", "status 0"),
    "segv": ("os.kill(os.getpid(), 11)", "status -11 (SIGSEGV)"),
    "kill": ("os.kill(os.getpid(), 9)", "status -9 (SIGKILL)"),
}
OUTSIDE = "by somebody else: that cannot be told from here"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("call", ["install", "register"])
def test_who_ends_a_process_while_it_starts_is_named(tmp_path: Path, call: str, way: str) -> None:
    end, how = WAYS[way]
    (tmp_path / "test_ends.py").write_text(MINE.format(call=call, end=end))
    out = tmp_path / "run"
    done = taskchaos("run", "test_ends.py::test_quiet", "-s", "test_ends.py:Mine", "--out", str(out), cwd=tmp_path)
    (case,) = verdict(out)["cases"]
    assert (done.code, case["trouble"]) == (2, "subject"), done.out + done.err
    assert f"subject in producer-1: {call}() has ended the process, which ended with {how}" in case["error"]
    assert (OUTSIDE in case["error"]) is (way == "kill")


@pytest.mark.parametrize("call", ["submit", "revoke"])
@pytest.mark.parametrize(("way", "code"), [("segv", 2), ("kill", 3)])
def test_a_signal_in_the_middle_of_the_load_is_the_subjects_if_nobody_else_sends_it(
    tmp_path: Path, call: str, way: str, code: int
) -> None:
    end, how = WAYS[way]
    (tmp_path / "test_ends.py").write_text(MINE.format(call=call, end=end))
    out = tmp_path / "run"
    done = taskchaos("run", "test_ends.py::test_quiet", "-s", "test_ends.py:Mine", "--out", str(out), cwd=tmp_path)
    (case,) = verdict(out)["cases"]
    assert (done.code, case["trouble"]) == (code, "subject" if code == 2 else "stack"), done.out + done.err
    assert how in case["error"] and (OUTSIDE in case["error"]) is (way == "kill")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("call", "said"), [("import", "importing "), ("__init__", "Mine()")])
def test_who_ends_the_run_before_it_began_is_named(tmp_path: Path, call: str, said: str, way: str) -> None:
    code = MINE.format(call=call if call == "__init__" else "nothing", end=WAYS[way][0])
    (tmp_path / "test_ends.py").write_text(code + ("end()\n" if call == "import" else ""))
    done = taskchaos("run", "test_ends.py", "-s", "test_ends.py:Mine", cwd=tmp_path)
    assert done.code == 4, done.out + done.err
    assert "test_ends.py:Mine': " + said in done.error_line and "has ended the process of the run" in done.error_line
    assert not list(tmp_path.glob(".taskchaos/runs/2*"))


@pytest.mark.parametrize("parallel", ["1", "2"])
def test_who_ends_the_process_of_a_test_is_named(tmp_path: Path, parallel: str) -> None:
    (tmp_path / "test_ends.py").write_text(MINE.format(call="expectation", end="os._exit(0)"))
    out = tmp_path / "run"
    done = taskchaos("run", "test_ends.py", "-s", "test_ends.py:Mine", "-n", parallel, "--out", str(out), cwd=tmp_path)
    assert done.code == 2, done.out + done.err
    assert "subject mine: expectation() has ended the process of the " in done.out
    assert "Traceback" not in done.out + done.err


@pytest.mark.parametrize("body", ["raise ValueError('hm')", "return 5", "return None", "raise SystemExit"])
def test_an_expectation_that_is_none_is_told_as_the_subjects(tmp_path: Path, body: str) -> None:
    code = MINE.format(call="expectation", end="...").replace("        end()", f"        {body}")
    (tmp_path / "test_ends.py").write_text(code)
    out = tmp_path / "run"
    done = taskchaos("run", "test_ends.py::test_again", "-s", "test_ends.py:Mine", "--out", str(out), cwd=tmp_path)
    (case,) = verdict(out)["cases"]
    assert (done.code, case["trouble"]) == (2, "subject"), done.out + done.err
    assert case["error"].startswith("subject mine: expectation() ") and "\n" not in case["error"]
