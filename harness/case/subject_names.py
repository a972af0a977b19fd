"""The subjects that have names: those that come with taskchaos, and those of other installed packages. Imports none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any

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
def _installed() -> Any:
    """Every entry point: to look for them reads a file of each installed package."""
    return entry_points()


@cache
def shipped() -> tuple[SubjectInfo, ...]:
    """The subjects that come with taskchaos, in the order of a run that names none (suites/subjects/__init__.py).

    None where taskchaos is not installed, but only its code is there, as in a worker's container.
    """
    group, name = SHIPPED
    tables: list[Mapping[str, str]] = [entry.load() for entry in _installed().select(group=group, name=name)]
    return tuple(SubjectInfo(name, spec) for table in tables[:1] for name, spec in table.items())


def shipped_names() -> tuple[str, ...]:
    """Their names."""
    return tuple(info.name for info in shipped())


@cache
def registered() -> tuple[SubjectInfo, ...]:
    """Those, and the subjects of every installed package. Looked up once: it does not change in a process's life."""
    ours = shipped_names()
    theirs = (SubjectInfo(e.name, e.value) for e in _installed().select(group=GROUP) if e.name not in ours)
    return (*shipped(), *theirs)


def spec_of(given: str) -> str:
    """Where the subject is that has this name; what is no name is taken for such a spec."""
    return next((info.spec for info in registered() if info.name == given), given)
