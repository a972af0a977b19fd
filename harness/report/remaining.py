"""How long a run still takes: from what its cases are known to cost, and from how long those that ended took.

A function of the event stream alone, so what it would have said in a stored run can be asked again.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict

from taskchaos.harness.clock import NS_PER_S
from taskchaos.harness.record.events import (
    CaseDisturbed,
    CaseJudged,
    CaseLeftOut,
    CasesCollected,
    CaseStarted,
    CaseWithdrawn,
    Event,
    RunStarted,
)

#: How much the costs are believed against what is measured: as so many seconds of cases that took what they cost, and
#: for one scenario as so many cases. On recorded runs the figure is then 10 to 20 % off at half-time.
BELIEVED_S, BELIEVED_CASES = 150.0, 2
#: Of cases that run alone only a part has to be alone, their drain: so much of what they cost each adds to the run.
ALONE = 0.4
#: What a case that is over its time still takes, as a share of what it was thought to take, and at least.
OVERDUE, OVERDUE_S = 0.15, 0.5
#: Closing and judging the run after its last case.
END_S = 0.5
#: A new estimate is taken over within about so many seconds, so that one odd case does not make the figure jump.
SLOWLY_S = 4.0
#: A shown figure goes up only by more than this, and more than a tenth: what is shown should count down.
UP_S = 3.0


class Remaining:
    """Reckons the time left in a run. A handler over the event stream."""

    def __init__(self) -> None:
        self._slots = 1
        self._ends_s: float | None = None  # of a soak: when no further case is begun
        self._waiting: dict[str, float] = {}  # what the cases cost, in the order in which they are to be run
        self._running: dict[str, float] = {}  # since when, in seconds
        self._costs: dict[str, float] = {}
        self._alone: set[str] = set()
        self._took: dict[str, list[float]] = defaultdict(list)  # by scenario
        self._measured_s = self._expected_s = 0.0
        self._again: set[str] = set()

    def handle(self, event: Event) -> None:
        """Take one event, in order."""
        at_s = event.at_ns / NS_PER_S
        match event:
            case RunStarted():
                self._slots = max(1, event.workers)
                self._ends_s = None if event.minutes is None else at_s + 60 * event.minutes
            case CasesCollected():
                costs_s = event.costs_s if len(event.costs_s) == len(event.cases) else (0.0,) * len(event.cases)
                self._costs = dict(zip(event.cases, costs_s, strict=True))
                self._alone = set(event.cases[len(event.cases) - event.alone :])
                self._waiting = {name: cost for name, cost in self._costs.items() if name not in self._running}
            case CaseStarted():
                self._waiting.pop(event.case, None)
                self._running[event.case] = at_s
            case CaseDisturbed():
                self._again.add(event.case)
            case CaseJudged():
                self._ended(event.case, at_s)
            case CaseLeftOut() | CaseWithdrawn():
                self._waiting.pop(event.case, None)
                self._running.pop(event.case, None)
            case _:
                pass

    def left_s(self, at_ns: int) -> float | None:
        """Seconds until the run is over, as of then; None as long as nothing is known of what its cases cost."""
        at_s = at_ns / NS_PER_S
        if self._ends_s is not None and at_s < self._ends_s:
            return self._ends_s - at_s
        left = [*self._running, *(self._waiting if self._ends_s is None else ())]
        takes_s = {name: known_s for name in left if (known_s := self._takes_s(name)) is not None}
        if not left or len(takes_s) < len(left):
            return None
        ends = [
            max(takes_s[name] - (at_s - since_s), OVERDUE * takes_s[name], OVERDUE_S)
            for name, since_s in self._running.items()
            if name not in self._alone
        ]
        ends += [0.0] * (self._slots - len(ends))
        heapq.heapify(ends)
        for name in left:  # each begins where a place is free first
            if name not in self._alone and name not in self._running:
                heapq.heapreplace(ends, ends[0] + takes_s[name])
        return max(ends) + sum(ALONE * takes_s[name] for name in left if name in self._alone) + END_S

    def _ended(self, name: str, at_s: float) -> None:
        since_s = self._running.pop(name, None)
        if since_s is None:
            return
        cost_s = self._costs.get(name, 0.0)
        if name not in self._alone or not cost_s:  # others have mostly waited for each other
            self._took[_scenario(name)].append(at_s - since_s)
        if cost_s and name not in self._alone:
            self._measured_s += at_s - since_s
            self._expected_s += cost_s
        if name in self._again:
            self._again.remove(name)
            self._waiting = {name: self._costs.get(name, 0.0), **self._waiting}

    def _takes_s(self, name: str) -> float | None:
        """What a case is thought to take: its cost, as far as the costs hold on this machine, and what was seen."""
        took = self._took.get(_scenario(name), ())
        cost_s = self._costs.get(name, 0.0)
        if cost_s:
            factor = (self._measured_s + BELIEVED_S) / (self._expected_s + BELIEVED_S)
            return (BELIEVED_CASES * cost_s * factor + sum(took)) / (BELIEVED_CASES + len(took))
        seen = took or [one for each in self._took.values() for one in each]
        return sum(seen) / len(seen) if seen else None


class Countdown:
    """Turns estimates into a figure that can be shown: it counts down, and does not jump to and fro."""

    def __init__(self) -> None:
        self._ends_s: float | None = None
        self._seen_s = 0.0
        self._shown_s: float | None = None

    def show(self, left_s: float | None, at_ns: int) -> float | None:
        """The figure to show for an estimate made at this time. None: nothing is known."""
        at_s = at_ns / NS_PER_S
        if left_s is None:
            return None
        if self._ends_s is None:
            self._ends_s = at_s + left_s
        weight = 1 - math.exp(-max(0.0, at_s - self._seen_s) / SLOWLY_S)
        self._ends_s += (at_s + left_s - self._ends_s) * weight
        self._seen_s = max(self._seen_s, at_s)
        wanted_s = max(1.0, self._ends_s - at_s)
        if self._shown_s is None or not 0 < wanted_s - self._shown_s <= max(UP_S, 0.1 * self._shown_s):
            self._shown_s = wanted_s
        return self._shown_s


def shown_left(left_s: float) -> str:
    """`about 21 s left`, no finer than it is known."""
    if left_s < 30:
        return f"about {max(1, round(left_s))} s left"
    if left_s < 100:
        return f"about {5 * round(left_s / 5)} s left"
    minutes = round(left_s / 60)
    return f"about {minutes} min left" if minutes < 100 else f"about {minutes // 60} h {minutes % 60:02d} min left"


def _scenario(case: str) -> str:
    """Suite and scenario of a case, which its cases against other subjects have in common."""
    suite, _, rest = case.partition(".")
    return f"{suite}.{rest.partition('.')[0]}"
