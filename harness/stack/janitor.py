"""The janitor: kills what a dead harness left behind. Run as a script; imports nothing of the project.

Usage: `janitor.py TOKEN`, with a pipe on standard input that the harness holds open. At end of file it sends SIGKILL
to every process whose environment carries TASKCHAOS_OWNER=TOKEN, until none is left, unmounts what is mounted under the
name taskchaos-TOKEN, and exits.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time

GIVE_UP_S = 10.0
_DETACH = 2


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


def mounts(token: bytes) -> list[bytes]:
    """Where something is mounted under the token's name."""
    with open("/proc/self/mounts", "rb") as lines:
        found = [line.split()[1] for line in lines if line.split()[0] == b"taskchaos-" + token]
    return [re.sub(rb"\\(\d{3})", lambda octal: bytes([int(octal[1], 8)]), place) for place in found]


def unmount(place: bytes) -> None:
    """Take a mount away, whether or not its process is there, and whoever uses it."""
    import ctypes
    import subprocess

    if ctypes.CDLL(None).umount2(place, _DETACH) != 0:
        try:
            subprocess.run([b"fusermount3", b"-u", b"-z", place], check=False)
        except OSError:
            return  # who mounted it had it


def main() -> None:
    """Wait for the end of standard input, then clean up."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    token = sys.argv[1].encode()
    while os.read(0, 4096):
        pass
    until = time.monotonic() + GIVE_UP_S
    while time.monotonic() < until:
        victims, left = marked(token), mounts(token)
        for place in left if not victims else ():
            unmount(place)  # nobody is left who would mount it again
        if not victims and not left:
            return
        for pid in victims:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue  # gone already
        time.sleep(0.02)


if __name__ == "__main__":
    main()
