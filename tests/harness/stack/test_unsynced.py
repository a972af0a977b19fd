"""What was not synced is taken back, whatever was done to the file; what was synced stays."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskchaos.harness.stack.unsynced import Unsynced


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.fixture
def fd(path: Path) -> Iterator[int]:
    opened = os.open(path, os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


def _inode(fd: int) -> int:
    return os.fstat(fd).st_ino


def test_appended_and_overwritten_and_cut(path: Path, fd: int) -> None:
    unsynced = Unsynced()
    unsynced.write(fd, b"0123456789", 0, 1, counts=True)
    unsynced.synced(_inode(fd))
    unsynced.write(fd, b"abc", 10, 2, counts=True)
    unsynced.write(fd, b"XY", 2, 3, counts=True)
    unsynced.cut(fd, 5, counts=True)
    unsynced.write(fd, b"tail", 20, 4, counts=True)
    unsynced.cut(fd, 0, counts=True)
    unsynced.forget()
    assert path.read_bytes() == b"0123456789"
    unsynced.write(fd, b"again", 10, 5, counts=True)
    assert unsynced.pending(_inode(fd))
    assert unsynced.forget().writes == 1
    assert path.read_bytes() == b"0123456789"


def test_a_file_may_be_renamed_and_another_be_synced(path: Path, fd: int) -> None:
    unsynced = Unsynced()
    other = os.open(path.with_name("other"), os.O_RDWR | os.O_CREAT)
    unsynced.write(fd, b"lost", 0, 1, counts=False)
    unsynced.write(other, b"kept", 0, 2, counts=False)
    unsynced.synced(_inode(other))
    path.rename(path.with_name("renamed"))
    unsynced.forget()
    os.close(other)
    assert path.with_name("renamed").read_bytes() == b"" and path.with_name("other").read_bytes() == b"kept"


def test_it_reaches_back_to_the_write_before_the_first_that_is_lost(fd: int) -> None:
    """With a sync under way a server answers first and writes later: with the next write, not with the sync."""
    unsynced = Unsynced()
    began_ns = unsynced.forget().since_ns
    assert began_ns > 0
    for at_ns in (10, 20):
        unsynced.write(fd, b"x", at_ns, at_ns, counts=True)
    unsynced.synced(_inode(fd))
    assert unsynced.forget().since_ns == 20, "what it would write with its next write is lost"
    for at_ns in (30, 40):
        unsynced.write(fd, b"x", at_ns, at_ns, counts=True)
    found = unsynced.forget()
    assert (found.writes, found.bytes, found.torn, found.since_ns) == (2, 2, False, 20)


def test_a_torn_write_is_there_in_part_and_those_before_it_whole(path: Path, fd: int) -> None:
    unsynced = Unsynced()
    unsynced.write(fd, b"first.", 0, 1, counts=True)
    unsynced.write(fd, b"second", 6, 2, counts=True)
    found = unsynced.forget(torn=True)
    assert path.read_bytes() == b"first.sec"
    assert (found.writes, found.bytes, found.torn, found.since_ns) == (1, 3, True, 1)
    assert unsynced.forget(torn=True).bytes == 0, "nothing is left to tear"
