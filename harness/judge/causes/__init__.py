"""The likely cause of what a rule complains about: which command, which fault, what was missing between them.

A rule says that a task is lost; this says how, as far as the records tell: where the task was last, what was sent to
Redis for it and what was not, and which fault stood in between. It explains, and decides nothing. Operations of one
signature (the same rule, way, command and fault) have one cause, which names no role if theirs are not the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from taskchaos.harness.checker.columns import split_plan
from taskchaos.harness.judge.causes.again import again, late, too_often
from taskchaos.harness.judge.causes.course import Course, courses
from taskchaos.harness.judge.causes.lost import lost
from taskchaos.harness.judge.causes.others import back_off, dead, said_otherwise, stuck, too_soon
from taskchaos.harness.judge.causes.rates import slow
from taskchaos.harness.judge.causes.words import OneCause
from taskchaos.harness.record.history import NEVER, AttemptOutcome, History
from taskchaos.harness.record.result import Cause, CauseKind
from taskchaos.harness.record.verdict import Outcome, Rule, RuleResult, Verdict
from taskchaos.harness.record.wire import WireCommand

#: Of one rule so many are told, the most frequent first; and so many operations of each are named.
MAX_CAUSES = 3
MAX_OPS = 32
#: These are about the waits of all that failed, and name none.
_OF_ALL = frozenset({Rule.BACKOFF, Rule.RETRY_STORM})
#: The part of a key that is an operation's own.
_NUMBER = re.compile(r"op-\d+")
#: Who it was; of several operations perhaps not the same one.
_ROLE = re.compile(r"\b(worker|producer)-\d+(?:-results)?\b")

#: Who is asked, by the rule that failed.
_LOOKS: Mapping[Rule, Callable[[History, Course], OneCause]] = {
    Rule.LOST: lost,
    Rule.DURABILITY: lost,
    Rule.STUCK: stuck,
    Rule.DUPLICATE: again,
    Rule.OVERLAP: again,
    Rule.UNIQUE: again,
    Rule.ZOMBIE: late,
    Rule.BACKOFF: back_off,
    Rule.RETRY_STORM: back_off,
    Rule.EARLY: too_soon,
    Rule.RETRIES: too_often,
    Rule.DEAD_LETTER: dead,
    Rule.FALSE_FAILURE: said_otherwise,
    Rule.FALSE_SUCCESS: said_otherwise,
}


def causes(history: History, verdict: Verdict, wire: tuple[WireCommand, ...] | None) -> tuple[Cause, ...]:
    """Those of every rule that failed and has operations to show, in the order of the rules."""
    history, wire = _without_redrive(history, wire)
    failed = [rule for rule in verdict.rules if rule.outcome is Outcome.FAIL]
    about = {rule.rule: _examples(history, rule) for rule in failed if rule.rule in _LOOKS}
    known = courses(history, (op for ops in about.values() for op in ops), wire)
    found = [cause for rule, ops in about.items() for cause in _of_rule(history, rule, ops, known)]
    return (*found, *(slow(history, rule, wire) for rule in failed if rule.rule is Rule.THROUGHPUT))


def _without_redrive(
    history: History, wire: tuple[WireCommand, ...] | None
) -> tuple[History, tuple[WireCommand, ...] | None]:
    """Without what the harness did, after the case, to have a dead letter run again."""
    redrive = history.final.redrive
    if redrive is not None and redrive.begun_ns != NEVER and wire is not None:
        wire = tuple(c for c in wire if c.at_ns < redrive.begun_ns or redrive.op not in (*c.sent, *c.given))
    return split_plan(history)[0], wire


def _examples(history: History, rule: RuleResult) -> Sequence[int]:
    """The operations that a rule names; where it is about all that failed, the first of those."""
    named = list(dict.fromkeys(sample.op for sample in rule.samples[:MAX_OPS] if sample.op is not None))
    if named or rule.rule not in _OF_ALL:
        return named
    attempts = history.attempts
    failed = (op for op, end in zip(attempts.op, attempts.outcome, strict=True) if end == AttemptOutcome.TRANSIENT)
    return sorted(set(failed))[:MAX_OPS]


def _of_rule(history: History, rule: Rule, ops: Sequence[int], known: Mapping[int, Course]) -> Iterator[Cause]:
    groups: dict[tuple[CauseKind, str, str], list[tuple[int, OneCause]]] = {}
    for op in ops:
        found = _LOOKS[rule](history, known[op])
        kind_of_fault = found.fault.partition(" on ")[0]
        command = _NUMBER.sub("op-N", found.command)
        groups.setdefault((found.kind, command, kind_of_fault), []).append((op, found))
    for group in sorted(groups.values(), key=lambda group: -len(group))[:MAX_CAUSES]:
        first = group[0][1]
        text, fault = first.text, first.fault
        if any(_roles(other.text) != _roles(text) for _, other in group):
            text, fault = _ROLE.sub(r"a \1", text), _ROLE.sub(r"a \1", fault)
        yield Cause(rule, first.kind, tuple(op for op, _ in group), text, first.command, fault)


def _roles(text: str) -> list[str]:
    return [found[0] for found in _ROLE.finditer(text)]
