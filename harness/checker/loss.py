"""Lost and stuck: what became of every operation that the subject acknowledged.

lost = acknowledged - (effects ∪ dead ∪ still on the broker). It is asserted only over complete, equal final reads
of a healed and quiet world; whatever leaves room for another explanation makes it unknown, never a pass.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import compress

from harness.checker.evidence import Evidence, happened
from harness.checker.results import counted, if_claimed, samples_of
from harness.checker.tally import ACKED, both, mask_of, ops_in, rows_in
from harness.contract import Claim
from harness.history import AttemptOutcome, ClaimKind, FinalState
from harness.verdict import MAX_SAMPLES, Outcome, Rule, RuleResult

#: Fewest equal final readings that a completeness claim may rest on.
FEWEST_READS = 2


def lost(evidence: Evidence) -> RuleResult:
    """No acknowledged operation may be without effect, dead letter and message."""
    missing = [op for op in ops_in(evidence.tally.missing()) if _unaccounted(evidence, op)]
    result = _some_missing(evidence, missing) if missing else _none_missing(evidence)
    return if_claimed(evidence.contract, Claim.NO_LOSS, result)


def _unaccounted(evidence: Evidence, op: int) -> bool:
    return op not in evidence.history.final.pending and op not in evidence.dead


def _result(outcome: Outcome, observed: int, reason: str) -> RuleResult:
    return RuleResult(Rule.LOST, outcome, "lost = 0", observed, reason)


def _none_missing(evidence: Evidence) -> RuleResult:
    final = evidence.history.final
    if not evidence.tally.count(lambda flags: flags & ACKED):
        return _result(Outcome.UNKNOWN, 0, "no submit was acknowledged, so nothing could be lost: check the stack")
    doubts = doubts_about(final)
    if doubts and not final.converged:
        return _result(Outcome.UNKNOWN, 0, f"nothing is missing so far, but {', '.join(doubts)}; drain for longer")
    return _result(Outcome.PASS, 0, _bound(sum(map(happened, evidence.history.faults))))


def doubts_about(final: FinalState) -> list[str]:
    """Why the final state cannot carry a statement about what is not there."""
    doubts = []
    if final.reads < FEWEST_READS:
        doubts.append(f"only {counted(final.reads, 'final read')}")
    if not final.quiet:
        doubts.append("things still moved")
    if not final.healed:
        doubts.append("the world was not healed")
    return doubts


def _bound(faults: int) -> str:
    """Fault events are the unit of evidence for "no loss", not tasks."""
    if faults == 0:
        return "nothing is missing; no fault bit, so this gives no bound"
    bound = 100 * (1 - 0.05 ** (1 / faults))
    return f"nothing is missing; 95 % bound: at most {bound:.1f} % per fault ({counted(faults, 'fault')})"


def _some_missing(evidence: Evidence, missing: list[int]) -> RuleResult:
    history = evidence.history
    running = _running(evidence)
    gone = [op for op in missing if op not in running]
    doubts = doubts_about(history.final)
    if not evidence.workers_recorded:
        reason = f"{counted(len(missing), 'operation')} missing, but no worker wrote to the ledger; see why"
        return _result(Outcome.UNKNOWN, len(missing), reason)
    if doubts:
        reason = f"{counted(len(missing), 'operation')} missing, but {', '.join(doubts)}; drain for longer"
        return _result(Outcome.UNKNOWN, len(missing), reason)
    if not gone:
        reason = (
            f"{counted(len(missing), 'operation')} may still run (attempt open, process not killed); drain for longer"
        )
        return _result(Outcome.UNKNOWN, len(missing), reason)
    room = history.final.opaque_pending + history.torn_records
    if len(gone) <= room:
        nameless = counted(history.final.opaque_pending, "nameless broker entry", "nameless broker entries")
        torn = counted(history.torn_records, "torn record")
        reason = f"{counted(len(gone), 'operation')} missing, but {nameless} and {torn} leave room for that"
        return _result(Outcome.UNKNOWN, len(gone), reason)
    sampled = gone[:MAX_SAMPLES]
    reason = f"{counted(len(gone), 'acknowledged operation')} lost in submit order: {_breakout(evidence, gone)}"
    if room:
        reason += f"; at least {len(gone) - room}, because {room} may be behind unreadable records"
    notes = samples_of(sampled, _last_seen(evidence, sampled))
    return RuleResult(Rule.LOST, Outcome.FAIL, "lost = 0", len(gone), reason, notes)


def _running(evidence: Evidence) -> set[int]:
    """Operations that may still run. In a converged world nothing runs, whatever the ledger lacks."""
    if evidence.history.final.converged:
        return set()
    ops = evidence.history.attempts.op
    return {ops[row] for row in evidence.tally.open_attempts if not evidence.was_killed(row)}


def _breakout(evidence: Evidence, gone: list[int]) -> str:
    """How many were submitted before all survivors (prefix), after all (postfix), or between (middle: proof)."""
    submits, planned = evidence.history.submits, evidence.history.planned
    lost_mask = mask_of(gone, planned)
    kept = both(evidence.tally.mask(lambda flags: flags & ACKED), lost_mask.translate(bytes([1, 0]) + bytes(254)))
    times = list(compress(submits.begun_ns, map(kept.__getitem__, submits.op)))
    first_ns, last_ns = (min(times), max(times)) if times else (0, 0)
    begun: dict[int, int] = {}
    for row in rows_in(submits.op, lost_mask):
        op, at_ns = submits.op[row], submits.begun_ns[row]
        begun[op] = min(begun.get(op, at_ns), at_ns)
    prefix = sum(1 for at_ns in begun.values() if times and at_ns < first_ns)
    postfix = sum(1 for at_ns in begun.values() if times and at_ns > last_ns)
    if not times:
        return "all of them"
    return f"{prefix} prefix, {len(gone) - prefix - postfix} middle, {postfix} postfix"


def _last_seen(evidence: Evidence, ops: list[int]) -> Callable[[int], str]:
    """Notes on what was last seen of each of a few operations."""
    history = evidence.history
    wanted = mask_of(ops, history.planned)
    deliveries, attempts, claims = history.deliveries, history.attempts, history.claims
    arrived: dict[int, tuple[int, int]] = {}
    for row in rows_in(deliveries.op, wanted):
        seen = (deliveries.at_ns[row], deliveries.role[row])
        arrived[deliveries.op[row]] = max(arrived.get(deliveries.op[row], seen), seen)
    tried: dict[int, tuple[int, int, int]] = {}
    for row in rows_in(attempts.op, wanted):
        latest = (attempts.begun_ns[row], attempts.outcome[row], row)
        tried[attempts.op[row]] = max(tried.get(attempts.op[row], latest), latest)
    said: dict[int, tuple[int, int]] = {}
    for row in rows_in(claims.op, wanted):
        word = (claims.at_ns[row], claims.kind[row])
        said[claims.op[row]] = max(said.get(claims.op[row], word), word)

    def note(op: int) -> str:
        parts = []
        if op in arrived:
            parts.append(f"delivered to {evidence.role(arrived[op][1])}")
        elif op not in tried:
            parts.append("never delivered")
        parts.append(_attempt_note(evidence, tried[op][2]) if op in tried else "never attempted")
        if op in said:
            parts.append(f"subject said {ClaimKind(said[op][1]).name.lower()}")
        return ", ".join(parts)

    return note


def _attempt_note(evidence: Evidence, row: int) -> str:
    attempts = evidence.history.attempts
    where = f"attempt at {evidence.role(attempts.role[row])}"
    outcome = AttemptOutcome(attempts.outcome[row])
    if outcome is not AttemptOutcome.OPEN:
        return f"{where} ended {outcome.name.lower()}"
    return f"{where} open when its process was killed" if evidence.was_killed(row) else f"{where} never ended"


def stuck(evidence: Evidence) -> RuleResult:
    """No acknowledged operation may stay on the broker for good."""
    final = evidence.history.final
    held = [op for op in sorted(final.pending) if 0 <= op < evidence.history.planned]
    held = [op for op in held if evidence.tally.flags[op] & ACKED]
    outcome, reason = Outcome.UNKNOWN, f"still pending: {counted(len(held), 'operation')}; drain for longer"
    if held and final.overdue and final.quiet:
        outcome = Outcome.FAIL
        reason = f"{counted(len(held), 'acknowledged operation')} on the broker after every redelivery time-out"
    elif final.converged and not final.pending:
        outcome, reason = Outcome.PASS, "nothing is left on the broker"
    elif not held:
        reason = f"not converged, though nothing of the plan is pending: {final.reason or 'no reason recorded'}"
    notes = samples_of(held, lambda op: "still on the broker") if outcome is Outcome.FAIL else ()
    result = RuleResult(Rule.STUCK, outcome, "stuck = 0", len(held), reason, notes)
    return if_claimed(evidence.contract, Claim.NO_LOSS, result)
