"""Whether the case can be judged at all: leak, evidence, faults, converged, workers. Never vacuous."""

from __future__ import annotations

from dataclasses import replace

from taskchaos.harness.checker.columns import ACKED, SUBMITTED
from taskchaos.harness.checker.evidence import CaseEvidence
from taskchaos.harness.checker.faults import gap_of, idle, label
from taskchaos.harness.checker.loss import FEWEST_READS, still_running
from taskchaos.harness.checker.offered import cut_short, twice, unfinished, unmet
from taskchaos.harness.checker.results import counted, with_samples, with_texts
from taskchaos.harness.checker.seen import unseen
from taskchaos.harness.record.history import AttemptOutcome
from taskchaos.harness.record.verdict import Outcome, Rule, RuleResult


def leak(evidence: CaseEvidence) -> RuleResult:
    """After convergence no key of the subject may be left."""
    final, number = evidence.history.final, len(evidence.history.final.leaks)
    outcome, observed = Outcome.UNKNOWN, number or None
    if not final.reads:
        reason = "not read"
    elif final.converged:
        outcome, observed = Outcome.FAIL if number else Outcome.PASS, number
        reason = f"{counted(number, 'key')} left although nothing is pending"
    elif number:
        reason = f"{counted(number, 'key')} left, but not converged; drain for longer"
    else:
        reason = "not converged, so what is left may still be in use; drain for longer"
    return with_texts(RuleResult(Rule.LEAK, outcome, "keys left = 0", observed, reason), final.leaks)


def evidence_complete(evidence: CaseEvidence) -> RuleResult:
    """There must be something to judge, the plan must have been carried out, and the records must be whole."""
    tally, left = evidence.tally, unmet(evidence)
    submitted = tally.count(lambda flags: flags & SUBMITTED)
    gaps = []
    if evidence.history.planned == 0:
        gaps.append("no task was planned")
    if submitted == 0:
        gaps.append("nothing was submitted: check the workload")
    elif not tally.count(lambda flags: flags & ACKED):
        gaps.append("no submit was acknowledged: check the stack before the fault")
    gaps += left.gaps()
    gaps += [f"{role} did not go through its part of the plan" for role in unfinished(evidence)]
    gaps += cut_short(evidence)
    if tame := _tame(evidence):
        gaps.append(f"{counted(tame, 'task')} had to end a process and never did: see that bodies run as planned")
    if evidence.history.planned_outage and not _felt(evidence):
        gaps.append("what the tasks depend on was to be down, and no attempt failed meanwhile: have some due then")
    gaps += [
        f"not seen: {state}; see that faults meet work and that bodies run as planned" for state in unseen(evidence)
    ]
    gaps += _torn(evidence)
    reason = "; ".join(gaps)
    if not gaps:
        excused = f"; {left.excused} not acknowledged because of faults" if left.excused else ""
        reason = f"{counted(submitted, 'task')} submitted, records whole{excused}"
    outcome = Outcome.UNKNOWN if gaps else Outcome.PASS
    result = RuleResult(Rule.EVIDENCE, outcome, "gaps in the evidence = 0", len(gaps), reason)
    return with_samples(result, left.whys, left.note)


def _felt(evidence: CaseEvidence) -> bool:
    """Whether an attempt failed while what the tasks depend on was down."""
    outage, attempts = evidence.history.outage, evidence.history.attempts
    ends = zip(attempts.ended_ns, attempts.outcome, strict=True)
    return outage is not None and any(
        outage.begun_ns <= at_ns and end == AttemptOutcome.TRANSIENT for at_ns, end in ends
    )


def _tame(evidence: CaseEvidence) -> int:
    """How many acknowledged operations the plan calls poison, although they might run and never ended a process."""
    attempts = evidence.history.attempts
    crashed = {op for op, end in zip(attempts.op, attempts.outcome, strict=True) if end == AttemptOutcome.CRASHED}
    flags, planned = evidence.tally.flags, evidence.history.planned
    tame = evidence.history.poison - crashed - evidence.letters.called_off
    return sum(1 for op in tame if 0 <= op < planned and flags[op] & ACKED)


def _torn(evidence: CaseEvidence) -> list[str]:
    """What is missing from the records, or contradicts the plan."""
    history, outside = evidence.history, evidence.outside
    gaps = []
    if not (history.attempts.op or history.effects.op):
        gaps.append("no attempt and no effect was recorded: check that workers ran")
    if history.final.reads < FEWEST_READS:
        gaps.append(f"{counted(history.final.reads, 'final read')}, {FEWEST_READS} are needed")
    if history.torn_records:
        gaps.append(f"{counted(history.torn_records, 'ledger line')} could not be read")
    if outside.submits or outside.drops:
        gaps.append(f"{counted(len(outside.submits | outside.drops), 'task')} outside the plan")
    if both := twice(evidence):
        gaps.append(f"{counted(len(both), 'task')} both dropped and sent")
    return gaps


def faults(evidence: CaseEvidence) -> RuleResult:
    """Every planned fault was injected, bit and held while operations were in flight, and its heal was verified.

    One on a link that nothing uses can do neither, and is not counted; but some fault must have bitten.
    """
    history, flight = evidence.history, evidence.flight
    gaps = sorted(f"{label(fault)}: {gap}" for fault in history.faults if (gap := gap_of(fault, flight)))
    unseen = history.planned_faults - len(history.faults)
    if unseen > 0:
        gaps.append(f"{counted(unseen, 'planned fault')} never injected")
    number, unused = len(evidence.sound), sum(1 for fault in history.faults if idle(fault))
    result = RuleResult(Rule.FAULTS, Outcome.PASS, "planned faults proven and healed", number, "no fault planned")
    beside = f"; {counted(unused, 'fault')} on links that nothing uses" if unused else ""
    if gaps:
        reason = f"{'; '.join(gaps[:4])}{'; ...' if len(gaps) > 4 else ''}{beside}; see the fault log"
        return with_texts(replace(result, outcome=Outcome.UNKNOWN, reason=reason), gaps)
    if number:
        return replace(result, reason=f"{counted(number, 'fault')} proven and healed{beside}")
    if unused:
        reason = f"no fault bit: {counted(unused, 'fault')} on links that nothing uses; aim at those that it uses"
        return replace(result, outcome=Outcome.UNKNOWN, reason=reason)
    return result


def converged(evidence: CaseEvidence) -> RuleResult:
    """The case came to rest. Without that, absence proves nothing."""
    final = evidence.history.final
    if final.converged:
        reason = f"at rest over {counted(final.reads, 'reading')}"
        return RuleResult(Rule.CONVERGED, Outcome.PASS, "converged", 1, reason)
    reason = f"not converged: {final.reason or 'no reason recorded'}; drain for longer"
    result = RuleResult(Rule.CONVERGED, Outcome.UNKNOWN, "converged", 0, reason)
    left = dict.fromkeys(still_running(evidence), "an attempt that never ended")
    left |= {op: "still on the broker" for op in final.pending if 0 <= op < evidence.history.planned}
    return with_samples(result, left, left.__getitem__)


def workers(evidence: CaseEvidence) -> RuleResult:
    """Workers end only through faults."""
    deaths = evidence.history.deaths
    outcome = Outcome.FAIL if deaths else Outcome.PASS
    reason = "no worker ended by itself"
    if deaths:
        reason = f"{counted(len(deaths), 'worker')} ended although no fault ended it; see the worker's log"
    return with_texts(RuleResult(Rule.WORKERS, outcome, "unexplained worker deaths = 0", len(deaths), reason), deaths)
