"""Lost, dead letters and stuck: what became of every operation that the subject acknowledged.

lost = acknowledged - (effects ∪ dead ∪ still on the broker ∪ stuck). It is asserted only over complete, equal final
reads of a healed and quiet world; whatever leaves room for another explanation makes it unknown, never a pass.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import compress

from taskchaos.harness.checker.chords import complete_ns, members
from taskchaos.harness.checker.columns import ACKED, both, mask_of, ops_in, rows_in
from taskchaos.harness.checker.evidence import CaseEvidence
from taskchaos.harness.checker.results import counted, if_claimed, unless_torn, with_samples
from taskchaos.harness.clock import seconds
from taskchaos.harness.contract import Claim
from taskchaos.harness.record.history import NEVER, AttemptOutcome, ClaimKind, FinalState, History, Redrive
from taskchaos.harness.record.verdict import MAX_SAMPLES, Outcome, Rule, RuleResult

#: Fewest equal final readings that a completeness claim may rest on.
FEWEST_READS = 2


def lost(evidence: CaseEvidence) -> RuleResult:
    """No acknowledged operation may be without effect, dead letter and message."""
    forgotten = evidence.forgotten
    missing = [op for op in ops_in(evidence.tally.missing()) if op not in forgotten and unaccounted(evidence, op)]
    result = _some_missing(evidence, missing) if missing else _none_missing(evidence)
    return if_claimed(evidence.contract, Claim.NO_LOSS, result)


def unaccounted(evidence: CaseEvidence, op: int) -> bool:
    """Whether no other rule, no revoke and nothing in the final state answers for an operation without effect.

    The body of a chord waits for its members: for one of them that is missing, that one answers.
    """
    letters = evidence.letters
    answered = op in letters.due or op in letters.all or op in evidence.revoked or _waits(evidence, op)
    return not answered and op not in evidence.history.final.pending and op not in evidence.stalled


def _waits(evidence: CaseEvidence, op: int) -> bool:
    """Whether it is the body of a chord that is not complete."""
    history, first_effect = evidence.history, evidence.tally.first_effect
    return bool(members(history, op)) and complete_ns(history, first_effect, op) == NEVER


def _result(outcome: Outcome, observed: int, reason: str) -> RuleResult:
    return RuleResult(Rule.LOST, outcome, "lost = 0", observed, reason)


def _none_missing(evidence: CaseEvidence) -> RuleResult:
    final = evidence.history.final
    if not evidence.tally.count(lambda flags: flags & ACKED):
        return _result(Outcome.UNKNOWN, 0, "no submit was acknowledged, so nothing could be lost: check the stack")
    if evidence.stalled:  # whatever moves is them
        return _result(Outcome.PASS, 0, "nothing is missing but what is stuck")
    doubts = doubts_about(final)
    if doubts and not final.converged:
        return _result(Outcome.UNKNOWN, 0, f"nothing is missing so far, but {', '.join(doubts)}; drain for longer")
    return _result(Outcome.PASS, 0, _bound(len(evidence.sound)))


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


def _some_missing(evidence: CaseEvidence, missing: list[int]) -> RuleResult:
    history = evidence.history
    running = still_running(evidence)
    gone = [op for op in missing if op not in running]
    if why := _why_unknown(evidence, len(missing), len(gone)):
        result, told = _result(Outcome.UNKNOWN, len(missing), why), missing
    else:
        acknowledged = counted(evidence.tally.count(lambda flags: flags & ACKED), "acknowledged task")
        reason = f"{len(gone):,} of {acknowledged} lost, {_breakout(evidence, gone)}"
        if room := _room(history):
            reason += f"; at least {len(gone) - room}, because {room} may be behind unreadable records"
        result, told = _result(Outcome.FAIL, len(gone), reason), gone
    return with_samples(result, told, _last_seen(evidence, told[:MAX_SAMPLES]))


def _room(history: History) -> int:
    """How many operations may be behind what cannot be read."""
    return history.final.opaque_pending + history.torn_records


def _why_unknown(evidence: CaseEvidence, missing: int, gone: int) -> str:
    """Why it cannot be said that operations are lost; empty when it can. gone: those missing that do not run."""
    history = evidence.history
    several = counted(missing, "task")
    if not evidence.workers_recorded:
        return f"{several} missing, but no worker wrote to the ledger; see why"
    if doubts := doubts_about(history.final):
        return f"{several} missing, but {', '.join(doubts)}; drain for longer"
    if not gone:
        return f"{several} may still run (attempt open, process not killed); drain for longer"
    if gone <= _room(history):
        nameless = counted(history.final.opaque_pending, "nameless broker entry", "nameless broker entries")
        torn = counted(history.torn_records, "torn record")
        return f"{counted(gone, 'task')} missing, but {nameless} and {torn} leave room for that"
    return ""


def still_running(evidence: CaseEvidence) -> set[int]:
    """Operations that may still run. In a converged world nothing runs, whatever the ledger lacks."""
    if evidence.history.final.converged:
        return set()
    ops = evidence.history.attempts.op
    return {ops[row] for row in evidence.tally.open_attempts if not evidence.was_killed(row)}


def _breakout(evidence: CaseEvidence, gone: list[int]) -> str:
    """How many were submitted before all survivors, after all of them, or between, which no slowness explains."""
    submits, planned = evidence.history.submits, evidence.history.planned
    lost_mask = mask_of(gone, planned)
    kept = both(evidence.tally.mask(lambda flags: flags & ACKED), lost_mask.translate(bytes([1, 0]) + bytes(254)))
    times = list(compress(submits.begun_ns, map(kept.__getitem__, submits.op)))
    if not times:
        return "so none is left"
    first_ns, last_ns = min(times), max(times)
    begun: dict[int, int] = {}
    for row in rows_in(submits.op, lost_mask):
        op, at_ns = submits.op[row], submits.begun_ns[row]
        begun[op] = min(begun.get(op, at_ns), at_ns)
    before = sum(1 for at_ns in begun.values() if at_ns < first_ns)
    after = sum(1 for at_ns in begun.values() if at_ns > last_ns)
    early = f", {before:,} at the beginning" if before else ""
    if not after:
        return f"none at the end, so not merely slow{early}"
    return (f"{after:,} at the end" if after < len(gone) else "all at the end, behind all that was done") + early


def _last_seen(evidence: CaseEvidence, ops: list[int]) -> Callable[[int], str]:
    """Notes on what was last seen of each of a few operations."""
    history = evidence.history
    wanted = mask_of(ops, history.planned)
    deliveries, attempts, claims = history.deliveries, history.attempts, history.claims
    arrived: dict[int, tuple[int, int]] = {}
    for row in rows_in(deliveries.op, wanted):
        seen = (deliveries.at_ns[row], deliveries.role[row])
        arrived[deliveries.op[row]] = max(arrived.get(deliveries.op[row], seen), seen)
    tried: dict[int, tuple[int, int, int, int]] = {}
    for row in rows_in(attempts.op, wanted):
        latest = (attempts.begun_ns[row], attempts.outcome[row], attempts.role[row], row)
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
        parts.append(_attempt_note(evidence, tried[op][-1]) if op in tried else "never attempted")
        if members(history, op) and not (op in arrived or op in tried):
            parts.append("though it is the body of a chord whose members all took effect")
        if op in said:
            parts.append(f"subject said {ClaimKind(said[op][1]).name.lower()}")
        return ", ".join(parts)

    return note


def _attempt_note(evidence: CaseEvidence, row: int) -> str:
    attempts = evidence.history.attempts
    where = f"attempt at {evidence.role(attempts.role[row])}"
    outcome = AttemptOutcome(attempts.outcome[row])
    if outcome is not AttemptOutcome.OPEN:
        return f"{where} ended {outcome.name.lower()}"
    return f"{where} open when its process was killed" if evidence.was_killed(row) else f"{where} never ended"


def dead_letter(evidence: CaseEvidence) -> RuleResult:
    """A dead letter is due, or it is a loss; and what is needed to run its task again is in it."""
    undue, failed = evidence.letters.undue, _not_run_again(evidence.history.final.redrive)
    outcome, reason = _undue(evidence, len(undue)) if undue else _none_undue(evidence)
    if failed:
        outcome = Outcome.FAIL
        told = "; ".join(f"dead letter {op} {what}" for op, what in failed.items())
        reason = f"{told}; {reason}" if undue else told
    notes = {op: "; ".join(part[op] for part in (undue, failed) if op in part) for op in undue.keys() | failed.keys()}
    result = RuleResult(Rule.DEAD_LETTER, outcome, "undue dead letters = 0", len(notes), reason)
    result = with_samples(result, notes, notes.__getitem__)
    return if_claimed(evidence.contract, Claim.NO_LOSS, result)


def _undue(evidence: CaseEvidence, number: int) -> tuple[Outcome, str]:
    torn = evidence.history.torn_records
    reason = f"{counted(number, 'dead letter')} that neither the plan nor the contract explains"
    if not evidence.workers_recorded:
        return Outcome.UNKNOWN, f"{reason}, but no worker wrote to the ledger; see why"
    if number <= torn:
        return Outcome.UNKNOWN, reason + unless_torn("their attempts", torn)
    return Outcome.FAIL, reason


def _none_undue(evidence: CaseEvidence) -> tuple[Outcome, str]:
    final, number = evidence.history.final, len(evidence.letters.all)
    if final.reads == 0:
        return Outcome.UNKNOWN, "the dead letters were not read"
    if not number:
        return Outcome.PASS, "no dead letter"
    again = "one was run again and took effect" if final.redrive else "whether one can be run again was not shown"
    return Outcome.PASS, f"{counted(number, 'dead letter')}, none of them undue; {again}"


def _not_run_again(redrive: Redrive | None) -> dict[int, str]:
    """What kept the dead letter that should have been run again from its effect."""
    if redrive is None or (redrive.effect and not redrive.error):
        return {}
    return {redrive.op: f"could not be run again: {redrive.error or 'it took no effect'}"}


def stuck(evidence: CaseEvidence) -> RuleResult:
    """No acknowledged operation may stay on the broker for good, or come to workers again and again without end."""
    final = evidence.history.final
    held = [op for op in sorted(final.pending) if 0 <= op < evidence.history.planned]
    held = [op for op in held if evidence.tally.flags[op] & ACKED]
    if evidence.stalled and not (final.overdue and final.quiet):
        result = _livelock(evidence)
    else:
        outcome, reason = _at_rest(final, held)
        result = RuleResult(Rule.STUCK, outcome, "stuck = 0", len(held), reason)
        result = with_samples(result, held, lambda op: "still on the broker")
    return if_claimed(evidence.contract, Claim.NO_LOSS, result)


def _at_rest(final: FinalState, held: list[int]) -> tuple[Outcome, str]:
    if held and final.overdue and final.quiet:
        number = counted(len(held), "acknowledged task")
        return Outcome.FAIL, f"{number} on the broker after every redelivery timeout"
    if final.converged and not final.pending:
        return Outcome.PASS, "nothing is left on the broker"
    if not held:
        why = final.reason or "no reason recorded"
        return Outcome.UNKNOWN, f"not converged, though nothing of the plan is pending: {why}"
    return Outcome.UNKNOWN, f"still pending: {counted(len(held), 'task')}; drain for longer"


def _livelock(evidence: CaseEvidence) -> RuleResult:
    final, stalled, torn = evidence.history.final, evidence.stalled, evidence.history.torn_records
    still_s = seconds(final.read_at_ns - final.stalled_since_ns)
    again = sum(1 for times in stalled.values() if times)
    outcome = Outcome.FAIL
    reason = (
        f"{counted(len(stalled), 'acknowledged task')} got no further for {still_s:.1f} s, {again} of them "
        "delivered again and again: longer than every redelivery timeout and the longest wait that the subject claims"
    )
    if len(stalled) <= torn:
        outcome = Outcome.UNKNOWN
        reason += unless_torn("their effects", torn)

    def note(op: int) -> str:
        times = stalled[op]
        return f"came to a worker {counted(times, 'time')} meanwhile" if times else "still on the broker"

    result = RuleResult(Rule.STUCK, outcome, "stuck = 0", len(stalled), reason)
    return with_samples(result, stalled.keys(), note)
