"""What a value may be: said once, in the annotation of its field, and held against whoever gives one.

`round_trip_ms: Annotated[int, Whole(1, 10_000)] = 10` is the parameter, its bounds, and what the documentation says.
A value that does not fit is refused where a plan is made, in one line that names the field, before anything is started.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from enum import Enum
from functools import cache
from math import inf, isfinite
from typing import Annotated, Any, Protocol, get_args, get_origin, get_type_hints, runtime_checkable

#: A day: nothing that a case does takes longer.
LONGEST_S = 86_400.0
#: So much of a value that does not fit is shown.
_SHOWN = 60
_LARGEST = 10**30


@runtime_checkable
class ValueBounds(Protocol):
    """What a value may be. Its text is for people: `has to be ...`."""

    def fits(self, value: object) -> bool:
        """Whether it may be this. Raises nothing, whatever it is given."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number. never: values between the bounds that it may not be."""

    least: int
    most: int
    never: tuple[int, ...] = ()

    def fits(self, value: object) -> bool:
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        return self.least <= value <= self.most and value not in self.never

    def __str__(self) -> str:
        never = f", but not {' or '.join(map(str, self.never))}" if self.never else ""
        return f"a whole number from {self.least:,} to {self.most:,}{never}"


@dataclass(frozen=True, slots=True)
class Real:
    """A finite number, whole or not. above: it has to be more than `least`."""

    least: float = 0.0
    most: float = LONGEST_S
    above: bool = False

    def fits(self, value: object) -> bool:
        if not isinstance(value, (int, float)) or isinstance(value, bool) or abs(value) == inf:
            return False
        finite = isinstance(value, int) or isfinite(value)
        return finite and self.least <= value <= self.most and not (self.above and value == self.least)

    def __str__(self) -> str:
        between = f"above {self.least:,.12g} and at most {self.most:,.12g}" if self.above else ""
        return f"a number {between or f'from {self.least:,.12g} to {self.most:,.12g}'}"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few texts."""

    values: tuple[str, ...]

    def fits(self, value: object) -> bool:
        return isinstance(value, str) and value in self.values

    def __str__(self) -> str:
        return self.values[0] if len(self.values) == 1 else f"one of {', '.join(self.values)}"


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text, of `most` characters at most. like: what all of it has to look like, which `says` says."""

    says: str = "a text of one line"
    empty: bool = False
    most: int = 500
    like: str = ""

    def fits(self, value: object) -> bool:
        if not isinstance(value, str) or len(value) > self.most or not value.isprintable():
            return False
        if not value.strip():
            return self.empty and not value
        return not self.like or re.fullmatch(self.like, value) is not None

    def __str__(self) -> str:
        return self.says + (", or nothing" if self.empty else "")


@dataclass(frozen=True, slots=True)
class Flag:
    """True or False."""

    def fits(self, value: object) -> bool:
        return isinstance(value, bool)

    def __str__(self) -> str:
        return "True or False"


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an enumeration."""

    of: type[Enum]

    def fits(self, value: object) -> bool:
        return isinstance(value, self.of)

    def __str__(self) -> str:
        return f"one of {', '.join(f'{self.of.__name__}.{one.name}' for one in self.of)}"


@dataclass(frozen=True, slots=True)
class SetOf:
    """A set of members of an enumeration."""

    of: type[Enum]

    def fits(self, value: object) -> bool:
        return isinstance(value, (set, frozenset)) and all(isinstance(one, self.of) for one in value)

    def __str__(self) -> str:
        return f"a set of {self.of.__name__}, such as frozenset({{{self.of.__name__}.{next(iter(self.of)).name}}})"


@dataclass(frozen=True, slots=True)
class Kind:
    """An object of a class. says: in words."""

    of: type
    says: str = ""

    def fits(self, value: object) -> bool:
        return isinstance(value, self.of)

    def __str__(self) -> str:
        return self.says or f"a {self.of.__name__}"


@dataclass(frozen=True, slots=True)
class OrNone:
    """None, or what other bounds allow."""

    bounds: ValueBounds

    def fits(self, value: object) -> bool:
        return value is None or self.bounds.fits(value)

    def __str__(self) -> str:
        return f"None or {self.bounds}"


def shown(value: object) -> str:
    """A value in a few characters, also one whose text cannot be made."""
    if isinstance(value, int) and abs(value) >= _LARGEST:
        return "a number of more than 30 digits"
    try:
        text = " ".join(repr(value).split())
    except Exception:
        return f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def objection(name: str, bounds: ValueBounds, value: object) -> str:
    """Why a field cannot have this value; "" if it can."""
    return "" if bounds.fits(value) else f"{name} has to be {bounds}, not {shown(value)}"


@cache
def bounds_of(kind: Any) -> Mapping[str, ValueBounds]:
    """By name, the bounds of the fields of a dataclass that say theirs."""
    found: dict[str, ValueBounds] = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if get_origin(hint) is Annotated:
            said = [extra for extra in get_args(hint)[1:] if isinstance(extra, ValueBounds)]
            found |= {name: said[0]} if said else {}
    return {field.name: found[field.name] for field in fields(kind) if field.name in found}


def check(instance: Any, prefix: str = "") -> None:
    """Raise ValueError for the first field of a dataclass whose value is out of the bounds that it says."""
    kind: Any = type(instance)
    for name, bounds in bounds_of(kind).items():
        if why := objection(name, bounds, getattr(instance, name)):
            raise ValueError(prefix + why)


def default_of(kind: type, name: str) -> object:
    """The default of a field of a dataclass; None if it has none."""
    return next((f.default for f in fields(kind) if f.name == name and f.default is not MISSING), None)


def unknown(what: str, name: object, known: Iterable[str], listed: str = "") -> str:
    """That there is nothing of this name, and what was meant, or what there is. listed: where to find that."""
    names = list(known)
    close = get_close_matches(name, names, 1) if isinstance(name, str) else []
    there = f"did you mean {close[0]}?" if close else listed or f"there is {', '.join(names) or 'none'}"
    return f"no {what} {shown(name)}: {there}"
