"""Helpers of the stack tests."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from harness.settle import LedgerTail, ledger_tail
from harness.stack.local import LocalStack


def until(condition: Callable[[], bool], deadline_s: float = 15.0) -> None:
    """Wait for a condition; fail when it does not come true in time."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"not true within {deadline_s:g} s"
        time.sleep(0.01)


def effects(tail: LedgerTail) -> set[int]:
    """The operations that have had an effect by now."""
    tail.follow()
    return tail.effects


def tail_of(stack: LocalStack) -> LedgerTail:
    """A tail on the stack's ledger."""
    return ledger_tail(stack.folder, stack.alive)


def marked(token: str) -> list[int]:
    """Live processes that carry an owner's token in their environment."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                environment = Path(f"/proc/{entry}/environ").read_bytes()
                state = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if f"TASKCHAOS_OWNER={token}".encode() in environment and state != "Z":
                found.append(int(entry))
    return found
