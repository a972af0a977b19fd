"""What has been written to files and not been synced: what a power loss takes from them, and how to take it.

Contents last once they are synced; that a file exists, its name and its mode last at once, as on a file system with a
journal. Writes are undone in the reverse of their order, so any mixture of them can be taken back.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from taskchaos.harness.clock import now_ns


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What a power loss took. writes, bytes: of append-only files, so many; torn: the first of them only in part.

    since_ns: a server that answers when it has written, or will write with its next write, may have lost what it
    acknowledged from then on (CLOCK_MONOTONIC).
    """

    writes: int
    bytes: int
    torn: bool
    since_ns: int


@dataclass(frozen=True, slots=True)
class _Change:
    """One write, or a cut (no data). before_ns: when the write to an append-only file before this one began."""

    inode: int
    offset: int
    length: int
    old: bytes  # what was there
    old_size: int
    counts: bool
    before_ns: int


class Unsynced:
    """The writes to some files since their last sync, in order. Not safe for threads.

    Descriptors of changed files are kept until they are synced, so a file may be renamed or removed meanwhile.
    """

    def __init__(self) -> None:
        self._changes: list[_Change] = []
        self._files: dict[int, int] = {}  # by inode
        self._latest_ns = now_ns()  # nothing was written before

    def write(self, fd: int, data: bytes, offset: int, at_ns: int, *, counts: bool) -> int:
        """Write, and remember what was there. counts: to an append-only file. Bytes written; raises OSError."""
        self._remember(fd, offset, len(data), counts)
        if counts:
            self._latest_ns = at_ns
        return os.pwrite(fd, data, offset)

    def cut(self, fd: int, size: int, *, counts: bool) -> None:
        """Change the length of a file, and remember what was there. Raises OSError."""
        self._remember(fd, size, 0, counts)
        os.ftruncate(fd, size)

    def _remember(self, fd: int, offset: int, length: int, counts: bool) -> None:
        status = os.fstat(fd)
        old = b""
        if offset < status.st_size:
            old = os.pread(fd, (length or status.st_size - offset), offset)
        if status.st_ino not in self._files:
            self._files[status.st_ino] = os.dup(fd)
        change = _Change(status.st_ino, offset, length, old, status.st_size, counts, self._latest_ns)
        self._changes.append(change)

    def synced(self, inode: int) -> None:
        """What was written to this file lasts."""
        if inode in self._files:
            self._changes = [change for change in self._changes if change.inode != inode]
            os.close(self._files.pop(inode))

    def pending(self, inode: int) -> bool:
        """Whether something of this file would be lost."""
        return inode in self._files

    def forget(self, *, torn: bool = False) -> Forgotten:
        """Take back what was not synced. torn: all of it lasts but the last write, which lasts in part."""
        taken = self._changes
        if torn:
            last = max((n for n, change in enumerate(taken) if change.counts and change.length), default=None)
            taken = [] if last is None else taken[last:]
        kept = self._half(taken[0]) if torn and taken else b""
        for change in reversed(taken):
            fd = self._files[change.inode]
            os.ftruncate(fd, change.old_size)
            os.pwrite(fd, change.old, change.offset)
        if kept:
            os.pwrite(self._files[taken[0].inode], kept, taken[0].offset)
        lost = [change for change in taken if change.counts]
        since_ns = lost[0].before_ns if lost else self._latest_ns
        for fd in self._files.values():
            os.close(fd)
        self._changes, self._files = [], {}
        return Forgotten(len(lost), sum(change.length for change in lost) - len(kept), bool(kept), since_ns)

    def _half(self, change: _Change) -> bytes:
        return os.pread(self._files[change.inode], change.length // 2, change.offset)
