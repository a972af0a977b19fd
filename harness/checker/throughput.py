"""The figures that a case demands: throughput by phase, and recovery after the last heal."""

from __future__ import annotations

from dataclasses import dataclass

from taskchaos.harness.checker.columns import DROPPED, SUBMITTED
from taskchaos.harness.checker.evidence import CaseEvidence
from taskchaos.harness.checker.faults import happened, in_force
from taskchaos.harness.checker.rates import FEWEST_OPERATIONS, RECOVERED_SHARE, SHORTEST_NS, Pace, Paces, Recovery
from taskchaos.harness.checker.results import counted, if_claimed, unless_torn
from taskchaos.harness.clock import seconds
from taskchaos.harness.contract import Claim, PhaseName
from taskchaos.harness.record.history import History, Phase
from taskchaos.harness.record.verdict import Outcome, Rule, RuleResult, Throughput, merge

#: More late and dropped sends than this make an open load's figures worthless.
LATE_SHARE = 0.01
#: An open load is kept up with at this share of the offered rate.
KEPT_UP_SHARE = 0.95
#: Less than this share of what was sent is a failure even of a load that was late.
HOPELESS_SHARE = 0.5


def figures(evidence: CaseEvidence, paces: Paces) -> Throughput:
    """Everything that could be measured, judged or not."""
    return Throughput(
        baseline_tps=_rounded(paces.tps(PhaseName.BASELINE)),
        fault_tps=_rounded(paces.tps(PhaseName.FAULT)),
        healed_tps=_rounded(paces.tps(PhaseName.HEALED)),
        recovery_s=_rounded(paces.recovery.after_s),
        target_tps=evidence.history.slo.target_tps,
    )


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else round(figure, 3)


def throughput(evidence: CaseEvidence, paces: Paces) -> RuleResult:
    """Every judged phase reaches the target, or what was offered when that is less."""
    slo = evidence.history.slo
    if slo.target_tps is None:
        return RuleResult(Rule.THROUGHPUT, Outcome.NOT_CLAIMED, "no target", None, "no target set")
    expression = f"effects/s >= {slo.target_tps:g}" + ("" if paces.drained else ", or 95 % of the offered rate")
    judged = [pace for pace in paces.phases if pace.phase.name in slo.phases]
    if not judged:
        reason = f"none of the phases {', '.join(sorted(slo.phases))} was recorded; give the case one"
        return RuleResult(Rule.THROUGHPUT, Outcome.UNKNOWN, expression, None, reason)
    late = None if paces.drained else _load_trouble(evidence, [pace.phase for pace in judged])
    parts = [_judge(pace, slo.target_tps, paces.drained, evidence.history) for pace in judged]
    outcome = merge(part.outcome for part in parts)
    reason = "; ".join(part.reason for part in parts)
    hopeless = late and any(_hopeless(evidence, part, slo.target_tps) for part in parts)
    if hopeless:
        reason = f"{reason}; the load generator was late ({late}), but the rate is not half of what it did send"
    elif late:
        outcome = Outcome.UNKNOWN
        reason = f"load generator was late: {late}; lower the rate or free the machine ({reason})"
    worst = min((part.tps for part in parts if part.tps is not None), default=None)
    result = RuleResult(Rule.THROUGHPUT, outcome, expression, _rounded(worst), reason)
    return if_claimed(evidence.contract, Claim.THROUGHPUT, result)


@dataclass(frozen=True, slots=True)
class _Judged:
    """What one phase came to. tps: the rate that it was held to."""

    phase: Phase
    outcome: Outcome
    reason: str
    tps: float | None


def _judge(pace: Pace, target_tps: float, drained: bool, history: History) -> _Judged:
    phase, name, tps, torn = pace.phase, pace.phase.name.value, pace.tps, history.torn_records
    if tps is None:
        reason = f"{name} has too little to measure (needs {seconds(SHORTEST_NS):g} s and {FEWEST_OPERATIONS} tasks)"
        return _Judged(phase, Outcome.UNKNOWN, reason, None)
    required = target_tps
    if not drained:
        offered_tps = phase.offered / seconds(phase.ended_ns - phase.begun_ns)
        required = min(target_tps, KEPT_UP_SHARE * offered_tps)
    how = ""
    if pace.completed_tps is not None:
        how, tps = ", by completion, less the waits that the subject claims", pace.completed_tps
    elif tps < required and pace.steady_tps is not None and pace.steady_tps > tps:
        how, tps = ", from its first effect on", pace.steady_tps
    kept = tps >= required
    reason = f"{name} {tps:.1f}/s {'>=' if kept else '<'} {required:.1f}/s{how}"
    if not kept and tps + torn / seconds(pace.span_ns) >= required:
        return _Judged(phase, Outcome.UNKNOWN, reason + unless_torn("effects", torn), tps)
    in_force_s = 0.0 if kept or drained or phase.name is PhaseName.FAULT else _in_force_s(history, phase)
    if in_force_s > 0:
        return _Judged(phase, Outcome.UNKNOWN, f"{reason}, but a fault was in force for {in_force_s:.1f} s of it", tps)
    return _Judged(phase, Outcome.PASS if kept else Outcome.FAIL, reason, tps)


def _in_force_s(history: History, phase: Phase) -> float:
    """For how long a fault was in force in a phase that is to have none: its heal failed, or took too long."""
    taken = map(in_force, filter(happened, history.faults))
    met = (min(end_ns, phase.ended_ns) - max(begin_ns, phase.begun_ns) for begin_ns, end_ns in taken)
    return seconds(max(met, default=0))


def _hopeless(evidence: CaseEvidence, part: _Judged, target_tps: float) -> bool:
    """Whether the rate is so far below what was really sent in the phase that being late is no excuse.

    A busy machine slows the load and the subject alike, but not the one to less than half of the other.
    """
    if part.outcome is not Outcome.FAIL:
        return False
    assert part.tps is not None, "what could not be measured has not failed"
    phase = part.phase
    sent = sum(1 for at_ns in evidence.history.submits.begun_ns if phase.begun_ns <= at_ns < phase.ended_ns)
    sent_tps = sent / seconds(phase.ended_ns - phase.begun_ns)
    return part.tps < HOPELESS_SHARE * min(target_tps, sent_tps)


def _load_trouble(evidence: CaseEvidence, phases: list[Phase]) -> str:
    """What kept the load generator from offering the rate in these phases; empty when it did.

    When those that no producer began were due is not known: they may have been due here.
    """
    offered = sum(phase.offered for phase in phases)
    late = sum(1 for due_ns in evidence.tally.late_due if _within(due_ns, phases))
    dropped = sum(1 for due_ns in evidence.history.drops.due_ns if _within(due_ns, phases))
    never = evidence.tally.count(lambda flags: not flags & (SUBMITTED | DROPPED))
    if late + dropped + never <= LATE_SHARE * offered:
        return ""
    told = (
        f"{late} late, {dropped} dropped and {never} never offered" if never else f"{late} late and {dropped} dropped"
    )
    return f"{told} of {counted(offered, 'send')}"


def _within(at_ns: int, phases: list[Phase]) -> bool:
    return any(phase.begun_ns <= at_ns < phase.ended_ns for phase in phases)


def recovery(evidence: CaseEvidence, paces: Paces) -> RuleResult:
    """The rate is back at 95 % of the baseline within the limit after the last heal."""
    history, found = evidence.history, paces.recovery
    limit_s = history.slo.recovery_limit_s
    if limit_s is None or not history.planned_faults or history.chord_of:
        reason = "no limit set" if limit_s is None else "no fault to recover from"
        if limit_s is not None and history.planned_faults:
            reason = "the bodies of chords wait for their members: no window shows how fast they were"
        return RuleResult(Rule.RECOVERY, Outcome.NOT_CLAIMED, "no limit", _rounded(found.after_s), reason)
    expression = f"back at {RECOVERED_SHARE * 100:.0f} % of baseline within {limit_s:g} s"
    outcome, reason = Outcome.UNKNOWN, f"{found.why_not}; the recovery time cannot be told"
    if found.after_s is not None:
        outcome = Outcome.PASS if found.after_s <= limit_s else Outcome.FAIL
        reason = f"back after {found.after_s:.2f} s" + (", when everything was done" if found.idle else "")
    elif not found.why_not:
        outcome, reason = _not_back(found, limit_s)
    late = _late_after_heal(evidence, paces) if outcome is Outcome.FAIL else ""
    if outcome is Outcome.FAIL and history.torn_records:
        outcome, reason = Outcome.UNKNOWN, reason + unless_torn("effects", history.torn_records)
    elif late:
        outcome, reason = Outcome.UNKNOWN, f"{reason}, but the load generator was late: {late}"
    result = RuleResult(Rule.RECOVERY, outcome, expression, _rounded(found.after_s), reason)
    return if_claimed(evidence.contract, Claim.THROUGHPUT, result)


def _not_back(found: Recovery, limit_s: float) -> tuple[Outcome, str]:
    seen = f"not back within the {found.observed_s:.2f} s recorded after the heal"
    if found.observed_s < limit_s or (found.undecided_from_s is not None and found.undecided_from_s <= limit_s):
        return Outcome.UNKNOWN, f"{seen}; make the healed phase longer than {limit_s:g} s"
    return Outcome.FAIL, seen


def _late_after_heal(evidence: CaseEvidence, paces: Paces) -> str:
    healed = [phase for phase in evidence.history.phases if phase.name is PhaseName.HEALED]
    return "" if paces.drained else _load_trouble(evidence, healed)
