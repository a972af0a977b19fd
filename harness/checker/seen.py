"""Whether a case came through the states without which its verdict would mean nothing (record/seen.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

from taskchaos.harness.checker.evidence import CaseEvidence, attempts_of_retried
from taskchaos.harness.checker.faults import FOREVER, happened, stopped
from taskchaos.harness.checker.waits import first_times
from taskchaos.harness.record.history import NEVER, AttemptOutcome, ClaimKind, SubmitOutcome
from taskchaos.harness.record.seen import Seen

_PLANNED = (AttemptOutcome.TRANSIENT, AttemptOutcome.PERMANENT)


def unseen(evidence: CaseEvidence) -> list[Seen]:
    """Those that the case had to come through and did not."""
    return sorted(state for state in evidence.history.must_see if not _STATES[state](evidence))


def _pairs(evidence: CaseEvidence) -> Iterator[tuple[int, int]]:
    """The rows of attempts that followed one another, of one operation."""
    for _, rows in attempts_of_retried(evidence):
        yield from pairwise(rows)


def _taken_over(evidence: CaseEvidence) -> bool:
    """What a worker said of itself before it was taken over came too late, or never."""
    attempts = evidence.history.attempts
    late = any(
        attempts.pid[row] != attempts.pid[later]
        and (
            attempts.outcome[row] in (AttemptOutcome.OPEN, AttemptOutcome.CRASHED, AttemptOutcome.INTERRUPTED)
            or attempts.ended_ns[row] > attempts.begun_ns[later]
        )
        for row, later in _pairs(evidence)
    )
    return late or _had_by_another(evidence)


def _had_by_another(evidence: CaseEvidence) -> bool:
    """An operation came to a second worker, and the first, which a fault had stopped or ended, had not done it.

    Who acknowledges what begins is never given that again, but what a worker had not begun.
    """
    history, came = evidence.history, dict[int, list[tuple[int, int]]]()
    for op, at_ns, role in zip(history.deliveries.op, history.deliveries.at_ns, history.deliveries.role, strict=True):
        came.setdefault(op, []).append((at_ns, role))
    attempts, done = history.attempts, dict[tuple[int, int], list[int]]()
    for op, ended_ns, role in zip(attempts.op, attempts.ended_ns, attempts.role, strict=True):
        done.setdefault((op, role), []).append(ended_ns)
    out = {role: stopped(history, role) for role in history.roles}
    return any(
        first != second
        and out[history.roles[first]].meet(had_ns, came_ns)
        and not any(had_ns <= ended_ns <= came_ns for ended_ns in done.get((op, first), ()))
        for op, rows in came.items()
        for (had_ns, first), (came_ns, second) in pairwise(sorted(rows))
    )


def _retried(evidence: CaseEvidence) -> bool:
    outcome = evidence.history.attempts.outcome
    return any(outcome[row] == AttemptOutcome.TRANSIENT for row, _ in _pairs(evidence))


def _given_up(evidence: CaseEvidence) -> bool:
    history = evidence.history
    failed = {op for op, kind in zip(history.claims.op, history.claims.kind, strict=True) if kind == ClaimKind.FAILURE}
    tried = history.permanent & set(history.attempts.op)
    return bool(tried & (failed | history.final.dead))


def _waited_through(evidence: CaseEvidence) -> bool:
    attempts = evidence.history.attempts
    ends_ns = [at_ns for times in evidence.killed_at.values() for at_ns in times]
    return any(
        attempts.outcome[row] in _PLANNED
        and any(attempts.ended_ns[row] <= at_ns <= attempts.begun_ns[later] for at_ns in ends_ns)
        for row, later in _pairs(evidence)
    )


def _retry_cut_short(evidence: CaseEvidence) -> bool:
    outcome = evidence.history.attempts.outcome
    return any(
        AttemptOutcome.TRANSIENT in {outcome[row] for row in rows[:place]} and evidence.was_killed(rows[place])
        for _, rows in attempts_of_retried(evidence)
        for place in range(1, len(rows))
    )


def _key_wanted(evidence: CaseEvidence) -> bool:
    """Wherever it waits: at a worker that has to let it go, or in the broker."""
    history, attempts = evidence.history, evidence.history.attempts
    if not history.keys:
        return False
    runs: dict[int, list[tuple[int, int, int]]] = {}
    for row, op in enumerate(attempts.op):
        runs.setdefault(op % history.keys, []).append((attempts.begun_ns[row], evidence.attempt_end(row), op))
    return any(
        run_ns <= begun_ns and sent_ns <= ended_ns and op != other
        for op, sent_ns, begun_ns in first_times(evidence)
        for run_ns, ended_ns, other in runs[op % history.keys]
    )


def _sent_twice(evidence: CaseEvidence) -> bool:
    return any(times > 1 for times in evidence.acknowledged.values())


def _revoked_waited(evidence: CaseEvidence) -> bool:
    """It was dropped when its worker said so, or should have been when it was begun."""
    history, attempts = evidence.history, evidence.history.attempts
    ends_ns = [at_ns for times in evidence.killed_at.values() for at_ns in times]
    heard_ns = dict(zip(history.revokes.op, history.revokes.heard_ns, strict=True))
    claims = zip(history.claims.op, history.claims.at_ns, history.claims.kind, strict=True)
    dropped = [(op, at_ns) for op, at_ns, kind in claims if kind == ClaimKind.REVOKED]
    return any(
        heard_ns.get(op, NEVER) != NEVER and any(heard_ns[op] <= end_ns <= at_ns for end_ns in ends_ns)
        for op, at_ns in (*dropped, *zip(attempts.op, attempts.begun_ns, strict=True))
    )


def _revoked_came_back(evidence: CaseEvidence) -> bool:
    history = evidence.history
    heard_ns = {
        op: at_ns for op, at_ns in zip(history.revokes.op, history.revokes.heard_ns, strict=True) if at_ns != NEVER
    }
    deliveries, claims, attempts = history.deliveries, history.claims, history.attempts
    came = [*zip(deliveries.op, deliveries.at_ns, strict=True), *zip(attempts.op, attempts.begun_ns, strict=True)]
    dropped = zip(claims.op, claims.at_ns, claims.kind, strict=True)
    came += [(op, at_ns) for op, at_ns, kind in dropped if kind == ClaimKind.REVOKED]
    back = {op for op, at_ns in came if at_ns > heard_ns.get(op, FOREVER)}
    ends = [(f.role, f.injected_ns) for f in history.faults if f.killed_pids and happened(f)]
    return any(
        op in back and evidence.role(role) == who and had_ns < end_ns <= heard_ns[op]
        for op, had_ns, role in zip(deliveries.op, deliveries.at_ns, deliveries.role, strict=True)
        for who, end_ns in ends
    )


def _sent_again(evidence: CaseEvidence) -> bool:
    history = evidence.history
    hits = {(hit.op, fault.role): hit.at_ns for fault in history.faults for hit in fault.hits}
    submits = history.submits
    rows = zip(submits.op, submits.role, submits.outcome, submits.begun_ns, submits.done_ns, strict=True)
    return any(
        outcome == SubmitOutcome.ACKNOWLEDGED and begun_ns <= hits.get((op, evidence.role(role)), NEVER) <= done_ns
        for op, role, outcome, begun_ns, done_ns in rows
    )


def _both_releases(evidence: CaseEvidence) -> bool:
    return len({one.release for one in evidence.history.releases if one.effects}) > 1


_STATES: dict[Seen, Callable[[CaseEvidence], bool]] = {
    Seen.TAKEN_OVER: _taken_over,
    Seen.RETRIED: _retried,
    Seen.GIVEN_UP: _given_up,
    Seen.WAITED_THROUGH: _waited_through,
    Seen.RETRY_CUT_SHORT: _retry_cut_short,
    Seen.KEY_WANTED: _key_wanted,
    Seen.SENT_TWICE: _sent_twice,
    Seen.REVOKED_WAITED: _revoked_waited,
    Seen.REVOKED_CAME_BACK: _revoked_came_back,
    Seen.BOTH_RELEASES: _both_releases,
    Seen.SENT_AGAIN: _sent_again,
}
