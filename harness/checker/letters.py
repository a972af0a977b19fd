"""Dead letters: which are due, by the plan or by what the contract allows, and which are a loss in disguise.

Due is a dead letter of an operation that fails for good in the plan; one whose attempts failed as often as the subject
claims to try; one whose attempts ended with their process as often as the subject claims to allow. That an operation
is poison makes its dead letter not due before that: whose doing a crash was, a subject cannot know.
"""

from __future__ import annotations

from dataclasses import dataclass

from taskchaos.harness.checker.chords import bodies, members
from taskchaos.harness.checker.columns import ACKED, EFFECT, FAILED, UNSURE, Tally, mask_of, ops_in, rows_in, select
from taskchaos.harness.checker.results import counted
from taskchaos.harness.contract import Claim, Contract
from taskchaos.harness.record.history import AttemptOutcome, History

#: Attempts that ended with their process: of a dead letter, OPEN ones did too.
_CRASHES = (AttemptOutcome.OPEN, AttemptOutcome.CRASHED)
_FAILURES = (AttemptOutcome.TRANSIENT, AttemptOutcome.PERMANENT, AttemptOutcome.INTERRUPTED)


@dataclass(frozen=True, slots=True)
class Letters:
    """The dead letters of a case.

    due: those that the plan or the contract explains; and without a dead letter, permanent failures, poison whose
    crashes are used up, and what failed by plan as often as the contract allows attempts, that the subject admitted;
    and the bodies of chords that had such a member.
    undue: the others without an effect, each with what was seen of it.
    all: whatever is in the dead letters. called_off: those bodies, which never may run.
    """

    due: frozenset[int]
    undue: dict[int, str]
    all: frozenset[int]
    called_off: frozenset[int]


def sort_letters(history: History, contract: Contract, found: Tally) -> Letters:
    """Every dead letter on its pile. Those with an effect are on none: they are false failures."""
    dead = frozenset(op for op in history.final.dead if 0 <= op < history.planned)
    unexplained = [op for op in dead if op not in history.permanent]
    notes = _notes(history, contract, unexplained)
    flags = found.flags
    undue = {op: note for op, note in notes.items() if flags[op] & (ACKED | UNSURE) and not flags[op] & EFFECT}
    admitted = _admitted(history, found) | _admitted_poison(history, contract, found)
    admitted |= _admitted_attempts(history, contract, found)
    due = dead - notes.keys() | admitted
    called_off = _called_off(history, found, due)
    return Letters(due | called_off, undue, dead, called_off)


def _notes(history: History, contract: Contract, dead: list[int]) -> dict[int, str]:
    """What was seen of those that neither failures nor crashes explain."""
    failures = dict.fromkeys(dead, 0)
    crashes = dict.fromkeys(dead, 0)
    attempts = history.attempts
    for row in rows_in(attempts.op, mask_of(dead, history.planned)):
        if attempts.outcome[row] in _FAILURES:
            failures[attempts.op[row]] += 1
        elif attempts.outcome[row] in _CRASHES:
            crashes[attempts.op[row]] += 1
    tries = contract.max_attempts if contract.has(Claim.RETRIES_BOUNDED) else None
    limit = contract.max_crashes
    return {
        op: f"dead after {_of(failures[op], tries, 'attempt')}, {_of(crashes[op], limit, 'crash', 'crashes')}"
        for op in dead
        if not _used_up(failures[op], tries) and not _used_up(crashes[op], limit)
    }


def _used_up(number: int, limit: int | None) -> bool:
    return limit is not None and number >= limit


def _of(number: int, limit: int | None, noun: str, plural: str = "") -> str:
    return counted(number, noun, plural) if limit is None else f"{number} of {counted(limit, noun, plural)}"


def _admitted(history: History, found: Tally) -> frozenset[int]:
    """Operations that fail for good in the plan, did so, and of which the subject says that they failed."""
    permanent = (op for op in history.permanent if 0 <= op < history.planned and found.said[op] & FAILED)
    attempts = history.attempts
    rows = rows_in(attempts.op, mask_of(permanent, history.planned))
    return frozenset(attempts.op[row] for row in rows if attempts.outcome[row] == AttemptOutcome.PERMANENT)


def _called_off(history: History, found: Tally, due: frozenset[int]) -> frozenset[int]:
    """The bodies that never may run, because a member was given up without an effect."""
    failed = {op for op in due if not found.flags[op] & EFFECT}
    never = (body for body in bodies(history) if not found.flags[body] & EFFECT)
    return frozenset(body for body in never if not failed.isdisjoint(members(history, body)))


def _admitted_poison(history: History, contract: Contract, found: Tally) -> frozenset[int]:
    """Poison that crashed as often as the subject claims to allow, and of which it says that it failed."""
    poison = [op for op in history.poison if 0 <= op < history.planned and found.said[op] & FAILED]
    crashes = dict.fromkeys(poison, 0)
    attempts = history.attempts
    for row in rows_in(attempts.op, mask_of(poison, history.planned)):
        crashes[attempts.op[row]] += attempts.outcome[row] == AttemptOutcome.CRASHED
    return frozenset(op for op in poison if _used_up(crashes[op], contract.max_crashes))


def _admitted_attempts(history: History, contract: Contract, found: Tally) -> frozenset[int]:
    """Operations that the plan has fail as often as the subject claims to try, and of which it says that they failed.

    By their own failures, or because what they depend on was down.
    """
    if not contract.has(Claim.RETRIES_BOUNDED):
        return frozenset()
    tries, failures = contract.max_attempts, history.failures or bytes(history.planned)
    outage = history.outage is not None
    said = ops_in(select(found.said, lambda byte: byte & FAILED))
    doomed = [op for op in said if outage or failures[op] >= tries]
    ended = dict.fromkeys(doomed, 0)
    attempts = history.attempts
    for row in rows_in(attempts.op, mask_of(doomed, history.planned)):
        ended[attempts.op[row]] += attempts.outcome[row] == AttemptOutcome.TRANSIENT
    return frozenset(op for op in doomed if ended[op] >= tries)
