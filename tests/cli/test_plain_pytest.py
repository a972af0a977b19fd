"""`pytest suites` is the same engine: same cases, outcomes of its own for controls and unknown, also under -n."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cli_support import taskchaos, verdict
from repository import ROOT

pytestmark = pytest.mark.usefixtures("linux")


def _pytest(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=150,
        stdin=subprocess.DEVNULL,
    )


def test_controls_are_an_outcome_of_their_own_under_xdist(tmp_path: Path) -> None:
    out = tmp_path / "run"
    suite = str(ROOT / "suites" / "test_partition.py")
    subjects = ["--chaos-subject", "stock_best", "--chaos-subject", "interview_sleep"]
    done = _pytest(suite, *subjects, "--chaos-out", str(out), "-n", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 control caught" in done.stdout
    assert f"report: {out / 'report.html'}" in done.stdout
    assert len(verdict(out)["cases"]) == 2


def test_unknown_is_an_outcome_of_its_own_and_fails_the_session(tmp_path: Path) -> None:
    (tmp_path / "sabotage.py").write_text(
        "from taskchaos.harness.record.ledger import Ledger\nLedger._write = lambda self, *a, **k: None\n"
        "from taskchaos.harness.subject import CelerySubject\n"
        "class Sabotaged(CelerySubject):\n    name = 'sabotaged'\n"
    )
    suite = str(ROOT / "suites" / "test_throughput.py")
    out = tmp_path / "run"
    done = _pytest(suite, "--chaos-subject", "sabotage.py:Sabotaged", "--chaos-out", str(out), cwd=tmp_path)
    assert done.returncode == 1
    assert "1 inconclusive" in done.stdout
    assert "? throughput.drain.sabotaged: expected pass, found unknown" in done.stdout, "and says why"
    assert "evidence: gaps in the evidence = 0" in done.stdout


def test_a_bad_option_is_a_usage_error_of_pytest(tmp_path: Path) -> None:
    done = _pytest(str(ROOT / "suites"), "--chaos-subject", "nosuch", "--collect-only", cwd=tmp_path)
    assert done.returncode == 4
    assert "no subject 'nosuch'" in done.stdout + done.stderr


def test_a_suite_that_does_not_import_is_reported_not_a_crash_of_the_plugin(tmp_path: Path) -> None:
    (tmp_path / "test_broken.py").write_text("import no_such_module\n")
    done = _pytest("test_broken.py", cwd=tmp_path)
    assert done.returncode == 2
    assert "INTERNALERROR" not in done.stdout + done.stderr
    assert "No module named 'no_such_module'" in done.stdout
    front = taskchaos("run", "test_broken.py", "-s", "stock_best", cwd=tmp_path)
    assert front.code == 4
    assert "no_such_module" in front.error_line


def test_a_suite_of_ones_own_runs_through_the_command(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        "from taskchaos.harness.contract import PhaseName, Slo\n"
        "from taskchaos.harness.workload import LoadModel, Workload\n"
        "def test_ten(chaos):\n"
        "    chaos(Workload(model=LoadModel.PREFILL, prefill=10), slo=Slo(target_tps=None))\n"
    )
    out = tmp_path / "run"
    done = taskchaos("run", "test_mine.py", "-s", "stock_best", "--out", str(out), "-n", "1", cwd=tmp_path)
    assert done.code == 0, done.out + done.err
    assert [c["id"] for c in verdict(out)["cases"]] == ["mine.ten.stock_best"]

    again = taskchaos("replay", str(out / "cases" / "mine.ten.stock_best"), cwd=tmp_path)
    assert again.code == 0, again.out + again.err
    (tmp_path / "test_mine.py").unlink()
    kept = next((out / "sources").glob("*/test_mine.py"))
    gone = taskchaos("replay", str(out / "cases" / "mine.ten.stock_best"), cwd=tmp_path)
    assert gone.code == 0, gone.out + gone.err
    assert f"! {tmp_path / 'test_mine.py'} is not here: the stored source {kept} is used" in gone.out
    kept.unlink()
    gone = taskchaos("replay", str(out / "cases" / "mine.ten.stock_best"), cwd=tmp_path)
    assert gone.code == 4
    assert gone.err.splitlines() == [
        f"taskchaos: {tmp_path / 'test_mine.py'} is not here, and {kept} is not what was stored: run it again"
    ]


def test_what_plain_pytest_has_run_can_be_replayed(tmp_path: Path) -> None:
    """Its rootdir is that of the project, or of the suites; that of a replay is another."""
    (tmp_path / "test_mine.py").write_text(
        "from taskchaos.harness.contract import Slo\n"
        "from taskchaos.harness.workload import LoadModel, Workload\n"
        "def test_ten(chaos):\n"
        "    chaos(Workload(model=LoadModel.PREFILL, prefill=10), slo=Slo(target_tps=None))\n"
    )
    shipped = str(ROOT / "suites" / "test_throughput.py")
    for suite, case in (("test_mine.py", "mine.ten.stock_best"), (shipped, "throughput.drain.stock_best")):
        out = tmp_path / case
        done = _pytest(suite, "--chaos-subject", "stock_best", "--chaos-out", str(out), cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        again = taskchaos("replay", str(out), cwd=tmp_path)
        assert again.code == 0, again.out + again.err


def test_long_cases_come_first_and_those_of_one_scenario_are_spread(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        "import pytest\n"
        "def costs(cost_s):\n"
        "    return pytest.mark.chaos(cost_s=cost_s)\n"
        "@pytest.mark.chaos_alone\n@costs(99)\ndef test_alone(chaos): pass\n"
        "@costs(1)\ndef test_short(chaos): pass\n"
        "@costs(10)\ndef test_long(chaos): pass\n"
        "@costs(5)\ndef test_middle(chaos): pass\n"
    )
    subjects = [word for name in ("stock_best", "stock_defaults", "locked_retry") for word in ("--chaos-subject", name)]
    done = _pytest("test_mine.py", "--collect-only", "-q", *subjects, cwd=tmp_path)
    order = [line.partition("::test_")[2].partition("[")[0] for line in done.stdout.splitlines() if "::" in line]
    assert order == [*["long", "middle", "short"] * 3, *["alone"] * 3]
