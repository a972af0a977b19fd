"""Duration: no operation waits longer for its next step than its subject claims, and its queue and faults explain.

A step is due when its submit was acknowledged (only then it surely has a place in the queue) or it is to be run, or
the claimed wait after its attempt failed. What comes after that is explained by a fault, for as long as redelivery
takes; and by the queue in front of it, for as long as workers go on and begin nothing that came later. From then on,
or where all workers are idle, the wait is nobody's but the subject's.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise

from taskchaos.harness.checker.chords import bodies, members
from taskchaos.harness.checker.evidence import CaseEvidence, attempts_of_retried
from taskchaos.harness.checker.faults import FOREVER, Spans, all_bites
from taskchaos.harness.checker.results import counted, if_claimed, with_samples
from taskchaos.harness.checker.waits import PREFETCH, Probes, first_times, rank
from taskchaos.harness.clock import NS_PER_MS, NS_PER_S, seconds
from taskchaos.harness.contract import Claim
from taskchaos.harness.record.history import NEVER, AttemptOutcome
from taskchaos.harness.record.verdict import Outcome, Rule, RuleResult

#: What a busy machine may take on top of everything.
PATIENCE_NS = 2 * NS_PER_S
#: Nothing begins and nothing runs for so long: the workers are idle.
IDLE_NS = 250 * NS_PER_MS
_FAILED = (AttemptOutcome.TRANSIENT, AttemptOutcome.PERMANENT, AttemptOutcome.INTERRUPTED)


@dataclass(frozen=True, slots=True)
class Step:
    """From when an operation could go on until it did. due_ns: the claimed wait later, if it had failed.

    since_ns: from when a fault may have held it up. Of what was sent to be run later, since it was sent. Of the
    body of a chord, since the first member took effect: when each does is told of it, and a fault holds that up, too.
    probed: new tasks tell how long the queue was; of a first step, which is one of them, who was served before it.
    """

    op: int
    since_ns: int
    from_ns: int
    due_ns: int
    begun_ns: int
    probed: bool


def duration(evidence: CaseEvidence) -> RuleResult:
    """No step is late by more than its queue, faults and a busy machine explain."""
    longest_ns = evidence.history.longest_wait_ns
    expression = f"waits beyond {seconds(longest_ns):g} s explained"
    steps = list(_steps(evidence))
    if evidence.history.keys:
        reason = "tasks share business keys: how long one waits for another, no queue tells"
        return RuleResult(Rule.DURATION, Outcome.NOT_CLAIMED, expression, None, reason)
    if not steps:
        reason = "no task came to a worker: check that workers ran"
        result = RuleResult(Rule.DURATION, Outcome.UNKNOWN, expression, None, reason)
        return if_claimed(evidence.contract, Claim.BACKOFF, result)
    late = [step for step in steps if step.begun_ns - step.due_ns > PATIENCE_NS]
    over = _unexplained(evidence, late) if late else {}
    worst = max(step.begun_ns - step.from_ns for step in steps)
    outcome = Outcome.FAIL if over else Outcome.PASS
    reason = f"{counted(len(over), 'task')} waited for longer; the longest wait of all was {seconds(worst):.1f} s"
    result = RuleResult(Rule.DURATION, outcome, expression, len(over), reason)
    result = with_samples(result, over, lambda op: f"waited {seconds(over[op]):.1f} s longer than its queue explains")
    return if_claimed(evidence.contract, Claim.BACKOFF, result)


def _steps(evidence: CaseEvidence) -> Iterator[Step]:
    """The first step of each operation that was tried, and each after a failed attempt."""
    effects, delays_ns = evidence.tally.first_effect, evidence.history.delays_ns
    first = {op: min(effects[each] for each in members(evidence.history, op)) for op in bodies(evidence.history)}
    queued_ns = evidence.queued_ns
    for op, from_ns, begun_ns in first_times(evidence):
        due_ns = max(from_ns, min(queued_ns.get(op, from_ns), begun_ns))
        yield Step(op, first.get(op, from_ns - delays_ns.get(op, 0)), from_ns, due_ns, begun_ns, False)
    attempts, longest_ns = evidence.history.attempts, evidence.history.longest_wait_ns
    for op, rows in attempts_of_retried(evidence):
        for row, later in pairwise(rows):
            ended_ns, begun_ns = attempts.ended_ns[row], attempts.begun_ns[later]
            if attempts.outcome[row] in _FAILED:
                yield Step(op, ended_ns, ended_ns, ended_ns + longest_ns, begun_ns, True)


def _unexplained(evidence: CaseEvidence, late: list[Step]) -> dict[int, int]:
    """By operation, for how long nothing explains a late step; only of those for which that is too long."""
    met, probes, line, rest = all_bites(evidence.history), Probes(evidence), _Line(evidence), _Rest(evidence)
    attempts, history = evidence.history.attempts, evidence.history
    stretches = zip(attempts.begun_ns, attempts.ended_ns, strict=True)
    # What a fault made longer tells nothing of how long a task takes.
    took = (end - begin - met.within(begin, end) for begin, end in stretches if end != NEVER)
    patience_ns = PATIENCE_NS + PREFETCH * max(took, default=0)
    again_ns = 2 * history.lease_ns + history.longest_wait_ns
    over: dict[int, int] = {}
    for step in late:
        for due_ns, until_ns in _without_fault(step, met, again_ns):
            passed_ns = min(until_ns, line.passed_ns(step.op, due_ns))
            wasted_ns = max(until_ns - max(passed_ns, due_ns), rest.within(due_ns, until_ns))
            queue_s = probes.within_s(step.op, due_ns, until_ns) if step.probed else 0.0
            allowed_ns = patience_ns + round(queue_s * NS_PER_S)
            if wasted_ns > allowed_ns:
                over[step.op] = max(over.get(step.op, 0), wasted_ns - allowed_ns)
    return over


def _without_fault(step: Step, met: Spans, again_ns: int) -> Iterator[tuple[int, int]]:
    """From when the step was due until a fault began, from when redelivery was over until the next, and so on.

    again_ns: how long redelivery takes. A stretch that ends before it begins is none.
    """
    due_ns = step.due_ns
    for begin_ns, healed_ns in met.since(step.since_ns):
        yield due_ns, min(begin_ns, step.begun_ns)
        due_ns = max(due_ns, healed_ns + again_ns)
    yield due_ns, step.begun_ns


class _Line:
    """Who was served although they came later, and were no more urgent: a line for each priority."""

    def __init__(self, evidence: CaseEvidence) -> None:
        self._history = evidence.history
        self._sent: list[list[int]] = []
        self._begun: list[list[int]] = []
        times = first_times(evidence)
        for urgent in range(self._history.priorities or 1):
            came = sorted((sent_ns, begun_ns) for op, sent_ns, begun_ns in times if rank(self._history, op) >= urgent)
            self._sent.append([sent_ns for sent_ns, _ in came])
            # By place in the line, when the first of it and of all behind it was begun.
            self._begun.append(list(accumulate((begun_ns for _, begun_ns in reversed(came)), min))[::-1])

    def passed_ns(self, op: int, at_ns: int) -> int:
        """When the first one was begun that was sent after this time; FOREVER if none was."""
        sent, begun = (lines[rank(self._history, op)] for lines in (self._sent, self._begun))
        place = bisect_right(sent, at_ns)
        return begun[place] if place < len(begun) else FOREVER


class _Rest:
    """When no attempt ran, nor began; before the first of all, there may have been no workers."""

    def __init__(self, evidence: CaseEvidence) -> None:
        attempts = evidence.history.attempts
        rows = range(len(attempts.op))
        busy = sorted((attempts.begun_ns[row], max(attempts.begun_ns[row], evidence.attempt_end(row))) for row in rows)
        self._begins: list[int] = []
        self._ends: list[int] = []
        until_ns = busy[0][1] if busy else FOREVER
        for begun_ns, ended_ns in busy:
            if begun_ns - until_ns > IDLE_NS:
                self._begins.append(until_ns)
                self._ends.append(begun_ns)
            until_ns = max(until_ns, ended_ns)

    def within(self, begin_ns: int, end_ns: int) -> int:
        """For how long in this stretch the workers were idle."""
        at, found = bisect_left(self._ends, begin_ns), 0
        while at < len(self._ends) and self._begins[at] < end_ns:
            found += max(0, min(end_ns, self._ends[at]) - max(begin_ns, self._begins[at]))
            at += 1
        return found
