"""`taskchaos compare`: from folders, archives and names, for people, pull requests and programs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import report_samples as samples
from click.testing import CliRunner, Result

from taskchaos.harness.cli import main
from taskchaos.harness.record.events import CaseJudged
from taskchaos.harness.record.result import CaseResult
from taskchaos.harness.record.verdict import Outcome, Rule
from taskchaos.harness.report import write_all

GOOD = tuple(c for c in samples.cases() if c.as_expected)
WORSE = replace(GOOD[0], outcome=Outcome.FAIL, as_expected=False, failed_rules=(Rule.STUCK,))


def made(folder: Path, cases: tuple[CaseResult, ...]) -> Path:
    """The run folder of these cases, with its files."""
    samples.run_folder(folder, samples.stream(cases), {c.id: samples.detail(c) for c in cases})
    (folder / "plan.json").write_text("{}")
    samples.seal(folder, [CaseJudged(case=c.id, result=c) for c in cases])
    write_all(folder)
    return folder


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Among the runs of the working directory: before, after (worse), same."""
    monkeypatch.chdir(tmp_path)
    home = tmp_path / ".taskchaos" / "runs"
    made(home / "before run", GOOD)
    made(home / "after", (WORSE, *GOOD[1:]))
    made(home / "same", GOOD)
    (home / "latest").symlink_to("after")
    return home


def command(*words: str | Path) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, words)])


def refused(*words: str | Path) -> str:
    done = command(*words)
    assert done.exit_code == 4, done.output
    (line,) = done.stderr.splitlines()
    return line


def test_a_regression_is_1_and_stands_first(runs: Path) -> None:
    done = command("before run", "latest")
    assert done.exit_code == 1, done.output
    lines = [line for line in done.stdout.splitlines() if line.startswith(("✗", "✓", "?", "·"))]
    assert lines == [f"✗ {WORSE.id}  regression: pass -> fail stuck"]
    assert f"new finding for {WORSE.subject}: stuck in {WORSE.id}" in done.stdout
    assert done.stdout.splitlines()[-1] == f"REGRESSION: {len(GOOD)} cases in both: 1 regression, {len(GOOD) - 1} same"


def test_the_same_is_0_and_unasked_its_cases_are_not_shown(runs: Path) -> None:
    done = command("before run", "same")
    assert done.exit_code == 0, done.output
    assert f"{len(GOOD)} cases came to the same (-v shows them)" in done.stdout and "✓" not in done.stdout
    assert command("before run", "same", "-v").stdout.count("same: ") == len(GOOD)


def test_a_run_is_a_name_a_folder_or_an_archive(runs: Path, tmp_path: Path) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "ün 1"), "zip", runs, "after"))
    wanted = command("before run", "after").stdout
    for before in ("before run", runs / "before run"):
        for after in ("after", "latest", runs / "after", archive):
            done = command(before, after)
            assert (done.exit_code, done.stdout) == (1, wanted), after


def test_for_a_pull_request(runs: Path) -> None:
    done = command("before run", "after", "--markdown")
    assert done.exit_code == 1
    assert done.stdout.startswith("### ❌ REGRESSION: ")
    (row,) = [line for line in done.stdout.splitlines() if "regression | " in line]
    assert row.startswith(f"| ❌ regression | {WORSE.id.replace('_', chr(92) + '_')} | pass | fail stuck |")
    assert "<details>" in done.stdout
    assert command("before run", "same", "--markdown").stdout.startswith("### ✅ NO REGRESSION: ")


def test_for_programs(runs: Path) -> None:
    done = command("before run", "after", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert (found["schema"], found["exit_code"]) == (1, 1)
    assert [case["id"] for case in found["cases"] if case["kind"] == "regression"] == [WORSE.id]


def test_a_run_without_events_is_compared_by_its_verdict(runs: Path) -> None:
    for name in ("events.jsonl", "manifest.json", "cases"):
        place = runs / "after" / name
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    assert command("before run", "after").exit_code == 1


def test_a_damaged_run_is_no_pass(runs: Path) -> None:
    (runs / "same" / "manifest.json").unlink()
    done = command("before run", "same")
    assert done.exit_code == 2
    assert "! the run after is in doubt: manifest.json is missing" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("IN DOUBT: ")
    assert command("before run", "same", "--markdown").stdout.startswith("### ❔ IN DOUBT")


def test_half_a_file_is_no_traceback_and_no_pass(runs: Path) -> None:
    for name in ("events.jsonl", f"cases/{GOOD[0].id}/detail.json", f"cases/{GOOD[0].id}/plan.json"):
        shutil.rmtree(runs / "half", ignore_errors=True)
        shutil.copytree(runs / "same", runs / "half")
        data = (runs / "half" / name).read_bytes()
        (runs / "half" / name).write_bytes(data[: len(data) // 2])
        done = command("before run", "half")
        assert not done.exception or isinstance(done.exception, SystemExit)
        assert done.exit_code == (0 if name.endswith("detail.json") else 2), (name, done.output)


def test_what_cannot_be_compared_is_one_line(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no run" in refused("before run", "empty")
    assert "nosuch holds no run" in refused("before run", "nosuch")
    assert "give one of them" in refused("before run", "same", "--markdown", "--json")
    (tmp_path / "x.zip").write_text("x")
    assert "x.zip cannot be unpacked" in refused("before run", "x.zip")
    assert "Missing argument 'AFTER'" in refused("before run")
