"""Removes old runs: never one that goes on, never what a link leads to, and never half a run in the place of one."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from taskchaos.harness.errors import TaskchaosError
from taskchaos.harness.record.layout import LATEST
from taskchaos.harness.run import folder as run
from taskchaos.harness.run import ongoing

#: How a folder is called while it is removed: what an end in the middle leaves is no run, and goes the next time.
_GOING = ".removing-"


@dataclass(frozen=True, slots=True)
class Removed:
    """What became of a run that was to be removed. why: it was not."""

    name: str
    bytes: int
    why: str = ""


def size_of(folder: Path) -> int:
    """The bytes that its removal frees: files that are linked from elsewhere stay."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                found = os.lstat(os.path.join(place, name))
                total += found.st_size if found.st_nlink == 1 else 0
    return total


def remove(folder: Path) -> Removed:
    """Remove a run. Raises nothing: why it is still there is said."""
    freed = size_of(folder)
    if folder.is_symlink():
        return Removed(folder.name, 0, "is a link")
    if any(ongoing.going_on(inside) for inside in (folder, *(lock.parent for lock in folder.rglob(ongoing.LOCK)))):
        return Removed(folder.name, 0, "goes on, or a run inside it does")
    going = folder.with_name(f"{_GOING}{folder.name}")
    try:
        folder.rename(going)
        shutil.rmtree(going)
    except OSError as error:
        return Removed(folder.name, 0, f"{error.filename or folder}: {error.strerror}")
    return Removed(folder.name, freed)


def remove_leftovers(runs: Path) -> None:
    """What an earlier removal did not come to the end of."""
    for path in runs.glob(f"{_GOING}*"):
        if not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


def mend_latest(runs: Path) -> None:
    """Have `latest` lead to the last run with cases that is left; without one there is no `latest`."""
    link = runs / LATEST
    if not link.is_symlink() or run.has_cases(link):
        return
    newest = run.latest()
    try:
        if newest != link:
            run.link_latest(newest.resolve())
        else:
            link.unlink()
    except OSError as error:
        raise TaskchaosError(f"{link}: {error.strerror}") from error
