"""Why a task is not done, was tried too soon, was given up, is told wrongly, or all are too slow."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from taskchaos.harness.checker.faults import ended_ns, label
from taskchaos.harness.judge.causes.course import Course, fault_name, fault_on, of_worker
from taskchaos.harness.judge.causes.words import OneCause, told_ms
from taskchaos.harness.record.history import NEVER, AttemptOutcome, History
from taskchaos.harness.record.result import Cause, CauseKind
from taskchaos.harness.record.verdict import RuleResult
from taskchaos.harness.record.wire import WireCommand


def stuck(history: History, course: Course) -> OneCause:
    """It is still somewhere, and gets no further."""
    given, told = course.given, course.told(0)
    last = max([*given, *told], key=lambda c: c.at_ns, default=None)
    command = last.text if last is not None else ""
    dead = [a for a in course.attempts if a.kill is not None]
    kill = dead[-1].kill if dead else None
    fault = kill or fault_on(history, last.link if last else "", last.at_ns if last else 0, last.at_ns if last else 0)
    if kill is not None:
        text = f"attempt {len(course.attempts)} was cut short by {label(kill)}"
    elif course.attempts:
        text = f"attempt {len(course.attempts)} ended ({course.attempts[-1].outcome.name.lower()})"
    else:
        text = "it was never begun"
    times = f"{len(given)} times" if len(given) > 1 else "once"
    text += f"; Redis gave it to workers {times}" if given else ""
    text += f", last with {given[-1].text}, and each gave it back" if len(given) > 1 else ""
    text += f"; {command} is the last that carried it" if command and len(given) <= 1 else ""
    text += "; what it waits for is never freed" if kill is not None and len(given) > 1 else ""
    return OneCause(CauseKind.NEVER_FREED, text, command, fault_name(fault))


def back_off(history: History, course: Course) -> OneCause:
    """A wait was not as the law has it."""
    for one, other in pairwise(course.attempts):
        if one.outcome is not AttemptOutcome.TRANSIENT or one.ended_ns == NEVER:
            continue
        told = course.told(one.ended_ns - 1_000_000, other.begun_ns)
        command = told[0].text if told else ""
        text = f"attempt 1 failed, and attempt 2 began {told_ms(other.begun_ns - one.ended_ns)} later"
        if told:
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


def dead(history: History, course: Course) -> OneCause:
    """It is among the dead letters, and neither failures nor crashes explain that."""
    last = course.attempts[-1] if course.attempts else None
    since_ns = 0 if last is None else (last.over_ns if last.over_ns != NEVER else last.begun_ns)
    told = course.told(since_ns - 1_000_000) or course.told(0)
    command = told[-1].text if told else ""
    role = last.role if last is not None else told[-1].link if told else ""
    fault = (last.kill if last is not None else None) or fault_on(history, role, since_ns, since_ns)
    number = len(course.attempts)
    text = "nobody had begun it" if last is None else f"attempt {number} ended ({last.outcome.name.lower()})"
    text = f"attempt {number} was cut short by {label(last.kill)}" if last is not None and last.kill else text
    text += (
        f", and {told[-1].link} put it among the dead letters with {command}"
        if told
        else ", and it became a dead letter"
    )
    return OneCause(CauseKind.GIVEN_UP, text, command, fault_name(fault))


def said_otherwise(history: History, course: Course) -> OneCause:
    """What the subject said of it is not what happened."""
    last = course.attempts[-1] if course.attempts else None
    said = course.reported
    command = said[-1].text if said else ""
    text = "nobody began it" if last is None else f"attempt {len(course.attempts)} ended ({last.outcome.name.lower()})"
    text += f", and {said[-1].link} said otherwise with {command}" if said else ", and the subject said otherwise"
    role, at_ns = (last.role, last.begun_ns) if last is not None else ("", 0)
    return OneCause(CauseKind.SAID_OTHERWISE, text, command, fault_name(fault_on(history, role, at_ns, at_ns)))


def slow(history: History, rule: RuleResult, wire: tuple[WireCommand, ...] | None) -> Cause:
    """The rate is below what is demanded: what a task costs, by the commands that it needs."""
    commands = [command for command in wire or () if of_worker(command) and command.reply_ns is not None]
    blocking = [command for command in commands if not command.sent]
    tasks = {op for command in commands for op in command.sent}
    busy = [command for command in commands if command.sent]
    if not tasks or not busy:
        why = "the commands of this case were not noted" if wire is None else "no task got as far as a worker"
        return Cause(rule.rule, CauseKind.NOT_KNOWN, (), f"{why}: {rule.reason}")
    took = sorted((command.reply_ns or 0) - command.at_ns for command in busy)
    each, median_ns = len(busy) / len(tasks), took[len(took) // 2]
    most = Counter(command.text for command in busy + blocking).most_common(1)[0][0]
    longest = max(history.faults, key=lambda f: min(ended_ns(f), history.final.read_at_ns) - f.since_ns, default=None)
    text = (
        f"a task takes {each:.1f} commands of its worker's, most often {most}, {told_ms(median_ns)} each at the median"
    )
    text += f": {told_ms(round(each * median_ns))} of each task are spent on waiting for Redis"
    return Cause(rule.rule, CauseKind.TOO_SLOW, (), text, most, fault_name(longest))
