"""Helpers of the stack tests."""

from __future__ import annotations

import os
from pathlib import Path

from harness.settle import LedgerTail, ledger_tail
from harness.stack.local import LocalStack


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
