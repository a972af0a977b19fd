"""The janitor: kills what a dead harness left behind. Run as a script; imports nothing of the project.

Usage: `janitor.py TOKEN`, with a pipe on standard input that the harness holds open. At end of file it sends SIGKILL
to every process whose environment carries TASKCHAOS_OWNER=TOKEN, until none is left, and exits.
"""

from __future__ import annotations

import os
import signal
import sys
import time

GIVE_UP_S = 10.0


def marked(token: bytes) -> list[int]:
    """Pids whose environment holds the token."""
    needle = b"TASKCHAOS_OWNER=" + token
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as environ:
                if needle in environ.read().split(b"\0"):
                    found.append(int(entry))
        except OSError:
            continue  # ended meanwhile, or not ours to read
    return found


def main() -> None:
    """Wait for the end of standard input, then clean up."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    token = sys.argv[1].encode()
    while os.read(0, 4096):
        pass
    until = time.monotonic() + GIVE_UP_S
    while time.monotonic() < until:
        victims = marked(token)
        if not victims:
            return
        for pid in victims:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue  # gone already
        time.sleep(0.02)


if __name__ == "__main__":
    main()
