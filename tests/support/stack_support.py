"""Helpers of the stack tests."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from course import Course

from taskchaos.faults.base import Link
from taskchaos.faults.nemesis import Change, Nemesis
from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.record.ledger_tail import LedgerTail, ledger_tail
from taskchaos.harness.stack.local.stack import LocalStack


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


def add_link(stack: LocalStack, name: str) -> Link:
    """One more link to the stack's Redis, for a role that is played by the test."""
    api = stack.links["producer-1"].api
    state = api.create(name, f"127.0.0.1:{stack.redis.port}")
    return Link(name, state.host, state.port, api)


def started(stack: LocalStack, *faults: PlannedFault, links: Iterable[Link] = (), begin: bool = True) -> Course:
    """A nemesis that has begun with these faults, on these links beside those of the stack."""
    changes: list[Change] = []
    there = {**stack.links, **{link.name: link for link in links}}
    nemesis = Nemesis(
        Schedule.of(*faults),
        there,
        stack.workers,
        changes.append,
        lambda index, undo: None,
        stack.servers,
        producers=stack.producers,
    )
    course = Course(changes, nemesis)
    if begin:
        course.begin()
    return course


def ran(stack: LocalStack, *faults: PlannedFault, links: Iterable[Link] = ()) -> Course:
    """A nemesis that has run its course."""
    course = started(stack, *faults, links=links)
    assert course.nemesis.join(20.0), "it hangs"
    return course
