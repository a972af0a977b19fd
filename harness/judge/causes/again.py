"""Why a task was executed again, at the same time, or after the last word on it."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from taskchaos.harness.checker.faults import ended_ns, happened, label
from taskchaos.harness.judge.causes.course import PUTS, Attempt, Course, fault_name, fault_on, hands_on
from taskchaos.harness.judge.causes.words import OneCause, relation, told_ms
from taskchaos.harness.record.history import NEVER, ClaimKind, FaultInterval, History
from taskchaos.harness.record.result import CauseKind
from taskchaos.harness.record.wire import WireCommand


def again(history: History, course: Course) -> OneCause:
    """It took effect twice, or two attempts ran at the same time: why there was a second."""
    if len(course.attempts) < 2:
        return OneCause(CauseKind.NOT_KNOWN, "one attempt took effect more than once")
    number, first, second = _pair(course)
    sent = _repeated(course)
    gave = course.given_for(second)
    command = gave.text if gave is not None else ""
    with_ = f" with {command}" if command else ""
    if sent and len(course.submits) == 1:
        fault = fault_on(history, sent[0].link, sent[0].at_ns, sent[0].came_ns)
        what = "it" if sent[0].link.startswith("producer") else "its retry"
        text = f"{sent[0].link} sent {what} {len(sent)} times with {sent[0].text}"
        text += f": {relation(fault, sent[0].at_ns)} at the first" if fault else ""
        return OneCause(CauseKind.SENT_TWICE, text, sent[0].text, fault_name(fault))
    if len(course.submits) > 1 and (course.wire is None or len(course.published) != 1):
        text = f"it was submitted {len(course.submits)} times, and executed {len(course.attempts)} times"
        return OneCause(CauseKind.SENT_TWICE, text, command)
    if first.kill is not None and first.killed_ns <= second.begun_ns:
        text = f"{first.role} was killed by {label(first.kill)} in attempt {number}"
        if first.killed_ns != NEVER:
            into = told_ms(first.killed_ns - first.begun_ns)
            text = f"{first.role} was killed by {label(first.kill)} {into} into attempt {number}"
        text += f", and Redis gave it to {second.role} again{with_}"
        return OneCause(CauseKind.TAKEN_OVER, text, command, label(first.kill))
    return _lease_ended(history, first, second, number, command) or _told_too_late(
        history, course, first, second, number, command
    )


def _repeated(course: Course) -> list[WireCommand]:
    """The same command that a producer sent for it more than once, and that Redis did not refuse.

    Or that a worker sent again because the first of them was not answered: only then they are of one retry.
    """
    alone = [c for c in course.published if c.sent == (course.op,) and (c.unheard or not c.failed)]
    puts = [c for c in alone if c.command in PUTS or c.scripted]
    texts = Counter(command.text for command in puts)
    most = texts.most_common(1)[0] if texts else ("", 0)
    if most[1] > 1:
        return [command for command in puts if command.text == most[0]]
    told = [c for c in course.told(0) if c.sent == (course.op,) and hands_on(c)]
    return next(([one, two] for one, two in pairwise(told) if _sent_again(one, two)), [])


def _sent_again(one: WireCommand, two: WireCommand) -> bool:
    return one.unheard and not two.failed and (one.link, one.text) == (two.link, two.text)


def _lease_ended(history: History, first: Attempt, second: Attempt, number: int, command: str) -> OneCause | None:
    """The first was still at work, or stood still, and its lease was over when the second began."""
    lease = f"{history.lease_ns / 1e9:g} s"
    too = f", and Redis gave it to {second.role} too" + (f" with {command}" if command else "")
    until_ns = second.begun_ns if first.over_ns == NEVER else min(first.over_ns, second.begun_ns)
    fault = _stopped(history, first, until_ns)
    if fault is not None:
        text = f"{first.role} was out of action ({label(fault)}) in its attempt for longer than its lease of {lease}"
        return OneCause(CauseKind.LEASE_ENDED, text + too, command, label(fault))
    running_ns = (first.over_ns if first.over_ns != NEVER else second.begun_ns) - first.begun_ns
    if running_ns > history.lease_ns > 0:
        text = f"attempt {number} ran for {told_ms(running_ns)}, longer than the lease of {lease}"
        fault = fault_on(history, first.role, first.begun_ns, second.begun_ns)
        return OneCause(CauseKind.LEASE_ENDED, text + too, command, fault_name(fault))
    return None


def _told_too_late(
    history: History, course: Course, first: Attempt, second: Attempt, number: int, command: str
) -> OneCause:
    """The first was over, and Redis did not know."""
    got = f"; {second.role} got it with {command}" if command else f"; {second.role} began it again"
    if first.over_ns == NEVER or first.over_ns > second.begun_ns:
        text = f"{first.role} was still in attempt {number}{got}"
        fault = fault_on(history, first.role, first.begun_ns, second.begun_ns)
        return OneCause(CauseKind.LEASE_ENDED, text, command, fault_name(fault))
    over_ns = first.over_ns
    fault = fault_on(history, first.role, over_ns, second.begun_ns)
    told = course.told(over_ns, second.begun_ns)
    unheard = [c for c in told if c.unheard]
    text = f"{first.role} was done with attempt {number}"
    if course.wire is None:
        pass
    elif unheard:
        text += f", and {unheard[0].text}, which says so, was {unheard[0].outcome}"
    elif told:
        text += f", and {told[0].text} came {told_ms(told[0].at_ns - over_ns)} later"
    else:
        text += ", and no command that names it came before Redis gave it away again"
    text += f": {relation(fault, over_ns)}" if fault else ""
    text += got
    return OneCause(CauseKind.TOLD_TOO_LATE, text, unheard[0].text if unheard else command, fault_name(fault))


def _pair(course: Course) -> tuple[int, Attempt, Attempt]:
    """The two that the complaint is about, and the number of the first of them.

    The first that overlap, or else the first two that took effect.
    """
    attempts = course.attempts
    for number, (one, other) in enumerate(pairwise(attempts), start=1):
        if (one.over_ns == NEVER and one.kill is None) or other.begun_ns < one.over_ns:
            return number, one, other
    effective = [n for n, attempt in enumerate(attempts) if any(_within(attempt, at_ns) for at_ns in course.effects)]
    one_, other_ = (effective[0], effective[1]) if len(effective) > 1 else (0, 1)
    return one_ + 1, attempts[one_], attempts[other_]


def _within(attempt: Attempt, at_ns: int) -> bool:
    return attempt.begun_ns <= at_ns and (attempt.over_ns == NEVER or at_ns <= attempt.over_ns)


def _stopped(history: History, attempt: Attempt, until_ns: int) -> FaultInterval | None:
    """The fault because of which an attempt gave no sign of life until then, for longer than its lease."""
    own = (f for f in history.faults if happened(f) and f.role == attempt.role and not f.killed_pids)
    met = [f for f in own if min(ended_ns(f), until_ns) - max(f.since_ns, attempt.begun_ns) > history.lease_ns > 0]
    return max(met, key=lambda fault: fault.since_ns, default=None)


def too_often(history: History, course: Course) -> OneCause:
    """It was tried more often than its contract allows."""
    ends = Counter(attempt.outcome.name.lower() for attempt in course.attempts)
    text = f"it was begun {len(course.attempts)} times ({', '.join(f'{n} {end}' for end, n in ends.items())})"
    command = course.given[-1].text if course.given else ""
    text += f", the last time with {command}" if command else ""
    last = course.attempts[-1] if course.attempts else None
    fault = None if last is None else fault_on(history, last.role, last.begun_ns, last.begun_ns)
    return OneCause(CauseKind.TRIED_TOO_OFTEN, text, command, fault_name(fault))


def late(history: History, course: Course) -> OneCause:
    """It took effect after the subject's last word."""
    words = [(at, kind) for at, kind in course.claims if kind in (ClaimKind.SUCCESS, ClaimKind.FAILURE)]
    effects = [at_ns for at_ns in course.effects if words and at_ns > words[0][0]]
    after = [a for a in course.attempts if effects and _within(a, effects[-1])]
    if not after:
        return again(history, course)
    said_ns, kind = words[0]
    attempt = after[-1]
    fault = fault_on(history, attempt.role, said_ns, said_ns)
    gave = course.given_for(attempt)
    command = gave.text if gave is not None else ""
    word = "failure" if kind == ClaimKind.FAILURE else "success"
    text = f"the subject said {word}, and {attempt.role} took effect {told_ms(effects[-1] - said_ns)} later"
    text += f": it had it from {command}" if command else ""
    text += f"{', and' if command else ':'} {relation(fault, said_ns)}" if fault else ""
    return OneCause(CauseKind.WENT_ON, text, command, fault_name(fault))
