"""Stored files are read only if they are files: a pipe in the place of one would be waited for without an end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_file(path: Path) -> BinaryIO:
    """Open a regular file to read. Raises OSError for everything else."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    return os.fdopen(fd, "rb")


def read_file(path: Path) -> bytes:
    """All bytes of a regular file. Raises OSError for everything else."""
    with open_file(path) as file:
        return file.read()
