"""How a task got lost: where it was last, and what was not sent to Redis for it."""

from __future__ import annotations

from taskchaos.harness.checker.faults import label
from taskchaos.harness.judge.causes.course import Attempt, Course, fault_name, fault_on
from taskchaos.harness.judge.causes.words import SOON_NS, OneCause, relation, told_ms
from taskchaos.harness.record.history import NEVER, AttemptOutcome, FaultInterval, History, SubmitOutcome
from taskchaos.harness.record.result import CauseKind
from taskchaos.harness.record.wire import WireCommand

#: What takes a message off, and hands nothing on; and what puts one into a queue.
_REMOVALS = frozenset({"HDEL", "ZREM", "LREM", "XACK", "XDEL", "DEL", "MULTI", "EXEC"})
_PUTS = frozenset({"LPUSH", "RPUSH", "ZADD", "XADD"})


def lost(history: History, course: Course) -> OneCause:
    if course.wire is None:
        return _without_wire(history, course)
    if course.attempts:
        return _after_attempt(history, course, course.attempts[-1])
    if given := course.given:
        return _given(history, course, given[-1])
    return _published(history, course)


def _given(history: History, course: Course, last: WireCommand) -> OneCause:
    """Redis gave it away, and nobody began it."""
    role, how = last.link, f"Redis gave it away with {last.text}"
    reply_ns = last.reply_ns or last.at_ns
    fault = fault_on(history, role, reply_ns, reply_ns + SOON_NS)
    told = course.told(last.at_ns)
    if fault is not None and fault.killed_pids and (fault.injected_ns >= reply_ns or not told):
        when = f"{told_ms(fault.injected_ns - reply_ns)} later" if fault.injected_ns >= reply_ns else "just before"
        after = f"{role} was killed by {label(fault)} {when}, and never began it"
        return OneCause(CauseKind.GIVEN_TO_THE_DEAD, f"{how}, and {after}", last.text, label(fault))
    if told and told[-1].command in _PUTS:
        return _put_back(history, course, told[-1])
    if last.unheard or not told:
        why = f": {relation(fault, reply_ns)}" if fault else ""
        why = why or (f": its connection was {last.outcome}" if last.unheard else "")
        return OneCause(
            CauseKind.REPLY_UNSEEN, f"{how}, and {role} never saw the reply{why}", last.text, fault_name(fault)
        )
    removed = told[-1]
    text = (
        f"{how}; {role} took it off with {removed.text} {told_ms(removed.at_ns - reply_ns)} later, and never began it"
    )
    return OneCause(CauseKind.TAKEN_OFF, text, removed.text, fault_name(fault))


def _put_back(history: History, course: Course, last: WireCommand) -> OneCause:
    """It was put back into the queue, and is not there."""
    at_ns = last.reply_ns or last.at_ns
    taken = next((c for c in course.unanswered if c.at_ns <= at_ns), None)
    role = taken.link if taken is not None else last.link
    fault = fault_on(history, role, at_ns, at_ns + SOON_NS)
    text = f"{last.link} put it back with {last.text}"
    if taken is None:
        text += f", and it was never seen again: {relation(fault, at_ns)}"
        return OneCause(CauseKind.NEVER_GIVEN, text, last.text, fault_name(fault))
    text += f", and Redis gave it to {taken.text} of {role}, whose connection was gone: {relation(fault, at_ns)}"
    return OneCause(CauseKind.REPLY_UNSEEN, text, taken.text, fault_name(fault))


def _published(history: History, course: Course) -> OneCause:
    """It never came as far as a worker."""
    if not course.published:
        return OneCause(CauseKind.NEVER_SENT, "it was acknowledged, and no command carried it to Redis")
    last = course.published[-1]
    fault = fault_on(history, last.link, last.at_ns, last.reply_ns or last.at_ns)
    if last.unheard or last.rule:
        text = f"it was acknowledged, although {last.text} was {last.outcome}: {relation(fault, last.at_ns)}"
        return OneCause(CauseKind.PUBLISH_UNHEARD, text, last.text, fault_name(fault))
    if course.unanswered:
        return _put_back(history, course, last)
    server = fault_on(history, "", last.at_ns, history.final.read_at_ns)
    text = f"{last.link} sent it with {last.text}, and Redis never gave it to a worker"
    if server is not None:
        text += f": {relation(server, last.at_ns)}"
    return OneCause(CauseKind.NEVER_GIVEN, text, last.text, fault_name(server))


def _after_attempt(history: History, course: Course, last: Attempt) -> OneCause:
    """It was begun, at least once, and then nobody had it any more."""
    number = f"attempt {len(course.attempts)}"
    if last.outcome is AttemptOutcome.TRANSIENT:
        return _after_failure(history, course, last, number)
    removed = course.told(_taken_ns(course, last), None if last.over_ns == NEVER else last.over_ns)
    if last.kill is not None:
        text = f"{number} was cut short when {label(last.kill)} killed pid {last.pid}"
        if removed:
            removed = [command for command in removed if command.command in _REMOVALS] or removed
            ago = told_ms(last.killed_ns - removed[-1].at_ns)
            text += f"; the message had been taken off Redis {ago} before, with {removed[-1].text}"
            return OneCause(CauseKind.KILLED_WHEN_ACKNOWLEDGED, text, removed[-1].text, label(last.kill))
        later = course.told(last.killed_ns)
        if later:
            text += f"; {later[-1].link} then took the message off Redis with {later[-1].text}, as if it had been done"
            return OneCause(CauseKind.TAKEN_OFF_FOR_THE_DEAD, text, later[-1].text, label(last.kill))
        given = course.given
        command = given[-1].text if given else ""
        text += f", and nothing gave it to a worker again{f' after {command}' if command else ''}"
        return OneCause(CauseKind.KILLED, text, command, label(last.kill))
    told = course.told(last.begun_ns)
    command = told[-1].text if told else ""
    text = f"{number} ended without an effect ({last.outcome.name.lower()})"
    text += f", and {command} took it off Redis" if command else ", and nothing was sent to Redis for it"
    return OneCause(
        CauseKind.ENDED, text, command, fault_name(fault_on(history, last.role, last.begun_ns, last.begun_ns))
    )


def _after_failure(history: History, course: Course, last: Attempt, number: str) -> OneCause:
    """It failed as planned, and its retry is nowhere."""
    told = course.told(last.ended_ns)
    cut = [command for command in told if command.unheard or command.rule or command.outcome.isupper()]
    if cut:
        command = cut[0]
        fault = fault_on(history, last.role, command.at_ns, command.at_ns)
        text = f"{number} failed, and {command.text}, which hands its retry to Redis, was {command.outcome}"
        text += f": {relation(fault, command.at_ns)}" if fault else ""
        if others := [other for other in told if other not in cut]:
            text += f"; the message was taken off Redis with {others[-1].text} all the same"
        return OneCause(CauseKind.RETRY_CUT, text, command.text, fault_name(fault))
    killed_ns, kill = _death_of(history, last)
    if not told or (kill is not None and all(command.command in _REMOVALS for command in told)):
        text = f"{number} failed, and its retry waited in the memory of {last.role}"
        text += f", whose process {label(kill)} killed {told_ms(killed_ns - last.ended_ns)} later" if kill else ""
        text += f"; the message had been taken off Redis with {told[-1].text}" if told else ""
        return OneCause(CauseKind.RETRY_IN_MEMORY, text, told[-1].text if told else "", fault_name(kill))
    given = [
        command
        for command in course.given
        if command.at_ns >= last.ended_ns or (command.reply_ns or 0) >= last.ended_ns
    ]
    if given:
        found = _given(history, course, given[-1])
        return OneCause(
            found.kind, f"{number} failed, and its retry was lost: {found.text}", found.command, found.fault
        )
    text = f"{number} failed; {told[-1].text} is the last that Redis heard of it"
    fault = fault_on(history, last.role, told[-1].at_ns, told[-1].at_ns)
    return OneCause(CauseKind.RETRY_GONE, text, told[-1].text, fault_name(fault))


def _death_of(history: History, attempt: Attempt) -> tuple[int, FaultInterval | None]:
    """When a fault ended its process, or any of its role, after it; NEVER and None if none did."""
    kills = [
        f for f in history.faults if f.killed_pids and f.role == attempt.role and f.injected_ns >= attempt.ended_ns
    ]
    first = min(kills, key=lambda f: f.injected_ns, default=None)
    return (NEVER, None) if first is None else (first.injected_ns, first)


def _taken_ns(course: Course, attempt: Attempt) -> int:
    """When Redis gave it to who made this attempt; from the beginning, where that is not known."""
    given = [c.reply_ns or c.at_ns for c in course.given if (c.reply_ns or c.at_ns) <= attempt.begun_ns]
    return max(given, default=0)


def _without_wire(history: History, course: Course) -> OneCause:
    """What attempts and faults alone tell."""
    last = course.attempts[-1] if course.attempts else None
    if last is None:
        done = [submit for submit in course.submits if submit[2] is SubmitOutcome.ACKNOWLEDGED]
        at_ns = done[-1][1] if done else 0
        fault = next((f for f in history.faults if f.proven and f.injected_ns <= at_ns + SOON_NS), None)
        text = "it was acknowledged, and nobody began it"
        return OneCause(CauseKind.NOT_KNOWN, text, "", fault_name(fault))
    number = f"attempt {len(course.attempts)}"
    if last.kill is not None:
        text = f"{number} was cut short when {label(last.kill)} killed pid {last.pid}, and nobody began it again"
        return OneCause(CauseKind.KILLED, text, "", label(last.kill))
    return OneCause(CauseKind.NOT_KNOWN, f"{number} ended ({last.outcome.name.lower()}), and nobody began it again")
