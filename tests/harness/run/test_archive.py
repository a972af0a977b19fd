"""A run in a .zip: what a run has is unpacked, everything else is refused in one line, and nothing is left behind."""

from __future__ import annotations

import os
import stat
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from taskchaos.harness.cli import main
from taskchaos.harness.errors import UsageError
from taskchaos.harness.run.archive import the_run_in, unpack, unpack_beside, unpacked


def zipped(place: Path, files: dict[str, bytes]) -> Path:
    """An archive with these files."""
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, text in files.items():
            packed.writestr(name, text)
    return place


RUN = {"run 1/plan.json": b"{}", "run 1/events.jsonl": b"", "run 1/cases/ä/plan.json": b"x"}


def test_what_a_run_has_is_unpacked_and_gone_afterwards(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "rün 1.zip", RUN)
    with unpacked([archive, tmp_path]) as (folder, other):
        assert other == tmp_path and folder.name == archive.name
        run = the_run_in(folder, archive)
        assert {str(p.relative_to(folder)) for p in run.rglob("*") if p.is_file()} == set(RUN)
    assert not folder.exists()


def test_nothing_is_left_when_its_user_ends_it(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "run.zip", RUN)
    with pytest.raises(KeyboardInterrupt), unpacked([archive]) as (folder,):
        raise KeyboardInterrupt
    assert not folder.exists()


def _entry(name: str, mode: int = 0, text: bytes = b"x") -> Callable[[Path], Path]:
    def make(place: Path) -> Path:
        with zipfile.ZipFile(place, "w") as packed:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            packed.writestr(info, text)
        return place

    return make


def _bomb(place: Path) -> Path:
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as packed, packed.open("zeros", "w") as entry:
        for _ in range(160):
            entry.write(bytes(1 << 20))
    return place


def _damaged(place: Path) -> Path:
    zipped(place, {"plan.json": b"abc" * 1000})
    data = bytearray(place.read_bytes())
    data[45] ^= 0xFF
    place.write_bytes(data)
    return place


def _encrypted(place: Path) -> Path:
    data = bytearray(zipped(place, {"plan.json": b"abc"}).read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + flags] |= 1
    place.write_bytes(data)
    return place


def _halved(place: Path) -> Path:
    data = zipped(place, RUN).read_bytes()
    place.write_bytes(data[: len(data) // 2])
    return place


def _twice(place: Path) -> Path:
    with zipfile.ZipFile(place, "w") as packed:
        packed.writestr("plan.json", b"x")
        with pytest.warns(UserWarning, match="Duplicate"):
            packed.writestr("plan.json", b"x")
    return place


def _text(place: Path) -> Path:
    place.write_text("no archive")
    return place


HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "parent": (_entry("../out"), "leads out of its folder"),
    "parent below": (_entry("a/../../out"), "leads out of its folder"),
    "absolute": (_entry("/tmp/out"), "leads out of its folder"),
    "backslash": (_entry("..\\out"), "leads out of its folder"),
    "deep": (_entry("d/" * 1500 + "x"), "is deeper than anything in a run"),
    "link": (_entry("plan.json", stat.S_IFLNK | 0o777, b"/etc/passwd"), "is a link or a special file"),
    "pipe": (_entry("plan.json", stat.S_IFIFO), "is a link or a special file"),
    "bomb": (_bomb, "becomes more than 200 times as large"),
    "damaged": (_damaged, "cannot be unpacked"),
    "encrypted": (_encrypted, "is encrypted"),
    "halved": (_halved, "cannot be unpacked: File is not a zip file"),
    "twice": (_twice, "is in it twice"),
    "text": (_text, "cannot be unpacked: File is not a zip file"),
    "no run": (lambda place: zipped(place, {"a": b""}), "holds no run"),
    "two runs": (lambda place: zipped(place, {f"{k}/{n}": b"" for k in "ab" for n in ("plan.json", "events.jsonl")}),
                 "holds 2 runs: give one with only one"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_no_run_has_is_refused_in_one_line(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    make, says = HOSTILE[kind]
    home = tmp_path / "place"
    home.mkdir()
    done = CliRunner().invoke(main, ["judge", str(make(home / "run.zip"))])
    assert done.exit_code == 4, done.output
    (line,) = done.stderr.splitlines()
    assert says in line and "run.zip" in line
    assert [p.name for p in home.iterdir()] == ["run.zip"]
    assert not (tmp_path / "out").exists() and not Path("/tmp/out").exists()


def test_every_command_with_a_run_refuses_them(tmp_path: Path) -> None:
    archive = str(_entry("../out")(tmp_path / "run.zip"))
    for words in (["merge", archive], ["evidence", archive], ["replay", archive], ["replay", f"{archive}/a.b.c"],
                  ["shrink", archive], ["compare", archive, archive]):  # fmt: skip
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 4, (words, done.output)
        assert "leads out of its folder" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_folder_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "run.zip", RUN)
    assert unpack_beside(archive) == tmp_path / "run"
    assert {p.name for p in tmp_path.iterdir()} == {"run.zip", "run"}
    with pytest.raises(UsageError, match="is there already: give that folder, or move it away"):
        unpack_beside(archive)


def test_a_pipe_is_no_archive(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run.zip")
    with pytest.raises(UsageError, match="is no regular file"):
        unpack(tmp_path / "run.zip", tmp_path / "out")
