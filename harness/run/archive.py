"""A run folder in a .zip, as CI systems keep it: unpacked for as long as it is needed, and nothing of it is trusted."""

from __future__ import annotations

import contextlib
import lzma
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from taskchaos.harness.errors import StackError, UsageError
from taskchaos.harness.files import open_file
from taskchaos.harness.record.layout import EVENTS, PLAN
from taskchaos.harness.run.ending import ended_by_signals

SUFFIX = ".zip"
#: A run has some thousand files, each a few folders deep.
MOST_ENTRIES, MOST_DEEP = 200_000, 50
#: An archive may become so much larger than it is: ledgers and logs shrink to a twentieth.
MOST_RATIO = 200
FREE_BYTES = 64 << 20
_CHUNK = 1 << 20
#: What a damaged archive makes zipfile raise.
_BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, NotImplementedError, RuntimeError)


def is_archive(place: Path) -> bool:
    """Whether a place is a .zip and no folder."""
    return place.suffix.lower() == SUFFIX and not place.is_dir()


@contextlib.contextmanager
def unpacked(places: Sequence[Path]) -> Iterator[list[Path]]:
    """The places, with a temporary folder for each .zip among them, which is gone afterwards.

    Raises UsageError for an archive that is broken, or holds what no run does.
    """
    with contextlib.ExitStack() as stack:
        found = []
        for place in places:
            if is_archive(place):
                stack.enter_context(ended_by_signals())
                home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="taskchaos-")))
                place, archive = home / place.name, place  # so that what is said of it names it
                unpack(archive, place)
            found.append(place)
        yield found


def unpack_beside(archive: Path) -> Path:
    """Unpack the one run of an archive into a folder beside it, of its name without .zip. Raises UsageError."""
    target = archive.with_suffix("")
    if target.exists() or target.is_symlink():
        raise UsageError(f"{archive}: {target} is there already: give that folder, or move it away")
    try:
        with ended_by_signals(), tempfile.TemporaryDirectory(prefix=".taskchaos-", dir=archive.parent) as home:
            inside = Path(home) / archive.name
            unpack(archive, inside)
            the_run_in(inside, archive).rename(target)
    except OSError as error:
        raise UsageError(f"{archive}: cannot be unpacked beside it: {error.strerror}; copy it elsewhere") from error
    return target


def the_run_in(folder: Path, name: Path) -> Path:
    """The only run folder that a folder is or contains. name: what the user calls it. Raises UsageError."""
    found = list(runs_below(folder))
    if len(found) != 1:
        raise UsageError(f"{name} holds {len(found) or 'no'} run{'s: give one with only one' if found else ''}")
    return found[0]


def runs_below(folder: Path) -> Iterator[Path]:
    """The run folders that a folder is or contains, in order of their names; links are not followed."""
    places = [folder]
    while places:
        place = places.pop()
        if (place / PLAN).is_file() and (place / EVENTS).is_file():
            yield place
            continue
        below = sorted(place.iterdir(), reverse=True)
        places += [entry for entry in below if entry.is_dir() and not entry.is_symlink()]  # `latest` is such a link


def unpack(archive: Path, into: Path) -> None:
    """Write the files of an archive below a new folder.

    Raises UsageError for one that is broken, encrypted, leads out of its folder, has links or special files, or is far
    larger than it looks; StackError when there is no room.
    """
    try:
        file = open_file(archive)
    except OSError as error:
        raise UsageError(f"{archive}: {error.strerror}") from error
    try:
        with file, zipfile.ZipFile(file) as packed:
            entries = packed.infolist()
            if len(entries) > MOST_ENTRIES:
                raise UsageError(f"{archive}: {len(entries):,} files are more than a run has: not unpacked")
            left = FREE_BYTES + MOST_RATIO * archive.stat().st_size
            into.mkdir()
            for entry in entries:
                left -= _unpack_one(packed, entry, archive, into, left)
    except _BROKEN as error:
        raise UsageError(f"{archive} cannot be unpacked: {error or type(error).__name__}") from None
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise UsageError(f"{archive}: {error.filename} is in it twice: not unpacked") from None
    except OSError as error:
        raise StackError(f"{archive} cannot be unpacked to {into}: {error.strerror}") from error


def _unpack_one(packed: zipfile.ZipFile, entry: zipfile.ZipInfo, archive: Path, into: Path, left: int) -> int:
    """Write one file; how many bytes it has. left: so many it may have."""
    name, mode = PurePosixPath(entry.filename), stat.S_IFMT(entry.external_attr >> 16)
    if name.is_absolute() or ".." in name.parts or "\\" in entry.filename or not name.parts:
        raise UsageError(f"{archive}: {entry.filename!r} leads out of its folder: not unpacked")
    if len(name.parts) > MOST_DEEP:
        raise UsageError(f"{archive}: {entry.filename[:100]!r}... is deeper than anything in a run: not unpacked")
    if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise UsageError(f"{archive}: {entry.filename!r} is a link or a special file: not unpacked")
    if entry.flag_bits & 1:
        raise UsageError(f"{archive}: is encrypted: unpack it yourself, and give the folder")
    target = into / name
    if entry.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with packed.open(entry) as source, target.open("xb") as out:
        while data := source.read(_CHUNK):
            written += len(data)
            if written > left:
                raise UsageError(f"{archive}: becomes more than {MOST_RATIO} times as large: not unpacked")
            out.write(data)
    return written
