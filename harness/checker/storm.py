"""Retry storm: what the tasks depend on is down, and all of them fail together.

How many attempts that may make follows from the law: of each operation that failed, as many as have waits of the law
between them in the time that is left. And when the dependency is back, those that wait come back as the law spreads
them, and not all at once. Both are bounds on sums of independent counts (Hoeffding), so queues and luck do not break
them: what is late makes fewer attempts, not more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import accumulate, pairwise
from math import log, sqrt

from taskchaos.harness.backoff import BackoffLaw
from taskchaos.harness.checker.columns import UNSURE
from taskchaos.harness.checker.evidence import CaseEvidence, attempts_of_retried
from taskchaos.harness.checker.faults import all_bites
from taskchaos.harness.checker.results import counted, if_claimed
from taskchaos.harness.clock import seconds
from taskchaos.harness.contract import Claim
from taskchaos.harness.record.history import AttemptOutcome, Outage
from taskchaos.harness.record.verdict import Outcome, Rule, RuleResult

#: Fewer operations that failed are no herd.
FEWEST_FAILED = 20
#: Where the subject claims no number of attempts: more than any law makes likely.
MOST_RETRIES = 255
#: A law that is kept fails less often than this, in each of two bounds.
ALPHA = 1e-6
#: So finely time is divided when waits are added up; each counts as shorter, by up to this.
STEP_S = 0.025
#: The first time after the heal in which those that wait may not come back faster than their law.
WAVE_S = 0.5


@dataclass(frozen=True, slots=True)
class Herd:
    """What an outage made of one operation.

    retries: how many attempts had failed before the first one that the outage failed, which ended at `failed_ns`.
    again: the attempts that it made then, until the heal. last_ns: when the last of them ended; waiting: how many
    attempts had failed before that one. back_ns: when it began its first attempt after the heal; None: never.
    """

    retries: int
    failed_ns: int
    again: int
    last_ns: int
    waiting: int
    back_ns: int | None


def retry_storm(evidence: CaseEvidence) -> RuleResult:
    """No more attempts than the law allows while what the tasks depend on is down, nor at once when it is back."""
    outage, law = evidence.history.outage, evidence.contract.backoff
    result = RuleResult(Rule.RETRY_STORM, Outcome.NOT_CLAIMED, "retries while it is down as claimed", None, "")
    if not evidence.history.planned_outage:
        return replace(result, reason="nothing that the tasks depend on was down")
    if law is None:
        return replace(result, reason="the subject names no law of waiting")
    herd = _herd(evidence, outage) if outage else []
    if outage is None or len(herd) < FEWEST_FAILED:
        reason = f"only {counted(len(herd), 'task')} failed by the outage, {FEWEST_FAILED} are needed"
        return if_claimed(evidence.contract, Claim.BACKOFF, replace(result, outcome=Outcome.UNKNOWN, reason=reason))
    bounded = evidence.contract.has(Claim.RETRIES_BOUNDED)
    most = evidence.contract.max_attempts - 1 if bounded else MOST_RETRIES
    return if_claimed(
        evidence.contract, Claim.BACKOFF, _judge(replace(result, outcome=Outcome.PASS), law, most, outage, herd)
    )


def _judge(result: RuleResult, law: BackoffLaw, most: int, outage: Outage, herd: Sequence[Herd]) -> RuleResult:
    length_s = seconds(outage.ended_ns - outage.begun_ns)
    allowed = allowed_retries(law, most, herd, outage)
    again = sum(each.again for each in herd)
    down = f"{again / length_s:.1f} retries/s of {counted(len(herd), 'task')} while it was down"
    down += f", {allowed / length_s:.1f}/s allowed"
    waiting = [each for each in herd if each.waiting < most]
    back = sum(1 for each in waiting if each.back_ns is not None and seconds(each.back_ns - outage.ended_ns) <= WAVE_S)
    expected = returning(law, waiting, outage)
    up = f"{back} of {len(waiting)} came back within {WAVE_S:g} s, {expected:.0f} allowed"
    outcome = Outcome.PASS if again <= allowed and back <= expected else Outcome.FAIL
    return replace(result, outcome=outcome, observed=round(again / length_s, 1), reason=f"{down}; {up}")


def _herd(evidence: CaseEvidence, outage: Outage) -> list[Herd]:
    """The operations that the outage failed, whose attempts no fault met and nothing else ended."""
    attempts, met, found = evidence.history.attempts, all_bites(evidence.history), []
    several = dict(attempts_of_retried(evidence))
    alone = {op: [row] for row, op in enumerate(attempts.op) if op not in several}
    for op, rows in (several | alone).items():
        begins, ends = [attempts.begun_ns[row] for row in rows], [attempts.ended_ns[row] for row in rows]
        until = sum(1 for at_ns in begins if at_ns < outage.ended_ns)
        plain = all(attempts.outcome[row] == AttemptOutcome.TRANSIENT for row in rows[:until])
        if not plain or evidence.tally.flags[op] & UNSURE or met.meet(begins[0], outage.ended_ns):
            continue
        first = next((n for n, at_ns in enumerate(ends[:until]) if at_ns >= outage.begun_ns), None)
        if first is not None:
            back_ns = begins[until] if until < len(begins) else None
            found.append(Herd(first, ends[first], until - first - 1, ends[until - 1], until - 1, back_ns))
    return found


def allowed_retries(law: BackoffLaw, most: int, herd: Sequence[Herd], outage: Outage) -> float:
    """How many retries the law allows operations that failed like this, until the heal; by chance not more."""
    expected = squares = 0.0
    steps = int(seconds(outage.ended_ns - outage.begun_ns) / STEP_S) + 2
    retries_after = cache(partial(expected_retries, law, most=most, steps=steps))
    for each in herd:
        table, longest = retries_after(each.retries)
        left_s = max(0.0, seconds(outage.ended_ns - each.failed_ns))
        expected += table[int(left_s / STEP_S) + 1]
        squares += longest**2
    return expected + sqrt(squares * log(1 / ALPHA) / 2)


def expected_retries(law: BackoffLaw, retries: int, most: int, steps: int) -> tuple[list[float], int]:
    """How many retries an operation is expected to make after so many before, by time in steps; and how many at most.

    More than at most are less likely than ALPHA.
    """
    total, arrived = [0.0] * steps, [float(step == 0) for step in range(steps)]
    for nth in range(retries, most):
        below = [law.share_until((step + 1) * STEP_S, nth) for step in range(steps)]
        share = [below[0], *(high - low for low, high in pairwise(below))]
        arrived = [sum(arrived[then] * share[step - then] for then in range(step + 1)) for step in range(steps)]
        total = [sum(pair) for pair in zip(total, accumulate(arrived), strict=True)]
        if sum(arrived) < ALPHA:
            return total, nth - retries
    return total, max(0, most - retries)


def returning(law: BackoffLaw, waiting: Sequence[Herd], outage: Outage) -> float:
    """How many of those that wait the law allows to come back within WAVE_S of the heal; by chance not more."""
    expected = 0.0
    for each in waiting:
        waited_s = max(0.0, seconds(outage.ended_ns - each.last_ns))
        before = law.share_until(waited_s - STEP_S, each.waiting)
        within = law.share_until(waited_s + WAVE_S, each.waiting)
        expected += (within - before) / (1.0 - before) if before < 1.0 else 1.0
    return expected + sqrt(len(waiting) * log(1 / ALPHA) / 2)
