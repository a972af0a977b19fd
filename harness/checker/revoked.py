"""Revoked: what was revoked before a worker had it does not begin.

A revoke is a word to workers about what they do not have yet, so only that is judged: an attempt counts if its worker
received the operation later than the revoke was acknowledged, and than a worker may take to write down what it has.
Of one that began later, and whose worker never wrote down that it had it, nothing is known.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection

from taskchaos.harness.checker.columns import ACKED, TRIED, mask_of, rows_in
from taskchaos.harness.checker.evidence import CaseEvidence
from taskchaos.harness.checker.results import counted, if_claimed, with_samples
from taskchaos.harness.checker.waits import noted_ns
from taskchaos.harness.clock import seconds
from taskchaos.harness.contract import Claim
from taskchaos.harness.record.history import NEVER, History
from taskchaos.harness.record.verdict import Outcome, Rule, RuleResult

_EXPRESSION = "begun although revoked = 0"


def revoked(evidence: CaseEvidence) -> RuleResult:
    """No attempt of what a worker received after its revoke had been acknowledged."""
    history = evidence.history
    if not history.revoking:
        return RuleResult(Rule.REVOKED, Outcome.NOT_CLAIMED, _EXPRESSION, None, "the case revokes nothing")
    heard, late_ns = _heard(history), noted_ns(evidence)
    came = _deliveries(history, heard)
    early = {op for (op, _), times in came.items() if times[0] <= heard[op] + late_ns}
    waited = evidence.tally.mask(lambda flags: flags & ACKED and not flags & TRIED)
    in_time = [op for op in heard if op not in early and waited[op]]
    ran, unnoted = _ran(history, {op: at_ns + late_ns for op, at_ns in heard.items()}, came)
    outcome = Outcome.PASS
    reason = f"each of {counted(len(in_time), 'task')} that were revoked in time never began"
    if ran:
        outcome, reason = Outcome.FAIL, f"{counted(len(ran), 'task')} began although revoked before"
    elif unnoted:
        reason = f"{counted(len(unnoted), 'task')} began after its revoke, and nobody wrote down when a worker got it"
        outcome = Outcome.UNKNOWN
    elif not in_time:
        why = f": {history.unheard}" if history.unheard else ""
        outcome, reason = Outcome.UNKNOWN, f"no revoke was heard before a worker had its task{why}"

    def note(op: int) -> str:
        row, came_ns = ran[op]
        worker = evidence.role(history.attempts.role[row])
        return f"{worker} got it {seconds(came_ns - heard[op]):.1f} s after its revoke was heard, and began it"

    result = RuleResult(Rule.REVOKED, outcome, _EXPRESSION, len(ran), reason)
    return if_claimed(evidence.contract, Claim.REVOKE, with_samples(result, ran, note))


def _heard(history: History) -> dict[int, int]:
    """When the revoke of each operation was acknowledged, of those that were."""
    revokes = history.revokes
    rows = zip(revokes.op, revokes.heard_ns, strict=True)
    return {op: heard_ns for op, heard_ns in rows if heard_ns != NEVER}


def _deliveries(history: History, heard: Collection[int]) -> dict[tuple[int, int], list[int]]:
    """When these operations came, by operation and worker, in order."""
    deliveries, came = history.deliveries, dict[tuple[int, int], list[int]]()
    rows = list(rows_in(deliveries.op, mask_of(heard, history.planned)))
    for row in sorted(rows, key=deliveries.at_ns.__getitem__):
        came.setdefault((deliveries.op[row], deliveries.role[row]), []).append(deliveries.at_ns[row])
    return came


def _ran(
    history: History, until_ns: dict[int, int], came: dict[tuple[int, int], list[int]]
) -> tuple[dict[int, tuple[int, int]], set[int]]:
    """By operation, an attempt that should not have been, and when its worker had got it, the last time before.

    And the operations of those that began later than that at a worker of which nothing tells when it got them.
    """
    attempts, ran, unnoted = history.attempts, dict[int, tuple[int, int]](), set[int]()
    rows = list(rows_in(attempts.op, mask_of(until_ns, history.planned)))
    for row in sorted(rows, key=attempts.begun_ns.__getitem__):
        op, begun_ns = attempts.op[row], attempts.begun_ns[row]
        times = came.get((op, attempts.role[row]), [])
        place = bisect_right(times, begun_ns)
        if place and times[place - 1] > until_ns[op]:
            ran.setdefault(op, (row, times[place - 1]))
        elif not place and begun_ns > until_ns[op]:
            unnoted.add(op)
    return ran, unnoted
