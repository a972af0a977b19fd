"""A stored run that was damaged is unknown, or refused in one line: never a pass, a failure of the subject, or a crash.

One real run, cut as the only shard of itself so that it can be merged too, is damaged in every file in many ways.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from honesty_support import COMMAND, call

from taskchaos.harness.cli import main

SUITE = """
from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.contract import Slo
from taskchaos.harness.workload import Workload

LOAD = Workload(rate_tps=20, baseline_s=0.4, fault_s=0.6, healed_s=0.2, failures=1)


def test_small(chaos):
    chaos(LOAD, Schedule.of(PlannedFault("latency", "worker-1", 0.1, 0.4, {"round_trip_ms": 20})), slo=Slo())
"""
SUBJECT = """
from taskchaos.suites.subjects.stock import BestSettings


class Subject(BestSettings):
    name = "mine"
"""
CASE = "cases/suite.small.mine"


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, linux: None) -> Path:
    """A run that passed: its folder, below that of its project."""
    home = tmp_path_factory.mktemp("project")
    (home / "test_suite.py").write_text(SUITE)
    (home / "subject.py").write_text(SUBJECT)
    words = ("-s", "subject.py:Subject", "-s", "locked_retry", "-n", "2", "--shard", "1/1", "--out", "run")
    code, out = call(COMMAND, "run", "test_suite.py", *words, cwd=home)
    assert code == 0, out
    return home / "run"


@pytest.fixture
def copy(stored: Path, tmp_path: Path) -> Path:
    """A copy of it, at another place."""
    return Path(shutil.copytree(stored, tmp_path / "run", symlinks=True))


def _lines(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))

    return damage


def _bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(change(path.read_bytes())) and None


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "gone": Path.unlink,
    "empty": _bytes(lambda data: b""),
    # What follows the seal of a case's events is its verdict, which nothing is judged by: less than half is certain.
    "cut off": _bytes(lambda data: data[: len(data) // 5]),
    "the second half": _bytes(lambda data: data[len(data) // 2 :]),
    "a line gone": _lines(lambda lines: lines[:-2] + lines[-1:] if len(lines) > 2 else []),
    "a line twice": _lines(lambda lines: [lines[0], *lines]),
    "reversed": _lines(lambda lines: lines[::-1] if len(lines) > 1 else [lines[0][::-1]]),
    "no text": _bytes(lambda data: bytes(range(256)) * 8),
    "null": _bytes(lambda data: b"null\n"),
    "a list": _bytes(lambda data: b"[]\n"),
    "nested deeply": _bytes(lambda data: b"[" * 200_000),
    "huge numbers": _bytes(lambda data: re.sub(rb"\d+", rb"\g<0>99999999999999999999", data, count=40)),
    "negative numbers": _bytes(lambda data: re.sub(rb"(?<=[ :])\d", rb"-\g<0>", data)),
    "numbers as words": _bytes(lambda data: re.sub(rb"(?<=[ :])\d+", rb'"many"', data)),
    "a folder": _folder,
    "a link to itself": _loop,
    "a pipe": _pipe,
}
FILES = (
    "plan.json",
    "events.jsonl",
    "manifest.json",
    f"{CASE}/plan.json",
    f"{CASE}/events.jsonl",
    f"{CASE}/final.json",
    f"{CASE}/undo.jsonl",
    f"{CASE}/ledger/producer-1.*.ledger",
    f"{CASE}/ledger/worker-1.*.ledger",
)


@dataclass(frozen=True)
class Ended:
    """How a command ended in this process."""

    code: int
    out: str


def _command(*words: str) -> Ended:
    done = CliRunner().invoke(main, list(words))
    assert isinstance(done.exception, SystemExit | None), (words, done.exception)
    return Ended(done.exit_code, done.output)


def _never_green(folder: Path) -> None:
    """Neither judging nor merging passes, blames somebody, or breaks."""
    for words in (("judge", str(folder)), ("merge", str(folder), "--out", str(folder.with_name("merged")))):
        ended = _command(*words)
        assert ended.code in (2, 4), (words, ended.code, ended.out)
        assert "Traceback" not in ended.out and "a defect of taskchaos" not in ended.out, ended.out


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_every_damage_of_every_file_is_unknown_or_refused(copy: Path, name: str, damage: str) -> None:
    path = next(iter(sorted(copy.glob(name))))
    DAMAGES[damage](path)
    _never_green(copy)


@pytest.mark.parametrize("gone", ["cases", CASE, f"{CASE}/ledger"])
def test_a_folder_that_is_gone_is_unknown(copy: Path, gone: str) -> None:
    shutil.rmtree(copy / gone)
    _never_green(copy)


@pytest.mark.parametrize("kind", ["run_started", "cases_collected", "run_ended", "case_judged", "case_started"])
def test_a_kind_of_event_that_is_gone_is_unknown(copy: Path, kind: str) -> None:
    """Sealed again as it is now: what is missing shows in the record itself."""
    stream = copy / "events.jsonl"
    lines = stream.read_bytes().splitlines(keepends=True)
    stream.write_bytes(b"".join(line for line in lines if json.loads(line)["type"] != kind))
    if kind in ("case_judged", "case_started"):
        return _never_green(copy)  # the record alone could be judged again: it is the seal that tells
    from taskchaos.harness.record.manifest import seal_run

    seal_run(copy)
    _never_green(copy)
    return None


def test_one_acknowledged_line_that_is_gone_is_unknown(copy: Path) -> None:
    """The line that a loss would be told by."""
    path = next(iter(sorted(copy.glob(f"{CASE}/ledger/producer-1.*.ledger"))))
    lines = path.read_bytes().splitlines(keepends=True)
    first = next(n for n, line in enumerate(lines) if line.startswith(b"A "))
    path.write_bytes(b"".join(lines[:first] + lines[first + 1 :]))
    _never_green(copy)


@pytest.mark.parametrize("file", ["plan.json", f"{CASE}/plan.json"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_plan_that_is_damaged_is_not_replayed(
    copy: Path, file: str, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    DAMAGES[damage](copy / file)
    monkeypatch.chdir(copy.parent)
    code, out = call(COMMAND, "replay", str(copy / CASE), cwd=copy.parent)
    assert code == 4, out
    assert len(out.strip().splitlines()) == 1 and "Traceback" not in out


def test_what_is_not_damaged_is_judged_the_same_in_another_place(copy: Path) -> None:
    """The twin: no subject is imported (its file is not there), and nothing is found missing."""
    for name in (
        "report.html",
        "verdict.json",
        "junit.xml",
        "summary.md",
        f"{CASE}/verdict.json",
        f"{CASE}/detail.json",
    ):
        (copy / name).unlink()
    ended = _command("judge", str(copy))
    assert ended.code == 0, ended.out
    merged = _command("merge", str(copy), "--out", str(copy.with_name("merged")))
    assert merged.code == 0, merged.out


def test_a_run_is_replayed_in_another_place(stored: Path, tmp_path: Path) -> None:
    """Its files are found as seen from the run folder, or in it; otherwise the subject can be given again."""
    project = Path(shutil.copytree(stored.parent, tmp_path / "elsewhere" / "project"))
    stored_project = stored.parent.rename(stored.parent.with_name("away"))
    try:
        code, out = call(COMMAND, "replay", str(project / "run" / CASE), cwd=tmp_path)
        assert code == 0, out
        (project / "subject.py").rename(tmp_path / "moved.py")
        code, out = call(COMMAND, "replay", str(project / "run" / CASE), cwd=tmp_path)
        assert code == 0 and "is not here: the stored source" in out, out
        (source,) = (project / "run" / "sources").glob("*/subject.py")
        source.write_bytes(source.read_bytes() + b"#")
        code, out = call(COMMAND, "replay", str(project / "run" / CASE), cwd=tmp_path)
        assert code == 4 and "is not what was stored: give it with --subject" in out, out
        words = ("--subject", "moved.py:Subject")
        code, out = call(COMMAND, "replay", str(project / "run" / CASE), *words, cwd=tmp_path)
        assert code == 0, out
        code, out = call(COMMAND, "replay", str(project / "run" / CASE), "--subject", "locked_retry", cwd=tmp_path)
        assert code == 0 and "suite.small.locked_retry" in out, out
    finally:
        stored_project.rename(stored_project.with_name("project0"))
