"""The user's own code that a case was run with, kept in its run: the file of its subject, and that of its suite.

Kept below `sources/`, in a folder that is named by what is in it: cases share it, and so do the shards of a run. What
the files import is not kept, except a conftest.py beside a suite.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from taskchaos.harness.errors import StackError
from taskchaos.harness.files import read_file

SOURCES = "sources"
#: What pytest reads beside a suite.
CONFTEST = "conftest.py"
_DIGITS = 16


class SourceRole(StrEnum):
    """What a file is to a case."""

    SUBJECT = "subject"
    SUITE = "suite"


@dataclass(frozen=True, slots=True)
class StoredSource:
    """A file as it was when the case was run.

    path: where it was; stored: its copy, below the run folder; sha256: of it and of what was kept beside it. attribute:
    of a subject, what it is called in there.
    """

    role: SourceRole
    path: str
    stored: str
    sha256: str
    attribute: str = ""

    def same(self, file: Path) -> bool:
        """Whether a file, with what is beside it, is as this was."""
        try:
            return digest(_texts(_with_neighbours(self.role, file))) == self.sha256
        except OSError:
            return False

    def kept(self, folder: Path) -> Path | None:
        """The copy in a run folder; None when it is missing, or is not what was stored."""
        copy = folder / self.stored
        inside = Path(os.path.realpath(copy)).is_relative_to(os.path.realpath(folder / SOURCES))
        return copy if inside and self.same(copy) else None


def keep(folder: Path, role: SourceRole, file: Path, attribute: str = "") -> StoredSource | None:
    """Copy a file into the run folder, unless it is there already; None when it cannot be read.

    Raises StackError when the copy cannot be written. Processes may do this side by side.
    """
    try:
        texts = _texts(_with_neighbours(role, file))
    except OSError:
        return None
    sha256 = digest(texts)
    home = folder / SOURCES / sha256[:_DIGITS]
    if not home.is_dir():
        try:
            home.parent.mkdir(exist_ok=True)
            fresh = Path(tempfile.mkdtemp(prefix=".", dir=home.parent))
            fresh.chmod(0o755)  # as what is not temporary; who copies the run is to read it
            for name, text in texts.items():
                (fresh / name).write_bytes(text)
            try:
                fresh.rename(home)
            except OSError:  # another process was first
                for name in texts:
                    (fresh / name).unlink()
                fresh.rmdir()
                if not home.is_dir():
                    raise
        except OSError as error:
            raise StackError(f"{home} cannot be written: {error.strerror}") from error
    return StoredSource(role, str(file), f"{SOURCES}/{home.name}/{file.name}", sha256, attribute)


def digest(texts: dict[str, bytes]) -> str:
    """Of files by name, whichever folder they are in."""
    whole = hashlib.sha256()
    for name, text in sorted(texts.items()):
        whole.update(f"{name}\0{len(text)}\0".encode("utf-8", "surrogateescape") + text)
    return whole.hexdigest()


def _with_neighbours(role: SourceRole, file: Path) -> Iterable[Path]:
    beside = file.with_name(CONFTEST)
    return (file, beside) if role is SourceRole.SUITE and file != beside and os.path.isfile(beside) else (file,)


def _texts(files: Iterable[Path]) -> dict[str, bytes]:
    return {file.name: read_file(file) for file in files}
