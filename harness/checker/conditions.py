"""Whether the case can be judged at all: leak, evidence, faults, converged, workers. Never vacuous."""

from __future__ import annotations

from harness.checker.evidence import Evidence
from harness.checker.loss import FEWEST_READS
from harness.checker.results import counted, texts
from harness.checker.tally import ACKED, SUBMITTED
from harness.history import NEVER, FaultInterval
from harness.verdict import Outcome, Rule, RuleResult


def leak(evidence: Evidence) -> RuleResult:
    """After convergence no key of the subject may be left."""
    final = evidence.history.final
    expression, number = "keys left = 0", len(final.leaks)
    if not final.converged:
        reason = f"{counted(number, 'key')} left, but not converged; drain for longer"
        return RuleResult(Rule.LEAK, Outcome.UNKNOWN, expression, number, reason)
    outcome = Outcome.FAIL if number else Outcome.PASS
    reason = f"{counted(number, 'key')} left although nothing is pending"
    return RuleResult(Rule.LEAK, outcome, expression, number, reason, texts(final.leaks))


def evidence_complete(evidence: Evidence) -> RuleResult:
    """There must be something to judge, and the records must be whole."""
    history, tally = evidence.history, evidence.tally
    submitted = tally.count(lambda flags: flags & SUBMITTED)
    gaps = []
    if history.planned == 0:
        gaps.append("no operation was planned")
    if submitted == 0:
        gaps.append("nothing was submitted: check the workload")
    elif not tally.count(lambda flags: flags & ACKED):
        gaps.append("no submit was acknowledged: check the stack before the fault")
    if not (history.attempts.op or history.effects.op):
        gaps.append("no attempt and no effect was recorded: check that workers ran")
    if history.final.reads < FEWEST_READS:
        gaps.append(f"{counted(history.final.reads, 'final read')}, {FEWEST_READS} are needed")
    if history.torn_records:
        gaps.append(f"{counted(history.torn_records, 'ledger line')} could not be read")
    if evidence.outside.submits:
        gaps.append(f"{counted(len(evidence.outside.submits), 'submit')} outside the plan")
    if submitted + history.dropped_sends != history.planned:
        gaps.append(f"{submitted} submitted + {history.dropped_sends} dropped of {history.planned} planned")
    outcome = Outcome.UNKNOWN if gaps else Outcome.PASS
    reason = "; ".join(gaps) if gaps else f"{counted(submitted, 'operation')} submitted, records whole"
    return RuleResult(Rule.EVIDENCE, outcome, "gaps in the evidence = 0", len(gaps), reason)


def faults(evidence: Evidence) -> RuleResult:
    """Every planned fault was injected, is proven to have bitten, and its heal was verified."""
    history = evidence.history
    expression = "planned faults proven and healed"
    sound = [fault for fault in history.faults if not _fault_gap(fault)]
    gaps = sorted(_fault_gap(fault) for fault in history.faults if _fault_gap(fault))
    unseen = history.planned_faults - len(history.faults)
    if unseen > 0:
        gaps.append(f"{counted(unseen, 'planned fault')} never injected")
    if gaps:
        reason = f"{'; '.join(gaps[:4])}{'; ...' if len(gaps) > 4 else ''}; see the fault log and run again"
        return RuleResult(Rule.FAULTS, Outcome.UNKNOWN, expression, len(sound), reason, texts(gaps))
    reason = f"{counted(len(sound), 'fault')} proven and healed" if sound else "no fault planned"
    return RuleResult(Rule.FAULTS, Outcome.PASS, expression, len(sound), reason)


def _fault_gap(fault: FaultInterval) -> str:
    """What is missing from a fault; empty when nothing is."""
    name = f"{fault.kind} on {fault.target}"
    if fault.injected_ns == NEVER:
        return f"{name}: never injected"
    if not fault.proven:
        return f"{name}: no evidence that it bit"
    if not fault.healed or fault.healed_ns == NEVER:
        return f"{name}: heal not verified"
    return ""


def converged(evidence: Evidence) -> RuleResult:
    """The case came to rest. Without that, absence proves nothing."""
    final = evidence.history.final
    if final.converged:
        reason = f"at rest over {counted(final.reads, 'reading')}"
        return RuleResult(Rule.CONVERGED, Outcome.PASS, "converged", 1, reason)
    reason = f"not converged: {final.reason or 'no reason recorded'}; drain for longer"
    return RuleResult(Rule.CONVERGED, Outcome.UNKNOWN, "converged", 0, reason)


def workers(evidence: Evidence) -> RuleResult:
    """Workers end only through faults."""
    deaths = evidence.history.deaths
    outcome = Outcome.FAIL if deaths else Outcome.PASS
    reason = "no worker ended by itself"
    if deaths:
        reason = f"{counted(len(deaths), 'worker')} ended although no fault ended it; see the worker's log"
    return RuleResult(Rule.WORKERS, outcome, "unexplained worker deaths = 0", len(deaths), reason, texts(deaths))
