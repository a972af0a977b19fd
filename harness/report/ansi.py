"""What a terminal can show: colours, marks, and text that fits its encoding."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

import click

from taskchaos.harness.record.verdict import Outcome
from taskchaos.harness.report.phrases import MARKS, Assessment, one_line

_ASCII = str.maketrans(
    {
        "✓": "+",
        "✗": "x",
        "⊗": "*",
        "·": "-",
        "≥": ">=",
        "≤": "<=",
        "…": "...",
        "–": "-",
        "—": "-",
        "×": "x",
        "−": "-",
        "→": "->",
    }
)
#: Keyed by value: a standing and an outcome that share their word ("unknown") share their mark.
_MARKS: Mapping[str, str] = {
    **{standing.value: mark for standing, mark in MARKS.items()},
    Outcome.PASS: "✓",
    Outcome.FAIL: "✗",
    Outcome.NOT_CLAIMED: "·",
}
_COLOURS: Mapping[str, str] = {
    Assessment.PASSED: "green",
    Assessment.CAUGHT: "green",
    Assessment.TOLERATED: "yellow",
    Assessment.FAILED: "red",
    Assessment.MISSED: "red",
    Assessment.UNKNOWN: "yellow",
    Assessment.SUITE: "yellow",
    Assessment.SUBJECT: "yellow",
    Assessment.STACK: "magenta",
    Assessment.INTERRUPTED: "bright_black",
    Outcome.PASS: "green",
    Outcome.FAIL: "red",
    Outcome.NOT_CLAIMED: "bright_black",
}


@dataclass(frozen=True, slots=True)
class Paint:
    """Styles text, or leaves it plain."""

    colour: bool = False
    typographic: bool = True
    encoding: str = "utf-8"

    @classmethod
    def on(cls, stream: TextIO, colour: bool | None = None) -> Paint:
        """What a stream can show. colour None: find out from the stream and the environment."""
        encoding = getattr(stream, "encoding", None) or "utf-8"
        return cls(wants_colour(stream) if colour is None else colour, can_encode(stream), encoding)

    def encodable(self, text: str) -> str:
        """The text with `?` for what the stream's encoding does not have."""
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError:
            return text.encode(self.encoding, "replace").decode(self.encoding)
        except LookupError:
            return text.encode("ascii", "replace").decode()
        return text

    def bold(self, text: str) -> str:
        """Emphasis."""
        return click.style(text, bold=True) if self.colour else text

    def dim(self, text: str) -> str:
        """Less important."""
        return click.style(text, dim=True) if self.colour else text

    def tone(self, key: Assessment | Outcome, text: str) -> str:
        """The text in the colour of a standing or an outcome."""
        return click.style(text, fg=_COLOURS[key]) if self.colour else text

    def mark(self, key: Assessment | Outcome) -> str:
        """One character for a standing or an outcome."""
        return self.tone(key, self.safe(_MARKS[key]))

    def bar(self, share: float, columns: int) -> str:
        """A bar of so many columns, filled as far as the share says (0 to 1)."""
        full, empty = "━─" if self.typographic else "#-"
        filled = min(columns, max(0, int(share * columns)))
        rest = empty * (columns - filled)
        return (click.style(full * filled, fg="cyan") if self.colour else full * filled) + self.dim(rest)

    def safe(self, text: str) -> str:
        """Text on one line, without control characters, that the stream's encoding can carry."""
        text = one_line(text)
        return text if self.typographic else text.translate(_ASCII).encode("ascii", "replace").decode()

    def safe_columns(self, text: str) -> str:
        """Like `safe`, but keeps runs of spaces, which part columns."""
        return "".join(part if part.isspace() else self.safe(part) for part in re.split("( +)", text))


def wrap(text: str, width: int, indent: int) -> list[str]:
    """The text in lines of at most `width - indent` characters; long words are kept whole."""
    return textwrap.wrap(text, max(width - indent, 20), break_long_words=False, break_on_hyphens=False) or [""]


def wants_colour(stream: TextIO) -> bool:
    """NO_COLOR wins, then FORCE_COLOR, then whether the stream is a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return is_terminal(stream)


def is_terminal(stream: TextIO) -> bool:
    """Whether the stream is a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def can_encode(stream: TextIO) -> bool:
    """Whether the stream's encoding has the marks. A stream without an encoding takes any text."""
    encoding = getattr(stream, "encoding", None)
    try:
        "✓✗⊗·≥…━─".encode(encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
