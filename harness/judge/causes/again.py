"""Why a task was executed again, at the same time, or after the last word on it."""

from __future__ import annotations

from itertools import pairwise

from taskchaos.harness.checker.faults import label
from taskchaos.harness.judge.causes.course import Attempt, Course, fault_name, fault_on
from taskchaos.harness.judge.causes.words import SOON_NS, OneCause, relation, told_ms
from taskchaos.harness.record.history import NEVER, ClaimKind, FaultInterval, History
from taskchaos.harness.record.result import CauseKind


def again(history: History, course: Course) -> OneCause:
    """It took effect twice, or two attempts ran at the same time: why there was a second."""
    if len(course.attempts) < 2:
        return OneCause(CauseKind.NOT_KNOWN, "one attempt took effect more than once")
    first, second = _pair(course)
    sent = course.published
    gave = [c for c in course.given if (c.reply_ns or c.at_ns) <= second.begun_ns]
    command = gave[-1].text if gave else ""
    with_ = f" with {command}" if command else ""
    if len(sent) > 1 and len(course.submits) == 1:
        fault = fault_on(history, sent[0].link, sent[0].at_ns, sent[0].reply_ns or sent[0].at_ns)
        text = f"{sent[0].link} sent it {len(sent)} times with {sent[0].text}"
        text += f": {relation(fault, sent[0].at_ns)} at the first" if fault else ""
        return OneCause(CauseKind.SENT_TWICE, text, sent[0].text, fault_name(fault))
    if len(course.submits) > 1:
        text = f"it was submitted {len(course.submits)} times, and both were executed"
        return OneCause(CauseKind.SENT_TWICE, text, command)
    if first.kill is not None:
        text = (
            f"{first.role} was killed by {label(first.kill)} {told_ms(first.killed_ns - first.begun_ns)} into attempt 1"
        )
        text += f", and Redis gave it to {second.role} again{with_}"
        return OneCause(CauseKind.TAKEN_OVER, text, command, label(first.kill))
    fault = stopped(history, first, second)
    if fault is not None:
        text = f"{first.role} was out of action ({label(fault)}) in its attempt for longer than its lease"
        text += f" of {history.lease_ns / 1e9:g} s, and Redis gave it to {second.role} too{with_}"
        return OneCause(CauseKind.LEASE_ENDED, text, command, label(fault))
    running_ns = (first.over_ns if first.over_ns != NEVER else second.begun_ns) - first.begun_ns
    if running_ns > history.lease_ns > 0:
        text = f"attempt 1 ran for {told_ms(running_ns)}, longer than the lease of {history.lease_ns / 1e9:g} s"
        text += f", and Redis gave it to {second.role} too{with_}"
        return OneCause(
            CauseKind.LEASE_ENDED,
            text,
            command,
            fault_name(fault_on(history, first.role, first.begun_ns, second.begun_ns)),
        )
    return _told_too_late(history, course, first, second, command)


def _told_too_late(history: History, course: Course, first: Attempt, second: Attempt, command: str) -> OneCause:
    """The first was over, and Redis did not know."""
    over_ns = first.over_ns if first.over_ns != NEVER else first.begun_ns
    fault = fault_on(history, first.role, over_ns, second.begun_ns)
    told = course.told(over_ns, second.begun_ns)
    unheard = [c for c in told if c.unheard]
    text = f"{first.role} was done with attempt 1, and "
    if unheard:
        text += f"{unheard[0].text}, which says so, was {unheard[0].outcome}"
    elif told:
        text += f"{told[-1].text} came {told_ms(told[-1].at_ns - over_ns)} later"
    else:
        text += "Redis was not told before it gave it away again"
    text += f": {relation(fault, over_ns)}" if fault else ""
    text += f"; {second.role} got it with {command}" if command else f"; {second.role} began it again"
    return OneCause(CauseKind.TOLD_TOO_LATE, text, unheard[0].text if unheard else command, fault_name(fault))


def _pair(course: Course) -> tuple[Attempt, Attempt]:
    """The two that the complaint is about: the first that overlap, or else the first two that took effect."""
    attempts = course.attempts
    for one, other in pairwise(attempts):
        if one.over_ns == NEVER or other.begun_ns < one.over_ns:
            return one, other
    effective = [attempt for attempt in attempts if any(_within(attempt, at_ns) for at_ns in course.effects)]
    return (effective[0], effective[1]) if len(effective) > 1 else (attempts[0], attempts[1])


def _within(attempt: Attempt, at_ns: int) -> bool:
    return attempt.begun_ns <= at_ns and (attempt.over_ns == NEVER or at_ns <= attempt.over_ns)


def stopped(history: History, first: Attempt, second: Attempt) -> FaultInterval | None:
    """The fault because of which the first gave no sign of life before the second began."""
    until_ns = second.begun_ns
    met = [
        f for f in history.faults if f.proven and f.role == first.role and f.since_ns <= until_ns and not f.killed_pids
    ]
    met = [f for f in met if f.healed_ns == NEVER or f.healed_ns >= first.begun_ns]
    return max(met, key=lambda f: f.since_ns, default=None)


def late(history: History, course: Course) -> OneCause:
    """It took effect after the subject's last word."""
    words = [(at, kind) for at, kind in course.claims if kind in (ClaimKind.SUCCESS, ClaimKind.FAILURE)]
    after = [a for a in course.attempts if words and a.over_ns > words[0][0]]
    if not words or not after:
        return again(history, course)
    said_ns, kind = words[0]
    attempt = after[-1]
    fault = stopped(history, attempt, attempt) or fault_on(history, attempt.role, said_ns - SOON_NS, said_ns)
    gave = [c for c in course.given if (c.reply_ns or c.at_ns) <= attempt.begun_ns]
    command = gave[-1].text if gave else ""
    word = "failure" if kind == ClaimKind.FAILURE else "success"
    text = f"the subject said {word}, and {attempt.role} took effect {told_ms(course.effects[-1] - said_ns)} later"
    text += f": it had it from {command}" if command else ""
    text += f", and {relation(fault, said_ns)}" if fault else ""
    return OneCause(CauseKind.WENT_ON, text, command, fault_name(fault))
