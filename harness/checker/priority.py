"""Priority: of what waits in the queue, a worker takes the more urgent first.

Only what one worker took is compared, in the order in which it wrote that down: nothing tells which of two workers had
asked first. And only with what surely waited meanwhile: from some time after it was acknowledged until some time before
that worker received it, as much as a busy machine may take to write down what Redis has given it. What a worker had
taken before that, it may run first. And it is no pass unless each priority was seen to go ahead of the next, and
something waited for long enough to be compared.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from taskchaos.harness.checker.evidence import CaseEvidence
from taskchaos.harness.checker.faults import all_bites, as_long_again
from taskchaos.harness.checker.results import counted, if_claimed, unless_torn, with_samples
from taskchaos.harness.checker.waits import first_sent_and_tried, noted_ns, rank
from taskchaos.harness.clock import seconds
from taskchaos.harness.contract import Claim
from taskchaos.harness.record.verdict import Outcome, Rule, RuleResult
from taskchaos.harness.workload import MOST_PRIORITIES, PRIORITY_STEP

_EXPRESSION = "left behind a less urgent one = 0"


@dataclass(frozen=True, slots=True)
class Way:
    """How an operation came to its first attempt. It was in the queue from `queued_ns` on, or before."""

    op: int
    rank: int
    sent_ns: int
    queued_ns: int
    taken_ns: int
    role: int
    begun_ns: int


def priority(evidence: CaseEvidence) -> RuleResult:
    """No operation waits while the worker that gets it in the end takes, and begins, one that is less urgent."""
    history = evidence.history
    if not history.priorities:
        return RuleResult(Rule.PRIORITY, Outcome.NOT_CLAIMED, _EXPRESSION, None, "the case has no priorities")
    ways, slack_ns = list(_ways(evidence)), noted_ns(evidence)
    behind, ahead = _left_behind(ways, slack_ns), _went_ahead(ways, slack_ns)
    surely = _went_ahead(ways, slack_ns, slack_ns)
    unseen = [mine for mine in range(max(1, history.priorities - 1)) if not ahead[mine]]
    outcome = Outcome.PASS
    reason = f"{counted(ahead.total(), 'task')} went ahead of less urgent ones that had been sent before"
    if behind:
        outcome, reason = Outcome.FAIL, f"{counted(len(behind), 'task')} waited while less urgent ones were taken"
        if len(behind) <= history.torn_records:
            outcome, reason = Outcome.UNKNOWN, reason + unless_torn("their deliveries", history.torn_records)
    elif unseen:
        mine, less = PRIORITY_STEP * unseen[0], PRIORITY_STEP * (unseen[0] + 1)
        reason = f"no task of priority {mine} went ahead of one of {less}: offer more than workers can do"
        outcome = Outcome.UNKNOWN
    elif not surely.total():
        reason = "no task waited for long enough to be compared: offer more than workers can do, for longer"
        outcome = Outcome.UNKNOWN

    def note(op: int) -> str:
        mine, other = behind[op]
        waited_s, number = seconds(mine.taken_ns - mine.queued_ns), PRIORITY_STEP * other.rank
        return f"{evidence.role(mine.role)} took {other.op}, of priority {number}, while it waited {waited_s:.1f} s"

    result = RuleResult(Rule.PRIORITY, outcome, _EXPRESSION, len(behind), reason)
    return if_claimed(evidence.contract, Claim.PRIORITY, with_samples(result, behind, note))


def _ways(evidence: CaseEvidence) -> Iterator[Way]:
    """Of all operations that were begun, except those that a fault met in the queue: a worker may have had them."""
    history, met = evidence.history, all_bites(evidence.history, as_long_again)
    deliveries, queued = history.deliveries, evidence.queued_ns
    taken: dict[int, tuple[int, int]] = {}
    for op, at_ns, role in zip(deliveries.op, deliveries.at_ns, deliveries.role, strict=True):
        taken[op] = min((at_ns, role), taken.get(op, (at_ns, role)))
    for op, sent_ns, begun_ns in first_sent_and_tried(evidence):
        if op in queued and op in taken and not met.meet(sent_ns, taken[op][0]):
            yield Way(op, rank(history, op), sent_ns, queued[op], *taken[op], begun_ns)


def _left_behind(ways: list[Way], slack_ns: int) -> dict[int, tuple[Way, Way]]:
    """By operation, its way and that of a less urgent one, taken while it surely waited and begun before it."""
    lines: dict[tuple[int, int], list[Way]] = {}
    for way in sorted(ways, key=lambda way: (way.taken_ns, way.op)):
        lines.setdefault((way.role, way.rank), []).append(way)

    def before(way: Way) -> Iterator[Way]:
        for less in range(way.rank + 1, MOST_PRIORITIES):
            line = lines.get((way.role, less), [])
            for place in range(bisect_left(line, way.queued_ns + slack_ns, key=_taken_ns), len(line)):
                if line[place].taken_ns > way.taken_ns - slack_ns:
                    break
                if line[place].begun_ns < way.begun_ns:
                    yield line[place]

    first = ((way, next(before(way), None)) for way in ways)
    return {way.op: (way, other) for way, other in first if other}


def _taken_ns(way: Way) -> int:
    return way.taken_ns


def _went_ahead(ways: list[Way], slack_ns: int, waited_ns: int = 0) -> Counter[int]:
    """By rank, how many were surely taken before one of the next rank, for the same worker, that was sent before them.

    waited_ns: for so long that one had been in the queue by then. If it surely was, the two would have been found the
    other way round, had the other been the more urgent.
    """
    lines: dict[tuple[int, int], list[Way]] = {}
    for way in sorted(ways, key=lambda way: way.queued_ns):
        lines.setdefault((way.role, way.rank), []).append(way)
    ahead = Counter[int]()
    for (role, mine), line in lines.items():
        others = lines.get((role, mine + 1), [])
        queued = [other.queued_ns for other in others]
        latest = list(accumulate((other.taken_ns for other in others), max))
        for way in line:
            place = min(bisect_left(queued, way.sent_ns), bisect_right(queued, way.taken_ns - waited_ns))
            ahead[mine] += place > 0 and latest[place - 1] >= way.taken_ns + slack_ns
    return ahead
