"""The first lines of the `taskchaos` command: from here on a signal of the user's is no traceback, however early."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

_INTERRUPTED = 130


def _interrupted(number: int, frame: FrameType | None) -> None:
    os.write(2, b"taskchaos: interrupted\n")
    os._exit(_INTERRUPTED)


for _number in (signal.SIGINT, signal.SIGTERM):
    if signal.getsignal(_number) is not signal.SIG_IGN:
        signal.signal(_number, _interrupted)


def _complete_streams() -> None:
    """Put /dev/null where a standard stream was closed: the next file that is opened would take its number and text."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def main() -> None:
    """Import the command, which takes a moment, and run it."""
    _complete_streams()
    from taskchaos.harness.cli import main as command

    if signal.getsignal(signal.SIGINT) is _interrupted:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command()


if __name__ == "__main__":
    main()
