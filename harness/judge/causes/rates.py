"""Why all tasks are too slow."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from statistics import median_low

from taskchaos.harness.checker.faults import ended_ns, happened, label
from taskchaos.harness.contract import PhaseName
from taskchaos.harness.judge.causes.course import fault_name, of_worker
from taskchaos.harness.judge.causes.words import told_ms
from taskchaos.harness.record.history import NEVER, History
from taskchaos.harness.record.result import Cause, CauseKind
from taskchaos.harness.record.verdict import RuleResult
from taskchaos.harness.record.wire import WireCommand

#: Of fewer such pairs nothing is said.
_FEWEST = 8


@dataclass(frozen=True, slots=True)
class Turns:
    """How a process goes from one task to the next while others wait: from begin to begin, and of that in bodies."""

    whole_ns: int
    body_ns: int


def slow(history: History, rule: RuleResult, wire: tuple[WireCommand, ...] | None) -> Cause:
    """The rate is below what is demanded: what a task costs by the commands that it needs, or what holds a worker."""
    commands = [command for command in wire or () if of_worker(command) and command.reply_ns is not None]
    busy = [command for command in commands if command.sent]
    if busy:
        return _by_commands(history, rule, commands, busy)
    if (seen := turns(history)) is None:
        why = "the commands of this case were not noted" if wire is None else "no task was named by a worker's command"
        return Cause(rule.rule, CauseKind.NOT_KNOWN, (), f"{why}: {rule.reason}")
    text = f"while others waited, a process took {told_ms(seen.whole_ns)} from one task to the next at the median, "
    text += f"{told_ms(seen.body_ns)} of that in the task itself"
    text += "" if wire is None else "; no command of a worker's named a task meanwhile"
    return Cause(rule.rule, CauseKind.HELD, (), text)


def turns(history: History) -> Turns | None:
    """Medians over what processes did one after the other while tasks waited; None where there is too little."""
    attempts, waiting = history.attempts, _waiting(history)
    runs: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for begun_ns, ended, role, pid in zip(
        attempts.begun_ns, attempts.ended_ns, attempts.role, attempts.pid, strict=True
    ):
        if ended != NEVER:
            runs.setdefault((role, pid), []).append((begun_ns, ended))
    pairs = [
        (later - begun_ns, ended - begun_ns)
        for mine in runs.values()
        for (begun_ns, ended), (later, _) in pairwise(sorted(mine))
        if ended <= later and any(since <= begun_ns and later <= until for since, until in waiting)
    ]
    if len(pairs) < _FEWEST:
        return None
    return Turns(median_low([whole for whole, _ in pairs]), median_low([body for _, body in pairs]))


def _waiting(history: History) -> list[tuple[int, int]]:
    """The stretches of time in which at least one task had been sent and not been begun yet, joined."""
    submits, attempts, begun = history.submits, history.attempts, dict[int, int]()
    for op, at_ns in zip(attempts.op, attempts.begun_ns, strict=True):
        begun[op] = min(begun.get(op, at_ns), at_ns)
    joined: list[tuple[int, int]] = []
    stretches = ((done_ns, begun[op]) for op, done_ns in zip(submits.op, submits.done_ns, strict=True) if op in begun)
    for since, until in sorted(each for each in stretches if NEVER != each[0] < each[1]):
        if joined and since <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(until, joined[-1][1])
        else:
            joined.append((since, until))
    return joined


def _by_commands(history: History, rule: RuleResult, commands: list[WireCommand], busy: list[WireCommand]) -> Cause:
    blocking = [command for command in commands if not command.sent]
    tasks = {op for command in busy for op in command.sent}
    trips = {(command.link, command.connection, command.at_ns) for command in busy}  # of a pipeline there is one
    took = sorted((command.reply_ns or 0) - command.at_ns for command in busy)
    each, median_ns, round_trips = len(busy) / len(tasks), took[len(took) // 2], len(trips) / len(tasks)
    most = Counter(command.text for command in busy + blocking).most_common(1)[0][0]
    # Where only undisturbed phases are to be fast, no fault made them slow.
    demanded = PhaseName.FAULT in history.slo.phases
    met = [fault for fault in history.faults if happened(fault) and demanded]
    longest = max(met, key=lambda f: min(ended_ns(f), history.final.read_at_ns) - f.since_ns, default=None)
    # What the way to Redis adds is not in these times: the proxy takes them at its own end.
    text = f"a task takes {round_trips:.1f} round trips of its worker's with {each:.1f} commands, most often {most}"
    text += f"; without the way, Redis takes {told_ms(median_ns)} for each at the median"
    text += f", and {label(longest)} was in force" if longest is not None else ""
    return Cause(rule.rule, CauseKind.TOO_SLOW, (), text, most, fault_name(longest))
