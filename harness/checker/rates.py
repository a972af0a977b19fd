"""Rates: how fast first effects came in each phase, and how soon after the last heal the rate was back.

Two kinds of case. Drained: operations are submitted in a PREFILL phase and workers empty the queue, so the rate is
capacity. Open load: operations fall due at an offered rate, and the system can at best keep up with it.

Where operations fail by plan and the subject claims a wait before it tries again, or where they are sent to be run
later, a phase may rightly see few effects.
Such a phase is judged by completion: by when what was due in it was done, less the wait that each may take.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from taskchaos.harness.checker.chords import bodies, members
from taskchaos.harness.checker.evidence import CaseEvidence
from taskchaos.harness.checker.faults import FOREVER, idle
from taskchaos.harness.clock import NS_PER_MS, seconds
from taskchaos.harness.contract import PhaseName
from taskchaos.harness.record.history import NEVER, Phase

#: Anything shorter, or with fewer operations, has no rate.
SHORTEST_NS = 200 * NS_PER_MS
FEWEST_OPERATIONS = 20
#: So many effects of a drained queue are enough, however short the drain: being fast must not make it unmeasurable.
ENOUGH_EFFECTS = 500
#: This share of a drained baseline's effects is warm-up.
WARM_UP_PERCENT = 5
#: Of the operations that are judged by completion, this share is left out: the slowest.
SLOWEST_PERCENT = 5
#: Recovery is seen in this many windows in a row at this share of the baseline rate.
WINDOW_NS = 250 * NS_PER_MS
WINDOWS_IN_A_ROW = 3
RECOVERED_SHARE = 0.95
#: With fewer effects per window at baseline, a window says nothing.
FEWEST_PER_WINDOW = 4


@dataclass(frozen=True, slots=True)
class Pace:
    """The rate of one phase. tps is None when there was too little to measure.

    steady_tps: the rate of an open load's baseline from its first effect on, without what it takes to get going; None
    elsewhere. completed_tps: the rate by completion, None where that is no matter.
    """

    phase: Phase
    tps: float | None
    effects: int
    span_ns: int
    steady_tps: float | None = None
    completed_tps: float | None = None


@dataclass(frozen=True, slots=True)
class Recovery:
    """What came of the rate after the last heal. after_s: None when it was not seen to come back."""

    after_s: float | None = None
    observed_s: float = 0.0  # length of the record after the heal
    undecided_from_s: float | None = None  # the record ends within good windows that begin here
    idle: bool = False  # it counts as back because everything was done by then
    why_not: str = ""  # why nothing can be said; empty when it can


class Paces:
    """All rates of a case, measured once."""

    def __init__(self, evidence: CaseEvidence) -> None:
        self._evidence = evidence
        history = evidence.history
        self._times = evidence.tally.effect_times
        missing = evidence.tally.missing()
        self._never_done = missing.count(1) - sum(1 for op in evidence.letters.due if missing[op])
        self.drained = any(phase.name is PhaseName.PREFILL for phase in history.phases)
        self.phases = tuple(self._measure(phase) for phase in history.phases)
        self.recovery = self._recovery()

    def tps(self, name: PhaseName) -> float | None:
        """The rate over all phases of a name."""
        measured = [pace for pace in self.phases if pace.phase.name is name and pace.tps is not None]
        span_ns = sum(pace.span_ns for pace in measured)
        return sum(pace.effects for pace in measured) / seconds(span_ns) if span_ns else None

    def _work_left(self, at_ns: int) -> bool:
        return self._never_done > 0 or bisect_left(self._times, at_ns) < len(self._times)

    def _measure(self, phase: Phase) -> Pace:
        times = self._times
        low, high = bisect_left(times, phase.begun_ns), bisect_left(times, phase.ended_ns)
        begin_ns, end_ns = phase.begun_ns, phase.ended_ns
        effects = high - low if self.drained else self._in_time(phase, times[low:high])
        if self.drained and effects and not self._work_left(phase.ended_ns):
            end_ns = times[high - 1]  # the queue was empty from here on
            if phase.name is PhaseName.BASELINE:
                first = low + effects * WARM_UP_PERCENT // 100
                begin_ns, effects = times[first], high - 1 - first
        work = len(times) - low + self._never_done if self.drained else phase.offered
        span_ns = end_ns - begin_ns
        enough = span_ns >= SHORTEST_NS and work >= FEWEST_OPERATIONS
        enough = enough or (self.drained and effects >= ENOUGH_EFFECTS and span_ns > 0)
        if not enough:
            return Pace(phase, None, effects, span_ns)
        steady_tps = self._steady_tps(phase, times[low:high])
        return Pace(phase, effects / seconds(span_ns), effects, span_ns, steady_tps, self._completed_tps(phase))

    def _in_time(self, phase: Phase, effects: Sequence[int]) -> int:
        """How many of a phase's effects are its rate.

        What comes after a fault was seen in force for the last time that had been there for most of the phase counts up
        to what fell due meanwhile: the rest makes good what the fault held up. A heal that takes its time would be
        credited with the backlog else. Where faults come and go within a phase, it is the phase as a whole that counts.
        """
        span_ns = phase.ended_ns - phase.begun_ns
        faults = [fault for fault in self._evidence.history.faults if not idle(fault)]
        most = [f.seen_ns for f in faults if 2 * (f.seen_ns - max(f.injected_ns, phase.begun_ns)) >= span_ns]
        seen_ns = min(most, default=phase.ended_ns)
        if seen_ns >= phase.ended_ns:
            return len(effects)
        before = bisect_left(effects, seen_ns)
        due = ceil(phase.offered * (phase.ended_ns - seen_ns) / span_ns)
        return before + min(len(effects) - before, due)

    def _steady_tps(self, phase: Phase, effects: Sequence[int]) -> float | None:
        if self.drained or phase.name is not PhaseName.BASELINE or not effects:
            return None
        span_ns = phase.ended_ns - effects[0]
        return (len(effects) - 1) / seconds(span_ns) if span_ns >= SHORTEST_NS else None

    def _completed_tps(self, phase: Phase) -> float | None:
        """How fast what was due in a phase was done, each as if it had come earlier by the wait that it may take.

        None if nothing that was due there may wait.
        """
        history, first = self._evidence.history, self._evidence.tally.first_effect
        if not any(history.failures) and not history.delays_ns:
            return None
        due = {
            op: due_ns
            for op, due_ns in zip(history.submits.op, history.submits.due_ns, strict=True)
            if phase.begun_ns <= due_ns < phase.ended_ns
        }
        failures = self._failures()
        waits = {op: failures[op] * history.longest_wait_ns + history.delays_ns.get(op, 0) for op in due}
        if not any(waits.values()):
            return None
        done = sorted(first[op] - waits[op] for op in due if first[op] != NEVER)
        counted = len(done) - len(done) * SLOWEST_PERCENT // 100
        if not counted:
            return 0.0
        span_ns = (phase.ended_ns - phase.begun_ns) * (100 - SLOWEST_PERCENT) // 100
        return counted / seconds(max(span_ns, done[counted - 1] - phase.begun_ns))

    def _failures(self) -> Sequence[int]:
        """How often each operation fails by plan until it is done: the body of a chord comes after its members."""
        history = self._evidence.history
        failures = list(history.failures or bytes(history.planned))
        for body in bodies(history):
            failures[body] += max(failures[op] for op in members(history, body))
        return failures

    def _recovery(self) -> Recovery:
        history = self._evidence.history
        injected = [fault for fault in history.faults if fault.injected_ns != NEVER and not idle(fault)]
        baseline = self.tps(PhaseName.BASELINE)
        if not any(fault.proven for fault in injected):
            return Recovery(why_not="no fault is proven to have bitten")
        if any(fault.healed_ns == NEVER for fault in injected):
            return Recovery(why_not="a fault was never healed")
        heal_ns = max(fault.healed_ns for fault in injected)
        if baseline is None:
            return Recovery(why_not="no baseline was measured")
        if baseline * seconds(WINDOW_NS) < FEWEST_PER_WINDOW:
            return Recovery(why_not="the baseline has too few effects per 250 ms window")
        return self._first_good_run(heal_ns, max(phase.ended_ns for phase in history.phases), baseline)

    def _first_good_run(self, heal_ns: int, end_ns: int, baseline_tps: float) -> Recovery:
        """The first windows in a row at the baseline rate; windows in which work runs out do not count as slow."""
        done_ns = self._all_done_ns()
        # A window holds whole effects only, hence int().
        needed = int(RECOVERED_SHARE * baseline_tps * seconds(WINDOW_NS))
        observed_s = max(0.0, seconds(end_ns - heal_ns))
        good, window_ns = 0, heal_ns
        while window_ns + WINDOW_NS <= end_ns or window_ns + WINDOW_NS > done_ns:
            next_ns = window_ns + WINDOW_NS
            effects = bisect_left(self._times, next_ns) - bisect_left(self._times, window_ns)
            good = good + 1 if effects >= needed or next_ns > done_ns else 0
            window_ns = next_ns
            if good == WINDOWS_IN_A_ROW:
                back_ns = window_ns - WINDOWS_IN_A_ROW * WINDOW_NS
                return Recovery(seconds(back_ns - heal_ns), observed_s, idle=window_ns > done_ns)
        trailing_s = seconds(window_ns - good * WINDOW_NS - heal_ns) if good else None
        return Recovery(None, observed_s, undecided_from_s=trailing_s)

    def _all_done_ns(self) -> int:
        """When everything that was submitted had its effect and no more was due."""
        if self._never_done:
            return FOREVER
        return max(max(self._evidence.history.submits.due_ns, default=NEVER), self._times[-1])
