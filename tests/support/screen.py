"""A terminal's screen, as far as taskchaos moves the cursor on it: what a user sees after so many bytes."""

from __future__ import annotations

import re
import unicodedata

_SEQUENCE = re.compile(r"\x1b\[(\d*(?:;\d+)*)([A-Za-z])")


class Screen:
    """Lines that have scrolled away stay in `lines`. wrapped: how many did not fit. Fails for unknown sequences."""

    def __init__(self, columns: int, rows: int = 24) -> None:
        self.columns, self.rows = columns, rows
        self.lines = [""]
        self.row = self.column = self.wrapped = 0
        self.code: int | None = None  # how the program ended that wrote it, once it has

    def feed(self, text: str) -> Screen:
        """Show what a program writes; the terminal makes CR LF of each line feed."""
        at = 0
        while at < len(text):
            if found := _SEQUENCE.match(text, at):
                self._obey(found[1], found[2])
                at = found.end()
                continue
            self._put(text[at])
            at += 1
        return self

    def _obey(self, given: str, command: str) -> None:
        if command == "A":
            top = max(0, len(self.lines) - self.rows)
            self.row = max(top, self.row - int(given or 1))
        elif command == "J":
            self.lines[self.row :] = [self.lines[self.row][: self.column]]
        else:
            assert command == "m", f"{command} is not known here"

    def _put(self, character: str) -> None:
        if character == "\n":
            self._down()
        elif character == "\r":
            self.column = 0
        else:
            assert character.isprintable(), repr(character)
            needed = 2 if unicodedata.east_asian_width(character) in "WF" else 1
            if self.column + needed > self.columns:
                self.wrapped += 1
                self._down()
            line = self.lines[self.row]
            self.lines[self.row] = line[: self.column] + character + line[self.column + 1 :]
            self.column += needed

    def _down(self) -> None:
        self.row, self.column = self.row + 1, 0
        if self.row == len(self.lines):
            self.lines.append("")

    def resize(self, columns: int) -> None:
        """Become narrower or wider, and break lines anew, as most terminals do; the cursor stays where it was."""
        below = len(self.lines) - self.row
        pieces = [[line[i : i + columns] for i in range(0, max(len(line), 1), columns)] for line in self.lines]
        self.columns, self.lines = columns, [piece for line in pieces for piece in line]
        self.row = len(self.lines) - below

    @property
    def text(self) -> str:
        """All that there is, without blanks at the ends of lines."""
        return "\n".join(line.rstrip() for line in self.lines)
