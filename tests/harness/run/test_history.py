"""`taskchaos runs`: every folder is a line, whatever is in it; flaky is what passed and failed with one plan; and what
`prune` removes is never in use, never outside, and `latest` leads somewhere afterwards."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import report_samples as samples
from click.testing import CliRunner, Result
from plans import plan

from taskchaos.harness import codec
from taskchaos.harness.cli import main
from taskchaos.harness.record.result import CaseResult
from taskchaos.harness.record.verdict import Outcome, Rule
from taskchaos.harness.report import json_file, write_all
from taskchaos.harness.run import ongoing
from taskchaos.harness.run.repeat import SERIES, Repeated, RepeatSeries

CASE = samples.cases()[0]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / ".taskchaos" / "runs"
    folder.mkdir(parents=True)
    return folder


def made(folder: Path, hour: int, cases: Sequence[CaseResult] = (), *, seed: int = 1) -> Path:
    """A run that ended, with these cases."""
    (folder / "cases").mkdir(parents=True)
    (folder / "plan.json").write_text("{}")
    (folder / "events.jsonl").write_text("")
    found = replace(
        json_file.read(_sample(folder)),
        started=f"2026-11-01T{hour:02}:00:00+00:00",
        cases=tuple(cases),
        run=folder.name,
    )
    (folder / "verdict.json").write_text(json_file.dumps(found))
    for case in cases:
        parts = {"suite": case.suite, "scenario": case.scenario, "subject_name": case.subject}
        plan(subject=case.subject, seed=seed, **parts).save(folder / "cases" / case.id)
    return folder


def _sample(folder: Path) -> Path:
    place = folder.parent.parent / "sample"
    if not place.exists():
        samples.run_folder(place)
        write_all(place)
    return place / "verdict.json"


def failing(case: CaseResult) -> CaseResult:
    return replace(case, outcome=Outcome.FAIL, as_expected=False, failed_rules=(Rule.LOST,))


def passing(case: CaseResult) -> CaseResult:
    return replace(case, outcome=Outcome.PASS, as_expected=True, failed_rules=(), trouble=None, assertion="")


def command(*words: str) -> Result:
    done = CliRunner().invoke(main, ["runs", *words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    return done


def rows() -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(command("--json").stdout)
    return found


def test_no_runs_are_no_error(runs: Path) -> None:
    assert command().stdout == "no runs in .taskchaos/runs\n"
    assert rows() == []
    runs.rmdir()
    assert command().exit_code == 0
    assert command("prune", "--keep", "0").stdout == "0 runs, 0 bytes removed\n"


def test_newest_first_with_what_they_came_to(runs: Path) -> None:
    made(runs / "b old", 1, [passing(CASE)])
    made(runs / "a new ü", 2, [failing(CASE), passing(samples.cases()[1])])
    (runs / "latest").symlink_to("a new ü")
    found = rows()
    assert [row["run"] for row in found] == ["a new ü", "b old"]
    assert [(row["cases"], row["surprises"], row["state"]) for row in found] == [(2, 1, "ended"), (1, 0, "ended")]
    lines = command().stdout.splitlines()
    assert lines[0].split() == ["run", "when", "came", "to", "cases", "surprises", "took", "what"]
    assert lines[1].startswith("a new ü") and CASE.suite in lines[1] and CASE.subject in lines[1]


def test_whatever_is_in_a_folder_it_is_a_line(runs: Path) -> None:
    """Half a verdict, none, another release's, a pipe, a folder in the place of a file, nothing at all."""
    made(runs / "half", 1, [passing(CASE)])
    text = (runs / "half" / "verdict.json").read_bytes()
    (runs / "half" / "verdict.json").write_bytes(text[: len(text) // 2])
    for name, content in {
        "list": "[]", "null": "null", "text": "x", "types": '{"outcome": "pass", "exit_code": "0", "wall_s": []}',
        "deep": "[" * 100_000, "numbers": '{"outcome": "pass", "exit_code": 0, "wall_s": 1e999}', "": "",
    }.items():  # fmt: skip
        made(runs / f"v {name}", 1)
        (runs / f"v {name}" / "verdict.json").write_text(content)
    samples.run_folder(runs / "killed", samples.stream()[:12])
    made(runs / "newer", 3)
    data = json.loads((runs / "newer" / "verdict.json").read_text())
    (runs / "newer" / "verdict.json").write_text(json.dumps({**data, "schema": 99, "more": {"a": 1}}))
    made(runs / "folder", 1)
    (runs / "folder" / "verdict.json").unlink()
    (runs / "folder" / "verdict.json").mkdir()
    made(runs / "pipe", 1)
    (runs / "pipe" / "verdict.json").unlink()
    os.mkfifo(runs / "pipe" / "verdict.json")
    (runs / "empty").mkdir()
    (runs / "file").write_text("")
    (runs / "tries").mkdir()
    (runs / "tries" / SERIES).write_text("{")
    states = {row["run"]: row["state"] for row in rows()}
    assert states.pop("newer") == "ended" and states.pop("killed") == "cut off" and states.pop("empty") == "no run"
    assert set(states.values()) == {"broken"} and "file" not in states, states
    assert len(command().stdout.splitlines()) == len(rows()) + 1


def test_a_run_that_goes_on_is_listed_as_that(runs: Path) -> None:
    folder = made(runs / "1", 1, [passing(CASE)])
    (folder / "verdict.json").unlink()
    ongoing.hold(folder)
    try:
        assert [row["state"] for row in rows()] == ["going on"]
    finally:
        ongoing.release(folder)


def test_many_who_ask_are_no_run_that_goes_on(runs: Path) -> None:
    folder = made(runs / "1", 1, [passing(CASE)])
    (folder / ongoing.LOCK).touch()
    answers: list[bool] = []

    def ask() -> None:
        answers.extend(ongoing.going_on(folder) for _ in range(300))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [False] * 900


@pytest.mark.parametrize("name", [".running", "events.jsonl", "verdict.json"])
def test_a_pipe_in_a_run_holds_nobody_up(runs: Path, name: str) -> None:
    folder = made(runs / "1", 1, [passing(CASE)])
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    assert [row["state"] for row in rows()] != ["going on"]


def test_how_often_a_case_failed_in_its_last_runs(runs: Path) -> None:
    other = samples.cases()[1]
    for hour, failed in enumerate((True, True, False, True)):
        made(runs / str(hour), hour, [failing(CASE) if failed else passing(CASE), passing(other)])
    whole = command("--case", CASE.id)
    assert whole.stdout == f"{CASE.id}  failed 3 of 4, 3 unexpected  ✗✗✓✗  flaky\n"
    assert "failed 1 of 2" in command("--case", CASE.id, "--last", "2").stdout
    (glob,) = json.loads(command("--case", f"*{CASE.subject}", "--json").stdout)[:1]
    assert (glob["case"], glob["failed"], glob["decided"], glob["flaky"]) == (CASE.id, 3, 4, True)
    assert glob["outcomes"] == [True, False, True, True], "newest first"
    assert "no case matches 'nosuch'" in command("--case", "nosuch").stdout
    shown = command().stdout
    assert "Flaky" in shown and f"  {CASE.id}" in shown and f"  {other.id}" not in shown


def test_another_plan_is_no_flakiness_and_no_verdict_counts_for_nothing(runs: Path) -> None:
    made(runs / "1", 1, [failing(CASE)], seed=1)
    made(runs / "2", 2, [passing(CASE)], seed=2)
    made(runs / "3", 3, [replace(CASE, outcome=Outcome.UNKNOWN, as_expected=False)], seed=1)
    (found,) = json.loads(command("--case", CASE.id, "--json").stdout)
    assert (found["failed"], found["decided"], found["flaky"]) == (1, 2, False)
    assert "Flaky" not in command().stdout


def test_a_series_counts_as_its_runs(runs: Path) -> None:
    folder = runs / "series"
    tries = tuple(
        Repeated(f"tries/run-{n}", outcome, outcome is Outcome.PASS, (Rule.LOST,) if outcome is Outcome.FAIL else ())
        for n, outcome in enumerate((Outcome.PASS, Outcome.FAIL, Outcome.UNKNOWN))
    )
    for one in tries:
        made(folder / one.place, 1, [CASE])
    (folder / SERIES).write_text(json.dumps(codec.encode(RepeatSeries(CASE.id, 3, tries))))
    (row,) = rows()
    assert (row["state"], row["outcome"], row["cases"]) == ("ended", "fail", 3)
    assert "failed 1 of 2: 50 %" in str(row["why"])
    (found,) = json.loads(command("--case", CASE.id, "--json").stdout)
    assert (found["failed"], found["decided"], found["flaky"]) == (1, 2, True)


def test_the_oldest_are_removed_and_told_with_their_bytes(runs: Path) -> None:
    for hour in range(5):
        made(runs / f"run {hour}", hour, [CASE])
    (runs / "latest").symlink_to("run 4")
    size = sum(p.stat().st_size for p in (runs / "run 0").rglob("*") if p.is_file())
    before = sorted(p.name for p in runs.iterdir())
    dry = command("prune", "--keep", "3", "--dry-run").stdout
    assert sorted(p.name for p in runs.iterdir()) == before
    assert f"would remove run 0: {size:,} bytes" in dry and "2 runs, " in dry and "would be removed" in dry
    done = command("prune", "--keep", "3")
    assert done.exit_code == 0
    assert f"removed run 0: {size:,} bytes" in done.stdout and "removed run 1: " in done.stdout
    assert sorted(p.name for p in runs.iterdir()) == ["latest", "run 2", "run 3", "run 4"]


def test_what_goes_on_what_is_no_run_and_what_a_link_leads_to_stay(runs: Path, tmp_path: Path) -> None:
    outside = made(tmp_path / "outside", 1, [CASE])
    kept = made(runs / "held", 1, [CASE])
    (runs / "linked").symlink_to(outside)
    (runs / "mine").mkdir()
    (runs / "mine" / "notes.txt").write_text("x")
    for name in ("plan.json", "cases"):  # of somebody else's
        (runs / f"with {name}" / name).mkdir(parents=True)
    old = made(runs / "old", 2, [CASE])
    (old / "cases" / "elsewhere").symlink_to(outside)
    inside = made(runs / "around" / "again", 1, [CASE])
    (runs / "around" / "verdict.json").write_text("{}")
    ongoing.hold(kept)
    ongoing.hold(inside)
    try:
        assert command("prune", "--keep", "0").exit_code == 3, "one could not be removed: a run in it goes on"
    finally:
        ongoing.release(kept)
        ongoing.release(inside)
    left = ["around", "held", "linked", "mine", "with cases", "with plan.json"]
    assert sorted(p.name for p in runs.iterdir()) == left
    assert (outside / "verdict.json").exists()


@pytest.mark.parametrize("keep", [0, 1])
def test_latest_leads_to_a_run_with_cases_or_is_gone(runs: Path, keep: int) -> None:
    made(runs / "old", 1, [CASE])
    made(runs / "new", 2, [CASE])
    (runs / "latest").symlink_to("old")
    command("prune", "--keep", str(keep))
    if keep:
        assert (runs / "latest").resolve() == runs / "new"
    else:
        assert not (runs / "latest").is_symlink()


def test_a_run_that_cannot_be_removed_is_told(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(runs / "1", 1)

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(shutil, "rmtree", refuse)
    done = command("prune", "--keep", "0")
    assert done.exit_code == 3 and "! 1 is not removed: " in done.stdout and "Permission denied" in done.stdout
    monkeypatch.undo()
    monkeypatch.chdir(runs.parent.parent)
    assert command("prune", "--keep", "0").exit_code == 0
    assert list(runs.iterdir()) == [], "what was left half removed goes the next time"


def test_three_hundred_runs_are_listed(runs: Path) -> None:
    first = made(runs / "0", 1, [passing(CASE)])
    for number in range(1, 300):
        os.makedirs(runs / str(number))
        for name in ("plan.json", "events.jsonl", "verdict.json"):
            os.link(first / name, runs / str(number) / name)
    assert len(rows()) == 300
    assert command("prune", "--keep", "290").exit_code == 0
    assert len(rows()) == 290
