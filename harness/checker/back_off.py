"""Back-off: the waits between attempts are those of the law that the subject claims.

A law is a distribution, so what is asked is whether waits like these could come of it. Two one-sided tests of
Kolmogorov and Smirnov, for each number of retries: are they earlier than the law, or later? Between the two the jitter
has nothing left but to be what is claimed: waits that do not spread are earlier than the law at one end, later at the
other. Two bounds hold for any number of waits and any law, and the lower one counts, doubled, so a subject that keeps
its law fails by chance less often than ALPHA: Massart's, exp(-2 n d^2), which sees what strays as a whole; and, for
what strays at the end of the law, that of Berk and Jones, by Chernoff's bound on each ordered wait: n exp(-n K), K the
divergence of its rank from its share. Whether they are later can be asked only of those that ended while new tasks were
begun at once: else it is the queue that is late, or the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log

from taskchaos.harness.backoff import BackoffLaw
from taskchaos.harness.checker.evidence import CaseEvidence
from taskchaos.harness.checker.results import counted, if_claimed, with_samples
from taskchaos.harness.checker.waits import Probes, Wait, waits
from taskchaos.harness.contract import Claim
from taskchaos.harness.record.verdict import Outcome, Rule, RuleResult

#: A wait may be shorter than the shortest of its law by so much: times are rounded, and two clocks measure it.
EARLY_S = 0.02
#: And longer than the law says by so much, to see that it is due, and by what the first tries of other tasks took then.
LATE_S = 0.1
#: Fewer waits after a number of retries are not compared with the law.
FEWEST_WAITS = 30
#: So large a share of the waits may be longer than the law has any, by whatever a machine does; or just short enough.
STRAY_SHARE, HASTY_SHARE = 0.02, 0.005
#: Whatever the number of retries.
ANY = -1
#: A law that is kept fails less often than this.
ALPHA = 1e-6


@dataclass(frozen=True, slots=True)
class Fit:
    """What a test says. p: how likely waits that stray so far from the law in this direction are, if it is kept."""

    retries: int
    later: bool
    number: int
    p: float


def backoff(evidence: CaseEvidence) -> RuleResult:
    """No wait is shorter than the law allows, and the waits as a whole are neither earlier nor later than it says."""
    law = evidence.contract.backoff
    if law is None:
        reason = "the subject names no law of waiting"
        return RuleResult(Rule.BACKOFF, Outcome.NOT_CLAIMED, "waits as claimed", None, reason)
    return if_claimed(evidence.contract, Claim.BACKOFF, _judge(evidence, law))


def _judge(evidence: CaseEvidence, law: BackoffLaw) -> RuleResult:
    found = waits(evidence)
    expression = f"waits: {law}"
    hasty = [wait for wait in found if wait.wait_s < shortest_s(law, wait) - EARLY_S]
    if hasty:
        reason = f"{counted(len(hasty), 'wait')} of {len(found)} shorter than the law allows"
        notes = {wait.op: _note(law, wait) for wait in reversed(hasty)}
        result = RuleResult(Rule.BACKOFF, Outcome.FAIL, expression, len(hasty), reason)
        return with_samples(result, notes, notes.__getitem__)
    seen = f"{counted(len(found), 'wait')} that no fault met"
    if not (fits := _fits(law, found, Probes(evidence))):
        return _too_few(evidence, expression, seen)
    worst = min(fits, key=lambda fit: fit.p)
    p = min(1.0, worst.p * len(fits))
    each = [fit for fit in fits if fit.retries != ANY]
    early = counted(sum(fit.number for fit in each if not fit.later), "wait")
    late = sum(fit.number for fit in each if fit.later)
    compared = f"{early} compared with the law, {late} of them while the queue was short"
    if p < ALPHA:
        after = "" if worst.retries == ANY else f" after {counted(worst.retries, 'retry', 'retries')}"
        how = f"{'later' if worst.later else 'earlier'} than the law{after}"
        reason = f"{compared}; {worst.number} are {how} (p = {p:.1g}, below {ALPHA:g})"
        return RuleResult(Rule.BACKOFF, Outcome.FAIL, expression, float(f"{p:.1g}"), reason)
    if not late:
        return _too_few(evidence, expression, seen)
    return RuleResult(
        Rule.BACKOFF, Outcome.PASS, expression, float(f"{p:.2g}"), f"{compared}: as claimed (p = {p:.2g})"
    )


def shortest_s(law: BackoffLaw, wait: Wait) -> float:
    """The shortest wait that the law may have drawn there."""
    return law.between_s(wait.retries, wait.previous_s)[0]


def _note(law: BackoffLaw, wait: Wait) -> str:
    asked = f"{1000 * shortest_s(law, wait):.0f} ms"
    return f"{1000 * wait.wait_s:.0f} ms after {counted(wait.retries, 'retry', 'retries')}, at least {asked} claimed"


def _too_few(evidence: CaseEvidence, expression: str, seen: str) -> RuleResult:
    """Unknown only where the case is about waits: elsewhere nobody has planned enough of them."""
    needed = f"{seen}; {FEWEST_WAITS} after the same number of retries, while the queue is short, can be judged"
    if evidence.history.slo.waits:
        reason = f"too few: {needed}; have more tasks fail, or free the machine"
        return RuleResult(Rule.BACKOFF, Outcome.UNKNOWN, expression, None, reason)
    return RuleResult(Rule.BACKOFF, Outcome.NOT_CLAIMED, expression, None, f"the case is not about waits: {needed}")


def _fits(law: BackoffLaw, found: Sequence[Wait], probes: Probes) -> list[Fit]:
    """Both tests for each number of retries of which there are enough waits, and for all of these together."""
    fits: list[Fit] = []
    together: dict[bool, list[list[float]]] = {False: [], True: []}
    for retries in sorted({wait.retries for wait in found}):
        group = [wait for wait in found if wait.retries == retries]
        early = [max(_early_share(law, wait), HASTY_SHARE) for wait in group]
        shares = (_late_share(law, wait, probes) for wait in group)
        late = [max(1.0 - share, STRAY_SHARE) for share in shares if share is not None]
        sides = ((False, early), (True, late))
        for later, side in sides:
            if len(side) >= FEWEST_WAITS:
                fits.append(Fit(retries, later, len(side), tail(side)))
                together[later].append(side)
    for later, groups in together.items():
        if len(groups) > 1:
            every = [share for group in groups for share in group]
            fits.append(Fit(ANY, later, len(every), tail(every)))
    return fits


def _early_share(law: BackoffLaw, wait: Wait) -> float:
    """Where in the law a wait is, seen as late as can be: never below uniform if the law is kept."""
    previous_s = max(0.0, wait.previous_s - LATE_S)  # what was waited includes more than what was drawn
    return law.share_until(wait.wait_s + EARLY_S, wait.retries, previous_s)


def _late_share(law: BackoffLaw, wait: Wait, probes: Probes) -> float | None:
    """Where in the law a wait is, seen as early as what held it up allows: never above uniform.

    None where new tasks were begun so late, or none were, that a wait of twice the longest could hide behind that.
    """
    near_s, longest_s = probes.near_s(wait.op, wait.begun_ns), law.between_s(wait.retries, wait.previous_s)[1]
    if near_s is None or near_s > max(LATE_S, longest_s / 2 - LATE_S):
        return None
    return law.share_below(wait.wait_s - LATE_S - near_s, wait.retries, wait.previous_s)


def tail(shares: Sequence[float]) -> float:
    """A bound on the chance that uniform numbers, or larger ones, lie as low as these.

    Twice the lower one of Massart's and of Berk and Jones's (Zeitschrift fuer Wahrscheinlichkeitstheorie 47, 1979).
    """
    number, ranked = len(shares), sorted(shares)
    distance = max((rank + 1) / number - share for rank, share in enumerate(ranked))
    massart = exp(-2.0 * number * max(0.0, distance) ** 2)
    farthest = max(_divergence((rank + 1) / number, share) for rank, share in enumerate(ranked))
    return min(1.0, 2.0 * min(massart, number * exp(-number * farthest)))


def _divergence(seen: float, share: float) -> float:
    """Kullback and Leibler's, of a share that was seen from the smaller one that was to be; 0 if it is not smaller."""
    if seen <= share:
        return 0.0
    if share <= 0.0:
        return inf
    rest = (1.0 - seen) * log((1.0 - seen) / (1.0 - share)) if seen < 1.0 else 0.0
    return seen * log(seen / share) + rest
