"""The subjects that have names: those that come with taskchaos, and those of other installed packages. Imports none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points

#: The entry-point group of subjects: the name that --subject accepts, and package.module:Name.
GROUP = "taskchaos.subjects"
#: The entry-point group, and the name in it, of the table of those that ship.
SHIPPED = ("taskchaos.shipped", "subjects")


@dataclass(frozen=True, slots=True)
class SubjectInfo:
    """A registered subject, without importing it."""

    name: str
    spec: str


@cache
def shipped() -> tuple[SubjectInfo, ...]:
    """The subjects that come with taskchaos, in the order of a run that names none (suites/subjects/__init__.py).

    None where taskchaos is not installed, but only its code is there, as in a worker's container.
    """
    group, name = SHIPPED
    tables: list[Mapping[str, str]] = [entry.load() for entry in entry_points(group=group, name=name)]
    return tuple(SubjectInfo(name, spec) for table in tables[:1] for name, spec in table.items())


@cache
def registered() -> tuple[SubjectInfo, ...]:
    """Those, and the subjects of every installed package. Looked up once: it does not change in a process's life."""
    ours = {info.name for info in shipped()}
    theirs = (SubjectInfo(e.name, e.value) for e in entry_points(group=GROUP) if e.name not in ours)
    return (*shipped(), *theirs)
