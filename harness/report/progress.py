"""How far a run has come, in words and as a bar: for the live area of a terminal, and now and then for a log."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from taskchaos.harness.clock import NS_PER_S
from taskchaos.harness.fitting import MORE, columns_of, fit
from taskchaos.harness.record.events import (
    CaseDisturbed,
    CaseJudged,
    CaseLeftOut,
    CasesCollected,
    CaseStarted,
    CaseWithdrawn,
    Event,
    PhaseBegan,
    RunStarted,
    StackReady,
)
from taskchaos.harness.report.ansi import Paint
from taskchaos.harness.report.phrases import plural, seconds, standing
from taskchaos.harness.report.remaining import Countdown, Remaining, shown_left

#: What is said of a case whose first verdict was no finding.
AGAIN = "disturbed, trying again"
ENDING = "ending: faults are healed, what has finished is judged; Ctrl-C again ends it at once"
_LONGEST_BAR, _SHORTEST_BAR = 30, 8


@dataclass(slots=True)
class Progress:
    """What is known of how far a run is. A handler over the event stream; it prints nothing."""

    planned: int = 0
    ending: bool = False  # the user wished it
    running: dict[str, str] = field(default_factory=dict)  # case: its phase
    again: set[str] = field(default_factory=set)  # disturbed at their first try
    done: dict[str, bool] = field(default_factory=dict)  # case: whether it is a surprise
    _withdrawn: set[str] = field(default_factory=set)
    _began_ns: int = 0
    _open: bool = False  # as many cases as fit into a time
    _farthest: float = 0.0
    _remaining: Remaining = field(default_factory=Remaining)
    _countdown: Countdown = field(default_factory=Countdown)

    def handle(self, event: Event) -> None:
        """Take one event, in order."""
        self._remaining.handle(event)
        match event:
            case RunStarted():
                self._began_ns, self._open = event.at_ns, event.minutes is not None
            case CasesCollected():
                self.planned = max(self.planned, event.count)
            case CaseStarted():
                self.running[event.case] = f"{AGAIN}: starting" if event.case in self.again else "starting"
            case StackReady():
                self._phase(event.case, "ready")
            case PhaseBegan():
                self._phase(event.case, event.phase.value)
            case CaseDisturbed():
                self.again.add(event.case)
                self.running[event.case] = AGAIN
            case CaseJudged() if not self.is_tried_again(event):
                self.running.pop(event.case, None)
                self.done[event.case] = standing(event.result).surprise
            case CaseLeftOut():
                self.running.pop(event.case, None)
                self.done[event.case] = False
            case CaseWithdrawn():
                self._withdrawn.add(event.case)
            case _:
                pass

    def is_tried_again(self, event: CaseJudged) -> bool:
        """Whether this verdict is that of a try that was disturbed."""
        return event.case in self.again and event.result.tries == 1

    def _phase(self, case: str, phase: str) -> None:
        self.running[case] = f"{AGAIN}: {phase}" if case in self.again else phase

    def words(self, at_ns: int) -> str:
        """`12 of 37, 1 surprise, about 21 s left`."""
        if self.ending:
            return ENDING
        total = self.planned - len(self._withdrawn)
        counted = not self._open or bool(self._withdrawn)
        parts = [f"{len(self.done):,} of {total:,}" if counted else plural(len(self.done), "case")]
        if found := sum(self.done.values()):
            parts.append(plural(found, "surprise"))
        left_s = self._countdown.show(self._remaining.left_s(at_ns), at_ns)
        parts.append(shown_left(left_s) if left_s is not None else f"{seconds(self._elapsed_s(at_ns) // 1)} so far")
        return ", ".join(parts)

    def share(self, at_ns: int) -> float:
        """How much of the run is over, from 0 to 1, by time if that is known; never less than before."""
        elapsed_s, left_s = self._elapsed_s(at_ns), self._remaining.left_s(at_ns)
        total = max(self.planned - len(self._withdrawn), len(self.done), 1)
        now = len(self.done) / total if left_s is None else elapsed_s / max(elapsed_s + left_s, 1e-9)
        self._farthest = max(self._farthest, min(now, 1.0))
        return self._farthest

    def _elapsed_s(self, at_ns: int) -> float:
        return max(0.0, (at_ns - self._began_ns) / NS_PER_S)

    def lines(self, at_ns: int, paint: Paint, size: os.terminal_size) -> list[tuple[int, str]]:
        """The live area: bar and words, then a line for each case that runs, as far as a third of the rows will do.

        Each line with the columns that it needs, fewer than there are: what fills a line may be wrapped.
        """
        room = size.columns - 1
        words = fit([paint.safe(word) for word in self.words(at_ns).split()], " ", room, paint.safe(MORE))
        shown = [(columns_of(words), words)]
        long = min(_LONGEST_BAR, room - columns_of(words) - 2)
        if long >= _SHORTEST_BAR:
            drawn = paint.bar(self.share(at_ns), long)
            shown = [(long + 2 + columns_of(words), f"{drawn}  {words}")]
        most = max(0, size.lines // 3 - 1)
        if self.running and most and not self.ending:
            shown += self._running_lines(paint, room - 2, most)
        return shown

    def _running_lines(self, paint: Paint, room: int, most: int) -> Iterator[tuple[int, str]]:
        """The cases that run, each with its phase, those that run for longest first."""
        named = {paint.safe(name): paint.safe(phase) for name, phase in self.running.items()}
        shown = dict(list(named.items())[: most if len(named) <= most else most - 1])
        long = max(map(columns_of, shown), default=0)
        for name, phase in shown.items():
            padded = name + " " * (long - columns_of(name) + 2)
            text = padded + phase
            if columns_of(text) > room:
                text = fit([name, phase], "  ", room, paint.safe(MORE))
            yield 2 + columns_of(text), f"  {paint.dim(text)}"
        if rest := len(named) - len(shown):
            text = fit([paint.safe(MORE), str(rest), "more"], " ", room, paint.safe(MORE))
            yield 2 + columns_of(text), f"  {paint.dim(text)}"

    def running_words(self) -> str:
        """The cases that run, each with its phase."""
        return ", ".join(f"{name}: {phase}" for name, phase in self.running.items())
