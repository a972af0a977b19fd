"""The disk that forgets (volatile_disk.py), as the harness has it: mounted, asked, and unmounted."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

from taskchaos.faults.base import FaultError
from taskchaos.harness.errors import StackError
from taskchaos.harness.stack.child_process import OwnedProcess, owner_token

_START_DEADLINE_S = 10.0
_ANSWER_S = 5.0
#: What the name of a mount begins with; the owner's token follows, by which the janitor finds what is left behind.
NAME = "taskchaos-"


def no_fuse() -> str:
    """Why no FUSE file system can be mounted here; "" if one can, so far as that can be seen beforehand."""
    if not os.path.exists("/dev/fuse"):
        return "there is no /dev/fuse"
    if os.getuid() != 0 and not shutil.which("fusermount3") and not shutil.which("fusermount"):
        return "there is no fusermount3 (Debian: fuse3)"
    try:
        import mfusepy  # noqa: F401
    except ImportError:
        return "mfusepy is not installed: pip install 'taskchaos[fuse]'"
    except (OSError, AttributeError):
        return "there is no libfuse (Debian: fuse3)"
    return ""


class MountedDisk:
    """A folder on a disk that forgets. Its files lie beside it, in `<folder>.files`."""

    def __init__(self, folder: Path, log: Path) -> None:
        """Mount it. Raises StackError when that is not possible."""
        behind = folder.with_name(f"{folder.name}.files")
        for place in (folder, behind):
            place.mkdir(parents=True, exist_ok=True)
        self._control, theirs = socket.socketpair()
        self._control.settimeout(_START_DEADLINE_S)
        fd = theirs.fileno()
        module = "taskchaos.harness.stack.volatile_disk"
        argv = [sys.executable, "-P", "-m", module, str(behind), str(folder), NAME + owner_token(), str(fd)]
        with theirs:
            self._process = OwnedProcess("the disk", argv, log, fds=(fd,))
        self._lines = self._control.makefile("rw", encoding="utf-8")
        try:
            ready = self._lines.readline()
        except TimeoutError:
            ready = ""
        if not ready:
            self.stop()
            raise StackError(f"no disk could be mounted at {folder}: {self._process.tail()}")
        self._control.settimeout(_ANSWER_S)

    def ask(self, verb: str, **arguments: int | bool) -> dict[str, Any]:
        """The answer to a command. Raises FaultError when there is none."""
        try:
            self._lines.write(json.dumps({"do": verb, **arguments}) + "\n")
            self._lines.flush()
            answer: dict[str, Any] = json.loads(self._lines.readline())
        except (OSError, ValueError) as error:
            raise FaultError(f"the disk does not answer: {error}; {self._process.tail(3)}") from error
        return answer

    def died(self) -> str:
        """How it ended, if it did; else ""."""
        status = self._process.exit_status()
        return "" if status is None else f"the disk ended with status {status}: {self._process.tail(3)}"

    def stop(self) -> None:
        """Unmount it, which its own process does. Idempotent."""
        with contextlib.suppress(OSError):
            self._lines.close()
        self._control.close()
        self._process.stop(grace_s=5.0)
