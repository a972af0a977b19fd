"""Why a task is not done, was tried too soon, was given up, or is told wrongly."""

from __future__ import annotations

import re
from itertools import pairwise

from taskchaos.harness.checker.faults import label
from taskchaos.harness.judge.causes.course import NOTED, Course, fault_name, fault_on
from taskchaos.harness.judge.causes.words import OneCause, ended, told_ms
from taskchaos.harness.record.history import NEVER, AttemptOutcome, History
from taskchaos.harness.record.result import CauseKind

#: What a key of dead letters may be called: what else is sent for a task is only the last that names it.
_GRAVES = re.compile("dead|dlq|fail|grave|letter|parked|poison", re.IGNORECASE)
#: What may put a task among the dead letters.
_KEEPS = frozenset({"HSET", "LPUSH", "RPUSH", "SADD", "XADD", "ZADD"})


def stuck(history: History, course: Course) -> OneCause:
    """It is still somewhere, and gets no further."""
    given, told = course.given, course.told(0)
    last = max([*given, *told], key=lambda c: c.came_ns, default=None)
    command = last.text if last is not None else ""
    dead = [(number, a) for number, a in enumerate(course.attempts, start=1) if a.kill is not None]
    kill = dead[-1][1].kill if dead else None
    fault = kill or fault_on(history, last.link if last else "", last.at_ns if last else 0, last.at_ns if last else 0)
    if kill is not None:
        text = f"attempt {dead[-1][0]} was cut short by {label(kill)}"
    elif course.attempts:
        text = ended(course.attempts[-1], len(course.attempts))
    else:
        text = "it was never begun"
    times = f"{len(given)} times" if len(given) > 1 else "once"
    text += f"; Redis gave it to workers {times}" if given else ""
    text += f", last with {given[-1].text}" if len(given) > 1 else ""
    text += f"; {command} is the last that carried it" if command and len(given) <= 1 else ""
    since = [c for c in given if dead and c.came_ns >= dead[-1][1].killed_ns]
    text += ", and nobody has begun it since" if since and dead[-1][0] == len(course.attempts) else ""
    return OneCause(CauseKind.NEVER_FREED, text, command, fault_name(fault))


def back_off(history: History, course: Course) -> OneCause:
    """A wait was not as the law has it."""
    for number, (one, other) in enumerate(pairwise(course.attempts), start=1):
        if one.outcome is not AttemptOutcome.TRANSIENT or one.ended_ns == NEVER:
            continue
        told = course.told(one.ended_ns - 1_000_000, other.begun_ns)
        command = told[0].text if told else ""
        wait = told_ms(max(0, other.begun_ns - one.ended_ns))
        text = f"attempt {number} failed, and attempt {number + 1} began {wait} later"
        if course.wire is None:
            pass
        elif told:
            text += f": {command} handed it on {told_ms(max(0, told[0].at_ns - one.ended_ns))} after the failure"
        else:
            text += ": nothing was sent to Redis in between, so it waited in the worker's memory"
        return OneCause(
            CauseKind.WAITED_OTHERWISE,
            text,
            command,
            fault_name(fault_on(history, one.role, one.ended_ns, other.begun_ns)),
        )
    return OneCause(CauseKind.NOT_KNOWN, "no two attempts show it")


def too_soon(history: History, course: Course) -> OneCause:
    """It was sent to be run later, and began before that."""
    if not course.attempts:
        return OneCause(CauseKind.NOT_KNOWN, "no attempt shows it")
    first = course.attempts[0]
    gave = course.given_for(first)
    command = gave.text if gave is not None else ""
    text = f"{first.role} began it"
    if course.submits:
        after = told_ms(max(0, first.begun_ns - course.submits[0][0]))
        later = told_ms(history.delays_ns.get(course.op, 0))
        text += f" {after} after its submit began, which said that it was to be run {later} later"
    text += f", with {command}" if command else ""
    fault = fault_on(history, first.role, first.begun_ns, first.begun_ns)
    return OneCause(CauseKind.WAITED_OTHERWISE, text, command, fault_name(fault))


def dead(history: History, course: Course) -> OneCause:
    """It is among the dead letters, and neither failures nor crashes explain that."""
    last = course.attempts[-1] if course.attempts else None
    since_ns = 0 if last is None else last.known_ns
    queues = {command.key for command in (*course.published, *course.given)}
    told = [c for c in course.told(since_ns - 1_000_000) if c.scripted or (c.command in _KEEPS and c.key not in queues)]
    told = [command for command in told if not command.failed and (command.command, command.key) not in NOTED]
    kept = [command for command in told if not command.scripted and _GRAVES.search(command.key)]
    command = (kept or told)[-1].text if told else ""
    role = last.role if last is not None else told[-1].link if told else ""
    fault = (last.kill if last is not None else None) or fault_on(history, role, since_ns, since_ns)
    number = len(course.attempts)
    text = "nobody had begun it" if last is None else ended(last, number)
    text = f"attempt {number} was cut short by {label(last.kill)}" if last is not None and last.kill else text
    if kept:
        text += f", and {kept[-1].link} put it among the dead letters with {command}"
    else:
        text += ", and it became a dead letter" + (f"; {command} is the last that named it" if told else "")
    return OneCause(CauseKind.GIVEN_UP, text, command, fault_name(fault))


def said_otherwise(history: History, course: Course) -> OneCause:
    """What the subject said of it is not what happened."""
    last = course.attempts[-1] if course.attempts else None
    said = course.reported
    command = said[-1].text if said else ""
    text = "nobody began it" if last is None else ended(last, len(course.attempts))
    text += f", and {said[-1].link} said otherwise with {command}" if said else ", and the subject said otherwise"
    role, at_ns = (last.role, last.known_ns) if last else ("", 0)
    return OneCause(CauseKind.SAID_OTHERWISE, text, command, fault_name(fault_on(history, role, at_ns, at_ns)))
