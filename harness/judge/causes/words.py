"""What is found of one operation, and the words for it."""

from __future__ import annotations

from dataclasses import dataclass

from taskchaos.harness.checker.faults import label
from taskchaos.harness.judge.causes.course import Attempt
from taskchaos.harness.record.history import NEVER, AttemptOutcome, FaultInterval
from taskchaos.harness.record.result import CauseKind

#: A fault is said to be injected when that is over; it may bite a little before.
COMING_NS = 50_000_000
#: A process that was killed so soon after Redis had given it something had not begun it.
SOON_NS = 2_000_000_000
#: What happened so soon after a kill happened just after it.
JUST_NS = 100_000_000
_NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True)
class OneCause:
    """What was found of one operation."""

    kind: CauseKind
    text: str
    command: str = ""
    fault: str = ""


def relation(fault: FaultInterval | None, at_ns: int) -> str:
    """How a fault stood to a moment."""
    if fault is None:
        return "no fault was in force"
    if at_ns < fault.since_ns <= at_ns + COMING_NS:
        return f"{label(fault)} was just coming into force"
    if at_ns < fault.since_ns:
        return f"{label(fault)} came {told_ms(fault.since_ns - at_ns)} later"
    if fault.healed_ns != NEVER and at_ns > fault.healed_ns:
        return f"{label(fault)} had been healed {told_ms(at_ns - fault.healed_ns)} before"
    return f"{label(fault)} was in force"


def ended(attempt: Attempt, number: int) -> str:
    """How it ended, as far as that is known."""
    if attempt.kill is not None:
        return f"attempt {number} was cut short when {label(attempt.kill)} killed pid {attempt.pid}"
    if attempt.outcome is AttemptOutcome.OPEN:
        return f"attempt {number} began, and no end of it was recorded"
    return f"attempt {number} ended ({attempt.outcome.name.lower()})"


def told_ms(ns: int) -> str:
    value = ns / _NS_PER_MS
    if value < 10:
        return f"{value:.1f} ms"
    return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.1f} s"
