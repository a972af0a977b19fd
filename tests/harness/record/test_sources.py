"""The user's files in a run: whole, shared by cases that have the same, told from what has only their name."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from taskchaos.harness.errors import StackError
from taskchaos.harness.record.sources import SOURCES, SourceRole, keep

SUBJECT, SUITE = SourceRole.SUBJECT, SourceRole.SUITE


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def test_a_file_is_kept_once_whoever_keeps_it(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("x = 1\n")
    with ThreadPoolExecutor(8) as threads:
        found = {f.result() for f in [threads.submit(keep, run, SUBJECT, file, "Mine") for _ in range(40)]}
    (stored,) = found
    assert stored is not None and stored.attribute == "Mine"
    copy = stored.kept(run)
    assert copy is not None and copy.read_text() == "x = 1\n" and copy.name == "mine.py"
    assert len(list((run / SOURCES).iterdir())) == 1, "nothing half done is left"


def test_two_files_of_one_name_are_both_kept(run: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text(name)
    one, two = (keep(run, SUBJECT, tmp_path / name / "mine.py") for name in ("a", "b"))
    assert one is not None and two is not None
    assert [(run / s.stored).read_text() for s in (one, two)] == ["a", "b"]
    assert one.same(tmp_path / "a" / "mine.py") and not one.same(tmp_path / "b" / "mine.py")


def test_what_pytest_reads_beside_a_suite_is_a_part_of_it(run: Path, tmp_path: Path) -> None:
    suite, beside = tmp_path / "test_mine.py", tmp_path / "conftest.py"
    suite.write_text("x")
    beside.write_text("y")
    stored = keep(run, SUITE, suite)
    assert stored is not None and stored.kept(run) is not None
    assert (run / stored.stored).with_name("conftest.py").read_text() == "y"
    beside.write_text("z")
    assert not stored.same(suite)


@pytest.mark.parametrize("damage", ["change", "remove", "lead out"])
def test_a_copy_that_is_not_what_was_stored_is_none(run: Path, tmp_path: Path, damage: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text("x = 1\n")
    stored = keep(run, SUBJECT, file)
    assert stored is not None
    copy = run / stored.stored
    copy.unlink()
    if damage == "change":
        copy.write_text("x = 2\n")
    elif damage == "lead out":
        copy.symlink_to(file)
    assert stored.kept(run) is None


def test_what_cannot_be_read_is_not_kept_and_what_cannot_be_written_is_one_line(run: Path, tmp_path: Path) -> None:
    assert keep(run, SUBJECT, tmp_path / "none.py") is None
    (tmp_path / "mine.py").write_text("")
    (run / SOURCES).write_text("in the way")
    with pytest.raises(StackError, match="cannot be written"):
        keep(run, SUBJECT, tmp_path / "mine.py")
