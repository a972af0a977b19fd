"""The subjects that have names: those that come with taskchaos, and those of other installed packages. Imports none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any

#: The entry-point group of subjects: the name that --subject accepts, and package.module:Name.
GROUP = "taskchaos.subjects"
#: The entry-point group of what ships, and the names in it of the tables of subjects and of controls with twins.
SHIPPED, SUBJECTS, CONTROLS = "taskchaos.shipped", "subjects", "controls"


@dataclass(frozen=True, slots=True)
class SubjectInfo:
    """A registered subject, without importing it."""

    name: str
    spec: str


@dataclass(frozen=True, slots=True)
class ControlInfo:
    """A known-bad subject and its twin, the same with just the bug mended, without importing them.

    quick: whether it is part of a quick run that names no subject. profile: the shallowest whose scale decides it.
    """

    control: SubjectInfo
    twin: SubjectInfo
    quick: bool = False
    profile: str = "quick"

    @property
    def name(self) -> str:
        """The control's name."""
        return self.control.name


@cache
def _installed() -> Any:
    """Every entry point: to look for them reads a file of each installed package."""
    return entry_points()


@cache
def shipped() -> tuple[SubjectInfo, ...]:
    """The subjects that come with taskchaos, in the order of a run that names none (suites/subjects/__init__.py).

    None where taskchaos is not installed, but only its code is there, as in a worker's container.
    """
    tables: list[Mapping[str, str]] = [e.load() for e in _installed().select(group=SHIPPED, name=SUBJECTS)]
    return tuple(SubjectInfo(name, spec) for table in tables[:1] for name, spec in table.items())


@cache
def controls() -> tuple[ControlInfo, ...]:
    """The controls with twins (suites/subjects/controls/__init__.py). Each runs in the one scenario that it names."""
    tables: list[tuple[ControlInfo, ...]] = [e.load() for e in _installed().select(group=SHIPPED, name=CONTROLS)]
    return tables[0] if tables else ()


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
    pairs = (info for pair in controls() for info in (pair.control, pair.twin))
    return next((info.spec for info in (*registered(), *pairs) if info.name == given), given)
