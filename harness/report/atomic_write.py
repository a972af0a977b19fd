"""Writes a file whole or not at all, so that a reader never sees half a report."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from taskchaos.harness.errors import TaskchaosError


def replace_text(path: Path, text: str) -> None:
    """Write the text beside the file and move it into place. What UTF-8 cannot hold becomes `?`.

    Raises TaskchaosError naming the file if that is not possible; the old file is then as it was.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(text.encode("utf-8", "replace"))
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise TaskchaosError(f"{path} cannot be written: {error.strerror or error}") from error
