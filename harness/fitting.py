"""How wide text is on a terminal, how wide that is, and text that is made to fit."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Sequence
from typing import TextIO

#: Stands where something was left out.
MORE = "…"


def columns_of(text: str) -> int:
    """How many columns a terminal needs for a text without control characters."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def size_of(stream: TextIO, fallback: tuple[int, int]) -> os.terminal_size:
    """Columns and rows of a terminal as they are now. COLUMNS can make it narrower: what is wider would be wrapped."""
    told = shutil.get_terminal_size(fallback)
    try:
        seen = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return told
    if seen.columns <= 0:
        return told
    wanted = os.environ.get("COLUMNS", "")
    columns = min(told.columns, seen.columns) if wanted.isdigit() and int(wanted) else seen.columns
    return os.terminal_size((columns, seen.lines or fallback[1]))


def fit(parts: Sequence[str], between: str, columns: int, more: str = MORE) -> str:
    """As many parts as fit, whole, and `more` for the rest; of a first one that does not fit, as much of it as does."""
    text = between.join(parts)
    if columns_of(text) <= columns:
        return text
    for count in range(len(parts) - 1, 0, -1):
        text = between.join(parts[:count]) + between.rstrip() + f" {more}"
        if columns_of(text) <= columns:
            return text
    text, room = "", columns - columns_of(more)
    for character in parts[0]:
        if columns_of(text + character) > room:
            break
        text += character
    words, blank, _ = text.rpartition(" ")
    return (words.rstrip(" :,") + " " if blank else text) + more if room >= 0 else ""
