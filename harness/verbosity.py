"""How much a command tells on the terminal."""

from __future__ import annotations

from enum import StrEnum


class Verbosity(StrEnum):
    """What is shown of a run, from little to all."""

    QUIET = "quiet"  # surprises, and what the run comes to
    USUAL = "usual"  # a line for each case, and of a surprise the rules that it is about
    ALL = "all"  # every phase and every rule of every case
