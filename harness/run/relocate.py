"""Finds the user's own files of a stored case again: where they were, as seen from the run, or the copies in the run.

A run that lies where it was made is somebody's who works on these files: they are taken as they are now. In a run that
was copied elsewhere the stored copy counts, since what has the same name there may be somebody else's. Whatever is not
the file of the run is told in a line.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from taskchaos.harness.case.plan import Case
from taskchaos.harness.case.subject_loading import resolve, source_of
from taskchaos.harness.case.subject_names import spec_of
from taskchaos.harness.errors import UsageError
from taskchaos.harness.record.sources import SourceRole, StoredSource
from taskchaos.harness.run.folder import RunOptions


@dataclass(frozen=True, slots=True)
class Relocated:
    """What takes the place of a file, or of a subject's spec. note: what the user has to know of it; mostly nothing."""

    place: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class StoredFiles:
    """The files of a case in a run folder. options: those of the run."""

    folder: Path
    options: RunOptions
    case: Case

    @property
    def at_home(self) -> bool:
        """Whether the run lies where it was made."""
        return os.path.realpath(self.folder) == os.path.realpath(self.options.out)

    def subject(self) -> Relocated:
        """The spec of the case's subject. Raises UsageError when it is nowhere, or cannot be used."""
        spec, stored = self.case.subject, self.case.source(SourceRole.SUBJECT)
        place, _, attribute = spec_of(spec).rpartition(":")
        if place.endswith(".py"):
            found = self._file(Path(place), stored, SourceRole.SUBJECT)
            return Relocated(f"{found.place}:{attribute}", found.note)
        if stored is None:
            return Relocated(spec)
        return self._module(spec, stored)

    def _module(self, spec: str, stored: StoredSource) -> Relocated:
        """A subject of a package: as it is installed here, or its stored file."""
        try:
            resolve(spec)
            found = source_of(spec)
        except UsageError:
            found = None
        if found and (self.at_home or stored.same(found[0])):
            return Relocated(spec, "" if stored.same(found[0]) else self._changed(found[0], stored))
        copy = self._copy(stored, f"subject {spec!r} is not here as it was")
        return Relocated(f"{copy.place}:{stored.attribute}", copy.note)

    def suite(self, shipped: Path) -> Relocated:
        """The file that the case's test is in. shipped: above the suites that ship. Raises UsageError."""
        file = Path(self.case.nodeid.partition("::")[0])
        if file.is_absolute():
            return self._file(file, self.case.source(SourceRole.SUITE), SourceRole.SUITE)
        if not os.path.isfile(shipped / file):
            raise UsageError(f"the suite of {self.case.id} is not at {shipped / file} any more: run it again")
        return Relocated(str(shipped / file))

    def _file(self, file: Path, stored: StoredSource | None, role: SourceRole) -> Relocated:
        there = self._seen_from_here(file)
        if stored is None:
            if role is SourceRole.SUITE and not os.path.isfile(there):
                raise UsageError(
                    f"the suite of {self.case.id} is not at {there} any more: put it there, or run it again"
                )
            return Relocated(str(there))
        if not os.path.isfile(there):
            return self._copy(stored, f"{there} is not here")
        if stored.same(there):
            return Relocated(str(there))
        if self.at_home:
            return Relocated(str(there), self._changed(there, stored))
        return self._copy(stored, f"{there} is not what it was in the run")

    def _changed(self, file: Path, stored: StoredSource) -> str:
        return f"{file} was changed since the run: used as it is now; as it was, it is {self.folder / stored.stored}"

    def _copy(self, stored: StoredSource, why: str) -> Relocated:
        copy = stored.kept(self.folder)
        if copy is None:
            other = "give it with --subject" if stored.role is SourceRole.SUBJECT else "run it again"
            raise UsageError(f"{why}, and {self.folder / stored.stored} is not what was stored: {other}")
        instead = " (-s takes another)" if stored.role is SourceRole.SUBJECT else ""
        return Relocated(str(copy), f"{why}: the stored source {copy} is used{instead}")

    def _seen_from_here(self, file: Path) -> Path:
        """A file as seen from the run folder, which may have been moved together with it; else where it was."""
        seen = Path(os.path.normpath(self.folder / os.path.relpath(file, self.options.out)))
        return seen if os.path.isfile(seen) else file
