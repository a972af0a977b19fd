"""Chords: which operations are the members of one, and when its body could begin.

What is due from its submit on is, of a body, due from the last effect of its members on: it waits for them, not in a
queue.
"""

from __future__ import annotations

from array import array

from taskchaos.harness.record.history import NEVER, History


def together(history: History) -> int:
    """How many consecutive operations one submit has sent."""
    return history.chord_of + 1


def bodies(history: History) -> range:
    """The operations that are the body of a chord."""
    return range(history.chord_of, history.planned, together(history)) if history.chord_of else range(0)


def members(history: History, op: int) -> range:
    """The members of the chord whose body this operation is; none if it is not one."""
    return range(op - op % together(history), op) if op in bodies(history) else range(0)


def complete_ns(history: History, first_effect: array[int], body: int) -> int:
    """When all members of this body had taken effect; NEVER as long as one has not."""
    times = [first_effect[op] for op in members(history, body)]
    return NEVER if NEVER in times else max(times)
