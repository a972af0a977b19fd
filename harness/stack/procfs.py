"""Processes as /proc shows them, and signals to them."""

from __future__ import annotations

import os
import signal


def state_of(pid: int) -> str | None:
    """The scheduler state letter of a process, None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0]
    except OSError:
        return None


def alive(pid: int) -> bool:
    """Whether a process with this pid exists and is no zombie."""
    return state_of(pid) not in (None, "Z", "X")


def children_of(pid: int) -> tuple[int, ...]:
    """The live children of a process, oldest first."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="ascii", errors="replace") as stat:
                fields = stat.read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] not in ("Z", "X"):
            found.append(int(entry))
    return tuple(sorted(found))


def open_files(pid: int) -> int:
    """How many files a process has open, sockets and pipes among them; 0 if there is none."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to one process; one that is gone is fine."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it ended first


def kill_group(group: int) -> None:
    """SIGKILL a process group that we created; a group that is gone is fine."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass  # nobody left in it
