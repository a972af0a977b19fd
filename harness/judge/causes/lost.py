"""How a task got lost: where it was last, and what was not sent to Redis for it."""

from __future__ import annotations

from collections.abc import Sequence

from taskchaos.harness.checker.faults import ended_ns, label
from taskchaos.harness.judge.causes.course import AFTERMATH_NS, Attempt, Course, fault_name, fault_on, hands_on
from taskchaos.harness.judge.causes.words import COMING_NS, JUST_NS, SOON_NS, OneCause, ended, relation, told_ms
from taskchaos.harness.record.history import NEVER, AttemptOutcome, FaultInterval, History, SubmitOutcome
from taskchaos.harness.record.result import CauseKind
from taskchaos.harness.record.wire import WireCommand

#: What takes a message off, and hands nothing on; a key of one's own that goes may be a lock as well.
_REMOVALS = frozenset({"HDEL", "ZREM", "LREM", "XACK", "XDEL"})
_OWN_KEY = frozenset({"DEL", "UNLINK"})


def lost(history: History, course: Course) -> OneCause:
    if course.wire is None:
        return _without_wire(history, course)
    if course.attempts:
        return _after_attempt(history, course, course.attempts[-1])
    if given := course.given:
        return _given(history, course, given[-1])
    return _published(history, course)


def _removal(commands: Sequence[WireCommand]) -> WireCommand | None:
    """The last of these that took it off."""
    heard = [command for command in commands if not command.failed]
    taken = [c for c in heard if c.command in _REMOVALS] or [c for c in heard if c.command in _OWN_KEY]
    return taken[-1] if taken else None


def _put(commands: Sequence[WireCommand]) -> WireCommand | None:
    """The last of these that put it somewhere from where it is to be given away."""
    put = [command for command in commands if hands_on(command) and not command.failed]
    return put[-1] if put else None


def _given(history: History, course: Course, last: WireCommand) -> OneCause:
    """Redis gave it away, and nobody began it."""
    role, how, came_ns = last.link, f"Redis gave it away with {last.text}", last.came_ns
    told = [] if last.unheard else course.told(came_ns)
    if put := _put(told):
        return _put_back(history, course, put)
    told = [command for command in told if command.link == role]  # others may be done with what they had before
    removed = _removal(told)
    killed_ns, kill = _kill_of(history, role, came_ns)
    dead = None if told else _near(history, role, came_ns)
    if dead is not None and dead.killed_pids and 0 <= came_ns - dead.since_ns <= JUST_NS:
        return _unseen(history, course, last)
    if removed is not None and (kill is None or removed.at_ns <= killed_ns):
        return _taken_off(history, last, removed)
    if kill is not None:
        text = f"{how}, and {role} was killed by {label(kill)} {told_ms(killed_ns - came_ns)} later"
        if removed is None:
            text += ", and never began it"
            return OneCause(CauseKind.GIVEN_TO_THE_DEAD, text, last.text, label(kill))
        text += f"; {removed.link} took it off with {removed.text}, as if it had been done"
        return OneCause(CauseKind.TAKEN_OFF_FOR_THE_DEAD, text, removed.text, label(kill))
    if told:
        return _kept(history, last, told[-1])
    return _unseen(history, course, last)


def _taken_off(history: History, last: WireCommand, removed: WireCommand) -> OneCause:
    after = told_ms(removed.at_ns - last.came_ns)
    text = f"Redis gave it away with {last.text}; {removed.link} took it off with {removed.text} {after} later"
    killed_ns, kill = _kill_of(history, removed.link, removed.at_ns)
    if kill is not None:
        text += f", and was killed by {label(kill)} {told_ms(killed_ns - removed.at_ns)} after that, before it began it"
        return OneCause(CauseKind.KILLED_WHEN_ACKNOWLEDGED, text, removed.text, label(kill))
    fault = fault_on(history, last.link, last.came_ns, removed.at_ns)
    return OneCause(CauseKind.TAKEN_OFF, f"{text}, and never began it", removed.text, fault_name(fault))


def _kept(history: History, last: WireCommand, told: WireCommand) -> OneCause:
    """Who got it said so, and nothing that is known to take it off."""
    text = f"Redis gave it away with {last.text}; {told.link} sent {told.text} for it "
    text += f"{told_ms(told.at_ns - last.came_ns)} later, and never began it"
    if told.scripted:
        return OneCause(CauseKind.TAKEN_OFF, text, told.text, fault_name(_near(history, told.link, told.at_ns)))
    fault = fault_on(history, "", told.at_ns, history.final.read_at_ns)
    text += f": {relation(fault, told.at_ns)}" if fault is not None else ""
    return OneCause(CauseKind.NEVER_GIVEN, text, told.text, fault_name(fault))


def _unseen(history: History, course: Course, last: WireCommand) -> OneCause:
    """Nothing was sent for it by who had it."""
    role, how, came_ns = last.link, f"Redis gave it away with {last.text}", last.came_ns
    fault = _near(history, role, came_ns)
    if any(at_ns >= last.at_ns and who == role for at_ns, who in course.received):
        text = f"{how}, {role} received it, and never began it"
        text += f": {relation(fault, came_ns)}" if fault else ""
        return OneCause(CauseKind.TAKEN_OFF, text, last.text, fault_name(fault))
    if fault is not None and fault.killed_pids:
        when = f"{role} was killed by {label(fault)} just before, and never began it"
        if came_ns - fault.since_ns > JUST_NS:
            when = f"{role} never began it: {relation(fault, came_ns)}"
        return OneCause(CauseKind.GIVEN_TO_THE_DEAD, f"{how}, and {when}", last.text, label(fault))
    if fault is None and not last.unheard:
        text = f"{how}, and {role} sent nothing for it afterwards, and never began it"
        return OneCause(CauseKind.REPLY_UNSEEN, text, last.text)
    why = relation(fault, came_ns) if fault else f"its connection was {last.outcome}"
    why = "its connection ended" if fault is None and last.outcome in ("no reply", "pending") else why
    return OneCause(
        CauseKind.REPLY_UNSEEN, f"{how}, and {role} never saw the reply: {why}", last.text, fault_name(fault)
    )


def _put_back(history: History, course: Course, put: WireCommand, doing: str = "put it back") -> OneCause:
    """It was put into a queue, and is not there."""
    at_ns = put.came_ns
    text = f"{put.link} {doing} with {put.text}"
    taken = _waiting(history, course, put)
    if taken is None:
        fault = _near(history, put.link, at_ns) or fault_on(history, "", at_ns, history.final.read_at_ns)
        text += f", and it was never seen again: {relation(fault, at_ns)}"
        return OneCause(CauseKind.NEVER_GIVEN, text, put.text, fault_name(fault))
    fault = _near(history, taken.link, at_ns)
    text += f", and Redis gave it to {taken.text} of {taken.link}, whose connection was gone"
    text += f": {relation(fault, at_ns)}"
    return OneCause(CauseKind.REPLY_UNSEEN, text, taken.text, fault_name(fault))


def _waiting(history: History, course: Course, put: WireCommand) -> WireCommand | None:
    """The newest command that waited for such a message then, and was never answered because of a fault."""
    at_ns = put.came_ns
    asked = [c for c in course.unanswered if c.at_ns <= at_ns and not c.reads and (c.scripted or c.key == put.key)]
    met = [command for command in asked if _near(history, command.link, at_ns) is not None]
    return max(met, key=lambda command: command.at_ns, default=None)


def _near(history: History, role: str, at_ns: int) -> FaultInterval | None:
    """The fault that was in force then, or had just been, or was just coming."""
    fault = fault_on(history, role, at_ns, at_ns + COMING_NS)
    return fault if fault is not None and at_ns <= ended_ns(fault) + AFTERMATH_NS else None


def _kill_of(
    history: History, role: str, at_ns: int, within_ns: int | None = SOON_NS
) -> tuple[int, FaultInterval | None]:
    """The first fault that killed a role from then on, and when; NEVER and None if none did. within_ns: None: ever."""
    kills = [f for f in history.faults if f.killed_pids and f.role == role and f.injected_ns >= at_ns]
    first = min(kills, key=lambda fault: fault.injected_ns, default=None)
    if first is None or (within_ns is not None and first.injected_ns - at_ns > within_ns):
        return NEVER, None
    return first.injected_ns, first


def _published(history: History, course: Course) -> OneCause:
    """It never came as far as a worker."""
    if not course.published:
        return OneCause(CauseKind.NEVER_SENT, "it was acknowledged, and no command carried it to Redis")
    heard = [command for command in course.published if not command.failed]
    last = heard[-1] if heard else course.published[-1]
    if not heard:
        fault = fault_on(history, last.link, last.at_ns, last.came_ns)
        text = f"it was acknowledged, although {last.text} was {last.outcome}: {relation(fault, last.at_ns)}"
        return OneCause(CauseKind.PUBLISH_UNHEARD, text, last.text, fault_name(fault))
    if _waiting(history, course, last) is not None:
        return _put_back(history, course, last, "sent it")
    server = fault_on(history, "", last.at_ns, history.final.read_at_ns)
    text = f"{last.link} sent it with {last.text}, and Redis never gave it to a worker"
    if server is not None:
        text += f": {relation(server, last.at_ns)}"
    return OneCause(CauseKind.NEVER_GIVEN, text, last.text, fault_name(server))


def _after_attempt(history: History, course: Course, last: Attempt) -> OneCause:
    """It was begun, at least once, and then nobody had it any more."""
    number = len(course.attempts)
    if again := [command for command in course.given if command.came_ns >= last.known_ns]:
        found = _given(history, course, again[-1])
        retried = last.outcome is AttemptOutcome.TRANSIENT
        before = f"attempt {number} failed, and its retry was lost" if retried else ended(last, number)
        return OneCause(found.kind, f"{before}: {found.text}", found.command, found.fault)
    if last.outcome is AttemptOutcome.TRANSIENT:
        return _after_failure(history, course, last, f"attempt {number}")
    if last.kill is not None:
        return _after_kill(history, course, last, last.kill)
    told = course.told(last.begun_ns)
    removed = _removal(told)
    text = ended(last, number)
    if last.ended_ns != NEVER:
        text = f"attempt {number} ended without an effect ({last.outcome.name.lower()})"
    if removed is not None:
        text += f", and {removed.text} took it off Redis"
    else:
        text += (
            f", and {told[-1].text} is the last that Redis heard of it"
            if told
            else ", and no command that names it was sent"
        )
    command = (removed or told[-1]).text if told else ""
    fault = fault_on(history, last.role, last.begun_ns, last.begun_ns)
    return OneCause(CauseKind.ENDED, text, command, fault_name(fault))


def _after_kill(history: History, course: Course, last: Attempt, kill: FaultInterval) -> OneCause:
    text = ended(last, len(course.attempts))
    until_ns = None if last.killed_ns == NEVER else last.killed_ns
    gave = course.given_for(last)
    if removed := _removal(course.told(gave.came_ns if gave is not None else 0, until_ns)):
        when = "" if until_ns is None else f" {told_ms(until_ns - removed.at_ns)} before"
        text += f"; the message had been taken off Redis{when}, with {removed.text}"
        return OneCause(CauseKind.KILLED_WHEN_ACKNOWLEDGED, text, removed.text, label(kill))
    later = course.told(last.killed_ns) if until_ns is not None else []
    if put := _put(later):
        found = _put_back(history, course, put)
        return OneCause(found.kind, f"{text}; {found.text}", found.command, found.fault)
    if removed := _removal(later):
        text += f"; {removed.link} then took the message off Redis with {removed.text}, as if it had been done"
        return OneCause(CauseKind.TAKEN_OFF_FOR_THE_DEAD, text, removed.text, label(kill))
    command = course.given[-1].text if course.given else ""
    text += f", and nothing gave it to a worker again{f' after {command}' if command else ''}"
    return OneCause(CauseKind.KILLED, text, command, label(kill))


def _after_failure(history: History, course: Course, last: Attempt, number: str) -> OneCause:
    """It failed as planned, its retry is nowhere, and nothing was given to a worker afterwards."""
    told = course.told(last.ended_ns)
    removed = _removal(told)
    hands = [command for command in told if hands_on(command) or command.scripted]
    heard = [command for command in hands if not command.failed]
    if hands and not heard:
        command = hands[0]
        fault = fault_on(history, last.role, command.at_ns, command.at_ns)
        text = f"{number} failed, and {command.text}, which hands its retry to Redis, was {command.outcome}"
        text += f": {relation(fault, command.at_ns)}" if fault else ""
        text += f"; the message was taken off Redis with {removed.text} all the same" if removed else ""
        return OneCause(CauseKind.RETRY_CUT, text, command.text, fault_name(fault))
    if not heard:
        killed_ns, kill = _kill_of(history, last.role, last.ended_ns, within_ns=None)
        if course.retries_from_redis:
            text = f"{number} failed, and its retry, which like others came to be in Redis, was given to nobody"
            text += f"; {removed.text} took something of it off Redis" if removed else ""
            fault = kill or fault_on(history, last.role, last.ended_ns, last.ended_ns)
            return OneCause(CauseKind.RETRY_GONE, text, removed.text if removed else "", fault_name(fault))
        text = f"{number} failed, and "
        if kill is None:
            text += "no command that hands its retry on names it"
        else:
            text += f"its retry waited in the memory of {last.role}, whose process {label(kill)} killed"
            text += f" {told_ms(killed_ns - last.ended_ns)} later"
        text += f"; the message had been taken off Redis with {removed.text}" if removed else ""
        return OneCause(CauseKind.RETRY_IN_MEMORY, text, removed.text if removed else "", fault_name(kill))
    if _waiting(history, course, heard[-1]) is not None:
        found = _put_back(history, course, heard[-1])
        return OneCause(found.kind, f"{number} failed, and {found.text}", found.command, found.fault)
    text = f"{number} failed; {heard[-1].text} is the last that handed it on, and nothing gave it to a worker"
    fault = fault_on(history, last.role, heard[-1].at_ns, heard[-1].at_ns)
    return OneCause(CauseKind.RETRY_GONE, text, heard[-1].text, fault_name(fault))


def _without_wire(history: History, course: Course) -> OneCause:
    """What attempts and faults alone tell."""
    last = course.attempts[-1] if course.attempts else None
    if last is None:
        done = [submit for submit in course.submits if submit[2] is SubmitOutcome.ACKNOWLEDGED]
        at_ns = done[-1][1] if done else 0
        fault = _near(history, done[-1][3], at_ns) if done else None
        text = "it was acknowledged, and nobody began it"
        return OneCause(CauseKind.NOT_KNOWN, text, "", fault_name(fault))
    text = ended(last, len(course.attempts))
    if last.kill is not None:
        return OneCause(CauseKind.KILLED, f"{text}, and nobody began it again", "", label(last.kill))
    return OneCause(CauseKind.NOT_KNOWN, f"{text}, and nobody began it again")
