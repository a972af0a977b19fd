"""What a rule notes of the commands that it acts on: the matches of a small regular expression, and nothing else.

It is searched for in the event loop that all traffic goes through, so the work has to be bounded before it begins: so
many bytes of a request and of its reply, and only patterns that need at most MOST_STEPS steps at each of them. That
leaves out `*`, `+`, repeated groups and whatever looks back or ahead: `op-(\\d{1,18})` is fine.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from sys import intern

from taskchaos.faults.proxy.redis.commands import text

#: Of a request, and of a reply.
SEARCHED_BYTES = 64 * 1024
#: Distinct captures of one command, and how long each may be.
KEPT = 32
#: The same, of each pattern of a journal: a worker may take many tasks with one command.
KEPT_OF_EACH = 128
LONGEST_BYTES = 64
MOST_STEPS = 64
_LONGEST_PATTERN = 200
#: An escape, a class, a count, the start of a special group, or any other character.
_PIECE = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{(\d*)(,?)(\d*)\}|\(\?:?|.", re.DOTALL)
_REFERENCE = re.compile(r"\\[1-9]")


def wrong_with(pattern: str) -> str:
    """Why this cannot be searched for with bounded work; "" when it can."""
    if len(pattern) > _LONGEST_PATTERN:
        return f"it may have {_LONGEST_PATTERN} characters"
    steps, before = 1, ""
    for piece in _PIECE.finditer(pattern):
        what = piece[0]
        if what in ("*", "+"):
            return f"{what} has no bound: write how many there may be, such as {{1,18}}"
        if what == "(?" or _REFERENCE.match(what):
            return f"{what} is not allowed, only plain groups and (?:...)"
        if what == "?" or (what[0] == "{" and len(what) > 1):
            if before == ")" and what != "?":
                return "a group cannot be repeated"
            most = _most(piece) if what != "?" else 2
            if most is None:
                return f"{what} has no bound: write how many there may be, such as {{1,18}}"
            steps *= max(most, 1)
        steps *= 2 if what == "|" else 1
        before = what
    if steps > MOST_STEPS:
        return f"it may need {steps} steps at each byte, and {MOST_STEPS} are allowed: lower its counts"
    try:
        with warnings.catch_warnings(action="error"):
            re.compile(pattern.encode())
    except (re.error, OverflowError, FutureWarning) as error:
        return str(error)
    return ""


def _most(count: re.Match[str]) -> int | None:
    """The upper bound of {n}, {m,n} or {m,}; None without one."""
    least, comma, most = count.groups()
    if not comma:
        return int(least) if least else None
    return int(most) if most else None


class Capture:
    """A pattern made ready; an empty one captures nothing."""

    def __init__(self, pattern: str, kept: int = KEPT) -> None:
        self._pattern = re.compile(pattern.encode()) if pattern else None
        self._kept = kept

    def __call__(self, pieces: Iterable[bytes]) -> list[str]:
        """The distinct captures in these bytes: of each match its first group, or all of it if it has none."""
        if self._pattern is None:
            return []
        found: dict[bytes, None] = {}
        group, left = min(1, self._pattern.groups), SEARCHED_BYTES
        for piece in pieces:
            for match in self._pattern.finditer(piece[:left]):
                if match[group]:
                    found[match[group][:LONGEST_BYTES]] = None
                if len(found) == self._kept:
                    return [text(each) for each in found]
            left -= len(piece)
            if left <= 0:
                break
        return [text(each) for each in found]


class Captures:
    """Several patterns made ready, for the journal: what all of them find."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self.patterns = tuple(patterns)
        self._captures = tuple(Capture(pattern, KEPT_OF_EACH) for pattern in self.patterns)

    def __call__(self, pieces: Sequence[bytes]) -> tuple[str, ...]:
        """What each finds, without repetitions. The same is found again and again, and kept in memory once."""
        return tuple(dict.fromkeys(intern(found) for capture in self._captures for found in capture(pieces)))


def distinct(captures: Iterable[str]) -> tuple[str, ...]:
    """These without repetitions, as many as are kept."""
    return tuple(dict.fromkeys(captures))[:KEPT]
