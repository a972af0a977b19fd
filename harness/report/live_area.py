"""The lines at the bottom of a terminal that are drawn again and again while a run goes on.

Why not rich: importing it takes a fifth of the time that a view of a run takes to load (22 of 102 ms), and this is all
that is needed of it. The cursor stays visible and stands below the area, so whatever ends the process, even SIGKILL,
leaves a terminal that can be typed into.
"""

from __future__ import annotations

from collections.abc import Sequence


class LiveArea:
    """What stands at the bottom, and what has to be written to change it. Writes nothing itself."""

    def __init__(self) -> None:
        self._drawn: list[int] = []  # the columns of each line

    def frame(self, above: str, lines: Sequence[tuple[int, str]], columns: int) -> str:
        """What has to be written so that `above` stands where the area was, and the area, with these lines, below it.

        lines: each with the columns that it needs, fewer than the terminal has. above: whole lines. columns: of the
        terminal now; where it has become narrower, terminals have broken the lines that are there.
        """
        rows = sum(max(1, -(-drawn // columns)) for drawn in self._drawn)
        erased = f"\x1b[{rows}A\r\x1b[J" if rows else ""
        self._drawn = [needed for needed, _ in lines]
        return erased + above + "".join(f"{text}\n" for _, text in lines)

    def forget(self) -> None:
        """What stands above the cursor is not the area any more: somebody else has written there."""
        self._drawn.clear()
