"""Manifests: which files are the evidence of a case or of a run, and what they held when it was complete.

A case's evidence is sealed when nothing that belongs to it runs any more; `final.json` holds the final state with the
manifest of all else, and a checksum of itself. `manifest.json` of a run seals the cases in the same way. Who judges
later compares first: what is missing, cut or changed makes a verdict unknown, never a failure and never a pass.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from taskchaos.harness import codec
from taskchaos.harness.files import open_file, read_file
from taskchaos.harness.record.history import FinalState
from taskchaos.harness.record.layout import CASES, EVENTS, FINAL, LEDGER, MANIFEST, PLAN, SUFFIX, UNDO

#: Files that grow after they were sealed: what they held then is what counts.
GROWING = frozenset({EVENTS})
_CHUNK = 1 << 20

T = TypeVar("T")


class DamagedError(Exception):
    """A seal that is missing, cannot be read, or is not what was written; the message says which."""


@dataclass(frozen=True, slots=True)
class SealedFile:
    """One file, by its path below the folder. records: how many lines; crc: CRC-32 of its bytes."""

    name: str
    bytes: int
    records: int
    crc: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a folder that are evidence."""

    entries: tuple[SealedFile, ...] = ()


@dataclass(frozen=True, slots=True)
class SealedCase:
    """What `final.json` holds."""

    state: FinalState
    manifest: Manifest


def survey(folder: Path, names: Iterable[str]) -> Manifest:
    """What these files hold now; those that are not there are left out. Raises OSError."""
    return Manifest(tuple(_entry(folder, name) for name in sorted(names) if (folder / name).is_file()))


def inside(folder: Path, path: Path) -> bool:
    """Whether a path stays in a folder, links followed."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _entry(folder: Path, name: str, most: int | None = None) -> SealedFile:
    """A file as it is, or its first `most` bytes."""
    size = records = crc = 0
    with open_file(folder / name) as file:
        while data := file.read(_CHUNK if most is None else min(_CHUNK, most - size)):
            size += len(data)
            records += data.count(b"\n")
            crc = zlib.crc32(data, crc)
    return SealedFile(name, size, records, crc)


def differences(folder: Path, manifest: Manifest, found: Iterable[str]) -> Iterator[str]:
    """How the files of a folder differ from what was sealed, a line each. found: the names that are evidence now."""
    sealed = {entry.name: entry for entry in manifest.entries}
    for name in sorted({*found} - sealed.keys()):
        yield f"{name} is not in the manifest"
    for name, entry in sealed.items():
        if not inside(folder, folder / name):
            yield f"{name} is outside the folder"
            continue
        try:
            now = _entry(folder, name, entry.bytes if name in GROWING else None)
        except OSError as error:
            yield f"{name} cannot be read: {error.strerror}"
            continue
        if now.bytes != entry.bytes:
            yield f"{name} has {now.bytes:,} of {entry.bytes:,} bytes ({now.records:,} of {entry.records:,} records)"
        elif now != entry:
            yield f"{name} was changed: its checksum is another one"


# --- a case ----------------------------------------------------------------------------------------------------------


def case_evidence(folder: Path) -> list[str]:
    """The names of the files that a case is judged by, `final.json` apart."""
    ledgers = [f"{LEDGER}/{path.name}" for path in (folder / LEDGER).glob(f"*{SUFFIX}")]
    return [name for name in (PLAN, EVENTS, UNDO) if (folder / name).is_file()] + ledgers


def seal_case(folder: Path, state: FinalState) -> None:
    """Write `final.json`. Everything that writes to the folder has ended. Raises OSError."""
    _write(folder / FINAL, SealedCase(state, survey(folder, case_evidence(folder))))


def plan_changed(folder: Path) -> bool:
    """Whether the plan of a case, or of a run, is another one than that which was sealed; False where nothing was."""
    try:
        is_case = (folder / FINAL).exists()
        sealed = _read(SealedCase, folder / FINAL).manifest if is_case else _read(Manifest, folder / MANIFEST)
    except DamagedError:
        return False
    return any(entry.name == PLAN and entry not in survey(folder, [PLAN]).entries for entry in sealed.entries)


def unseal_case(folder: Path) -> tuple[FinalState, tuple[str, ...]]:
    """The final state of a case, and how its evidence differs from what was sealed. Raises DamagedError."""
    sealed = _read(SealedCase, folder / FINAL)
    return sealed.state, tuple(differences(folder, sealed.manifest, case_evidence(folder)))


# --- a run -----------------------------------------------------------------------------------------------------------


def run_evidence(folder: Path) -> list[str]:
    """The names of the files that make up a run: its plan and events, and the plan and seal of every case."""
    cases = [
        f"{CASES}/{path.name}/{name}"
        for path in (folder / CASES).glob("*")
        for name in (PLAN, FINAL)
        if "~" not in path.name and (path / name).is_file()
    ]
    return [name for name in (PLAN, EVENTS) if (folder / name).is_file()] + cases


def seal_run(folder: Path) -> None:
    """Write `manifest.json`. Raises OSError."""
    _write(folder / MANIFEST, survey(folder, run_evidence(folder)))


def run_differences(folder: Path) -> tuple[str, ...]:
    """How a run's folder differs from what was sealed. Raises DamagedError."""
    return tuple(differences(folder, _read(Manifest, folder / MANIFEST), run_evidence(folder)))


# --- the files -------------------------------------------------------------------------------------------------------


def _write(path: Path, value: object) -> None:
    data = codec.encode(value)
    fresh = path.with_name(f".{path.name}")
    fresh.write_text(json.dumps({**data, "crc": _checksum(data)}) + "\n", encoding="utf-8")
    fresh.replace(path)


def _read(kind: type[T], path: Path) -> T:
    try:
        data = json.loads(read_file(path))
        crc = data.pop("crc", None) if isinstance(data, dict) else None
        if crc != _checksum(data):
            raise DamagedError(
                f"{path.name} is not as it was written" if crc is not None else f"{path.name} has no checksum"
            )
        return codec.decode(kind, data)
    except FileNotFoundError:
        raise DamagedError(f"{path.name} is missing") from None
    except OSError as error:
        raise DamagedError(f"{path.name} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path.name} cannot be read: {error}") from error


def _checksum(data: object) -> int:
    return zlib.crc32(json.dumps(data, sort_keys=True, separators=(",", ":")).encode())
