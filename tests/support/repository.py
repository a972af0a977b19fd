"""Where the repository is, for tests that read or start what is in it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
