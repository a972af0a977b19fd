"""`[tool.taskchaos]` of a pyproject.toml: what a project runs unless its command line says otherwise. Read here only.

It is looked for in the working directory and, inside a repository, in the folders above up to its root. Paths in it are
relative to its folder.
"""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from taskchaos.harness.case.stack_options import StackKind
from taskchaos.harness.errors import UsageError
from taskchaos.harness.files import read_file
from taskchaos.harness.profile import PROFILES

PYPROJECT = "pyproject.toml"
TABLE = "tool.taskchaos"
#: More tasks per second than any machine does: a larger target is a typing error.
HIGHEST_TPS = 1e6


@dataclass(frozen=True, slots=True)
class RunChoices:
    """What a run may be told by its command line or by its project; None, or nothing: not told.

    target: tasks per second. configured: the keys that came from the project; file: its pyproject.toml.
    """

    subject: tuple[str, ...] = ()
    suites: tuple[str, ...] = ()
    profile: str | None = None
    target: float | None = None
    seed: int | None = None
    stack: str | None = None
    configured: tuple[str, ...] = ()
    file: Path | None = None

    @property
    def told_of(self) -> str:
        """What came from the project, in a line; empty for nothing."""
        return f"{self.file} says {', '.join(self.configured)}" if self.configured else ""

    def told(self, key: str) -> bool:
        """Whether something was said of a key."""
        return getattr(self, key) not in (None, ())


def with_project(given: RunChoices, start: Path | None = None, ignored: Collection[str] = ()) -> RunChoices:
    """What was given, and what the project of a folder says of the rest. start: None is the working directory.

    ignored: keys that this is not about. Raises UsageError naming file and key.
    """
    project = read_project((start or Path.cwd()).absolute())
    if project is None:
        return given
    taken = tuple(key for key in KEYS if key not in ignored and project.told(key) and not given.told(key))
    values = {key: getattr(project if key in taken else given, key) for key in KEYS}
    return RunChoices(**values, configured=taken, file=project.file if taken else None)


def read_project(start: Path) -> RunChoices | None:
    """The nearest table that a folder belongs to; None where there is none. Raises UsageError naming file and key."""
    for folder in _folders(start):
        file = folder / PYPROJECT
        if file.exists():
            table = _table(file)
            if table is not None:
                return _checked(file, table)
    return None


def _folders(start: Path) -> tuple[Path, ...]:
    """From a folder up to the root of its repository; the folder alone if it is in none."""
    above = (start, *start.parents)
    root = next((number for number, folder in enumerate(above) if os.path.exists(folder / ".git")), 0)
    return above[: root + 1]


def _table(file: Path) -> Mapping[str, Any] | None:
    try:
        found: Any = tomllib.loads(read_file(file).decode("utf-8"))
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from None
    for name in TABLE.split("."):
        if not isinstance(found, dict) or name not in found:
            return None
        found = found[name]
    if not isinstance(found, dict):
        raise UsageError(f"{file}: {TABLE} has to be a table, [{TABLE}]")
    return found


def _checked(file: Path, table: Mapping[str, Any]) -> RunChoices:
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in KEYS:
            close = get_close_matches(key, KEYS, 1)
            there = f"did you mean {close[0]}?" if close else f"there are {', '.join(KEYS)}"
            raise UsageError(f"{file}: [{TABLE}] has no key {key!r}: {there}")
        try:
            values[key] = KEYS[key](value)
        except (ValueError, OverflowError) as error:
            raise UsageError(f"{file}: [{TABLE}] {key} = {_shown(value)}: {error}") from None
    values["subject"] = tuple(_from_here(file.parent, spec) for spec in values.get("subject", ()))
    return RunChoices(**values, file=file)


def _shown(value: Any) -> str:
    try:
        return f"{value!r:.100}"
    except ValueError:  # Python writes no number of thousands of digits
        return "a number of thousands of digits"


def _from_here(folder: Path, spec: str) -> str:
    """A subject's spec, with the path of its file as seen from a folder."""
    place, colon, attribute = spec.rpartition(":")
    return f"{folder / place}{colon}{attribute}" if place.endswith(".py") else spec


def _texts(value: Any) -> tuple[str, ...]:
    found = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) and one.strip() and "\0" not in one for one in found):
        raise ValueError("has to be a name, or a list of names")
    return tuple(found)


def _one_of(names: tuple[str, ...]) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in names:
            raise ValueError(f"choose from {', '.join(names)}")
        return str(value)

    return check


def _target(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("has to be a number of tasks per second")
    if not 0 < value <= HIGHEST_TPS:
        raise ValueError(f"has to be above 0 and at most {HIGHEST_TPS:,.0f}")
    return float(value)


def _seed(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 1 << 63:
        raise ValueError("has to be a whole number")
    return value


#: Every key there is, and what makes a value of it. Raises ValueError saying what it has to be.
KEYS: Mapping[str, Callable[[Any], Any]] = {
    "subject": _texts,
    "suites": _texts,
    "profile": _one_of(tuple(PROFILES)),
    "target": _target,
    "seed": _seed,
    "stack": _one_of(tuple(kind.value for kind in StackKind)),
}
