"""The terminal view: what happens while it happens, then the verdict.

On a terminal one status line is redrawn and the lines of a case are printed together when it ends, because cases run
in parallel. Elsewhere (a CI log) every line is printed at once and starts with the case's id, so that it can be
searched and the last line tells where a hanging run hangs.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from taskchaos.faults.state import FaultState
from taskchaos.harness.clock import now_ns
from taskchaos.harness.contract import PhaseName
from taskchaos.harness.errors import TaskchaosError
from taskchaos.harness.record.events import (
    CaseJudged,
    CaseLeftOut,
    CasesCollected,
    CaseStarted,
    CaseWithdrawn,
    Event,
    FaultChanged,
    NotCollected,
    PhaseBegan,
    PhaseEnded,
    Problem,
    RunEnded,
    RunStarted,
    StackReady,
    StackRepaired,
    TestFailed,
    WorkerDied,
)
from taskchaos.harness.record.result import RunResult
from taskchaos.harness.report.ansi import Paint, is_terminal
from taskchaos.harness.report.phrases import (
    MARKS,
    Assessment,
    cut,
    figure,
    outcome_phrase,
    plural,
    rate,
    seconds,
    standing,
)
from taskchaos.harness.report.summary import summary_lines

PLAIN_WIDTH = 100
MAX_ID_WIDTH = 48
MAX_TEXT = 2_000  # characters of what is said in one line
MAX_NAME = 200
_PHASE_WIDTH = max(len(p.value) for p in PhaseName)


@dataclass(slots=True)
class _Live:
    """A case that runs."""

    phase: str = "starting"
    lines: list[str] = field(default_factory=list)
    faults: dict[int, set[FaultState]] = field(default_factory=dict)
    held: PhaseEnded | None = None  # the fault phase, printed once its faults are healed

    def healed(self) -> bool:
        """Whether every fault reached its end."""
        return all(states & {FaultState.HEALED, FaultState.HEAL_FAILED} for states in self.faults.values())

    def count(self, state: FaultState) -> int:
        """How many faults have been in a state."""
        return sum(state in states for states in self.faults.values())


class Terminal:
    """Prints a run. A handler over the event stream; `summary` prints what stands at the end."""

    def __init__(
        self,
        stream: TextIO,
        *,
        verbose: bool = False,
        colour: bool | None = None,
        width: int | None = None,
        live: bool | None = None,
    ) -> None:
        """None means: find out from the stream and the environment."""
        self._stream = stream
        self._verbose = verbose
        self._live = is_terminal(stream) if live is None else live
        self._paint = Paint.on(stream, colour)
        fallback = (PLAIN_WIDTH, 24)
        self._width = width or (shutil.get_terminal_size(fallback).columns if self._live else PLAIN_WIDTH)
        self._cases: dict[str, _Live] = {}
        self._planned = 0
        self._judged: set[str] = set()
        self._withdrawn: set[str] = set()
        self._minutes: float | None = None
        self._id_width = 0
        self._began_ns = 0
        self._workers = 1
        self._announced = False
        self._status = ""
        self._server_known = False
        self._said: set[str] = set()
        self._lost: OSError | None = None  # why the stream cannot be written to any more

    def handle(self, event: Event) -> None:
        """Take one event, in order."""
        match event:
            case RunStarted():
                self._run_started(event)
            case CasesCollected():
                self._cases_collected(event)
            case CaseStarted():
                self._cases[event.case] = _Live()
                self._id_width = min(max(self._id_width, len(event.case)), MAX_ID_WIDTH)
            case StackReady():
                self._stack_ready(event)
            case PhaseBegan():
                self._case(event.case).phase = event.phase.value
            case PhaseEnded():
                self._phase_ended(event)
            case FaultChanged():
                self._fault_changed(event)
            case WorkerDied():
                died = f"{event.role} died although no fault ended it: {event.detail}"
                self._case_line(event.case, died, alarm=True)
            case StackRepaired():
                self._case_line(event.case, event.detail, alarm=True)
            case CaseJudged():
                self._case_judged(event)
            case CaseLeftOut():
                self._judged.add(event.case)
                said = f"- {self._name(event.case)}  left out: {cut(event.reason, MAX_TEXT)}"
                self._print([self._paint.dim(self._paint.safe(said))])
            case CaseWithdrawn():
                self._withdrawn.add(event.case)
            case Problem():
                self._say(Assessment.UNKNOWN if event.doubt and not event.stack else Assessment.STACK, event.text)
            case NotCollected():
                self._say(Assessment.SUITE, f"{event.where} could not be collected: {event.reason}")
            case TestFailed():
                what = "an assertion of the test" if event.assertion else "the test"
                during = "" if event.when == "call" else f" in its {event.when}"
                kind = Assessment.FAILED if event.assertion else Assessment.SUITE
                self._say(kind, f"{event.case or event.test}: {what} failed{during}: {event.reason}")
            case RunEnded():
                self._unfinished(Assessment.INTERRUPTED if event.interrupted else Assessment.UNKNOWN)
            case _:
                pass
        self._draw_status(event.at_ns if not isinstance(event, RunEnded) else None)

    def tick(self) -> None:
        """Redraw the status line, so that the elapsed time moves while nothing happens."""
        self._draw_status(now_ns())

    def summary(self, result: RunResult, report_path: Path | None) -> None:
        """Print what a person reads at the end: defects, verdicts, the outcome and how to run it again.

        Raises TaskchaosError if the output could not be written; that its reader has gone is no error.
        """
        lines = summary_lines(result, report_path, self._paint, self._width, verbose=self._verbose)
        self._erase_status()
        self._write("\n".join(["", *lines]) + "\n")
        if self._lost is not None and not isinstance(self._lost, BrokenPipeError):
            raise TaskchaosError(f"the output could not be written: {self._lost.strerror}") from self._lost

    def _run_started(self, event: RunStarted) -> None:
        self._began_ns, self._workers, self._minutes = event.at_ns, event.workers, event.minutes
        versions = dict(event.versions)
        own = versions.pop("taskchaos", "")
        target = "no target" if event.target_tps is None else f"target {figure(event.target_tps)}/s"
        facts = [f"seed {event.seed}", f"profile {event.profile}", f"stack {event.stack}", target]
        facts += [f"shard {event.shard}"] if event.shard else []
        with_ = "  ".join(f"{name} {version}" for name, version in sorted(versions.items()))
        shown, below = (self._paint.safe_columns(cut(text, MAX_TEXT)) for text in ("  ".join(facts), with_))
        head = self._paint.bold(self._paint.safe(cut(f"taskchaos {own}".strip(), MAX_NAME)))
        self._print([f"{head}  {shown}", *([self._paint.dim(below)] if below else [])])

    def _cases_collected(self, event: CasesCollected) -> None:
        self._planned = max(self._planned, event.count)
        self._id_width = min(max([self._id_width, *map(len, event.cases)]), MAX_ID_WIDTH)
        if not self._announced:
            self._announced = True
            at_once = f", {self._workers} at a time" if self._workers > 1 else ""
            of = f" of {sum(map(len, event.dealt)):,}" if event.dealt else ""
            count = plural(event.count, "case")
            if self._minutes is not None:
                count = f"as many of {count} as fit in {figure(self._minutes)} min"
            self._print([f"{count}{of}{at_once}"])

    def _stack_ready(self, event: StackReady) -> None:
        self._case(event.case).phase = "ready"
        if not self._server_known:
            self._server_known = True
            server = f"{event.server.name} {event.server.version}".strip() or "unknown"
            self._print([self._paint.safe(f"server {cut(server, MAX_NAME)}, booted in {seconds(event.boot_s)}")])

    def _phase_ended(self, event: PhaseEnded) -> None:
        case = self._case(event.case)
        self._flush_fault_phase(event.case)
        if event.phase is PhaseName.FAULT and case.faults and not case.healed():
            case.held = event
            return
        self._phase_line(event)

    def _phase_line(self, event: PhaseEnded) -> None:
        case = self._case(event.case)
        parts = [f"{event.phase.value:<{_PHASE_WIDTH}}", f"{seconds(event.took_s):>6}"]
        if event.offered_tps is not None:
            parts.append(f"offered {rate(event.offered_tps)}")
        if event.offered_tps is not None or event.done_tps:
            parts.append(f"done {rate(event.done_tps)}")
        if event.phase is PhaseName.FAULT:
            parts.append(_fault_counts(case))
        if event.note:
            parts.append(event.note)
        self._case_line(event.case, "  ".join(parts))

    def _flush_fault_phase(self, case: str) -> None:
        held, self._case(case).held = self._case(case).held, None
        if held is not None:
            self._phase_line(held)

    def _fault_changed(self, event: FaultChanged) -> None:
        case = self._case(event.case)
        case.faults.setdefault(event.fault, set()).add(event.state)
        about = f"fault {event.fault} {event.kind} {event.target}".rstrip()
        if alarm := _ALARMS.get(event.state):
            self._case_line(event.case, f"{about}: {alarm}. {event.evidence}".rstrip(), alarm=True)
        if case.held is not None and case.healed():
            self._flush_fault_phase(event.case)

    def _case_judged(self, event: CaseJudged) -> None:
        self._flush_fault_phase(event.case)
        case, result = self._cases.pop(event.case), event.result
        kind = standing(result)
        self._judged.add(event.case)  # a set: a case that is run again counts once
        phrase = self._paint.tone(kind, self._paint.safe(cut(outcome_phrase(result), MAX_TEXT)))
        name = f"{self._name(event.case):<{self._id_width}}"
        head = f"{self._paint.mark(kind)} {name}  {phrase}  {self._paint.dim(seconds(result.wall_s))}"
        self._print([head, *case.lines])

    def _unfinished(self, kind: Assessment) -> None:
        """What was seen of cases that have no verdict, which nothing else would show."""
        for name, case in self._cases.items():
            if case.lines:
                mark = self._paint.mark(kind)
                self._print([f"{mark} {self._name(name)}  not judged; {case.phase} when the run ended", *case.lines])
        self._cases.clear()

    def _say(self, kind: Assessment, text: str) -> None:
        """A line about the run; once, although several processes may have the same to say."""
        line = self._paint.tone(kind, self._paint.safe(cut(f"{MARKS[kind]} {text}", MAX_TEXT)))
        if line not in self._said:
            self._said.add(line)
            self._print([line])

    def _name(self, case: str) -> str:
        return self._paint.safe(cut(case, MAX_NAME))

    def _case(self, name: str) -> _Live:
        return self._cases.setdefault(name, _Live())

    def _case_line(self, case: str, text: str, *, alarm: bool = False) -> None:
        """A line about a case: at once in a log, together with the case's verdict on a terminal."""
        text = self._paint.safe_columns(cut(text, MAX_TEXT))
        if alarm:
            text = self._paint.tone(Assessment.UNKNOWN, text)
        if self._live:
            self._case(case).lines.append(f"    {text if alarm else self._paint.dim(text)}")
        else:
            self._print([f"  {self._name(case):<{self._id_width}}  {text}"])

    def _print(self, lines: Iterable[str]) -> None:
        self._erase_status()
        self._write("".join(f"{line}\n" for line in lines))

    def _draw_status(self, at_ns: int | None) -> None:
        if not self._live or not self._began_ns:
            return
        if at_ns is None:
            self._erase_status()
            return
        elapsed = seconds((at_ns - self._began_ns) / 1e9)
        planned = self._planned - len(self._withdrawn)
        total = f"/{planned}" if self._planned and (self._minutes is None or self._withdrawn) else ""
        running = ", ".join(f"{name}: {case.phase}" for name, case in self._cases.items())
        text = self._paint.safe_columns(f"{len(self._judged)}{total} done  {elapsed}  {running}".rstrip())
        text = text[: self._width - 1]
        if text != self._status:
            self._write("\r\x1b[2K" + self._paint.dim(text))
            self._status = text

    def _erase_status(self) -> None:
        if self._live:
            self._write("\r\x1b[2K")
            self._status = ""

    def _write(self, text: str) -> None:
        """Write as far as the stream takes it; the run goes on and is judged without a reader."""
        if self._lost is not None:
            return
        try:
            self._stream.write(self._paint.encodable(text))
            self._stream.flush()
        except OSError as error:
            self._lost = error


def _fault_counts(case: _Live) -> str:
    total = len(case.faults)
    if not total:
        return "no fault was injected"
    unused = case.count(FaultState.UNUSED)
    counts = [
        f"{case.count(state)}/{total - (unused if state is FaultState.PROVEN else 0)} {state}"
        for state in _SHOWN_STATES
    ]
    if unused:
        counts.append(f"{unused} on {'a link' if unused == 1 else 'links'} that nothing used")
    return ", ".join(counts)


_SHOWN_STATES = (FaultState.INJECTED, FaultState.PROVEN, FaultState.HEALED)
#: States of a fault that somebody has to know of at once.
_ALARMS = {
    FaultState.UNPROVEN: "no evidence that it bit",
    FaultState.VANISHED: "vanished before its heal",
    FaultState.HEAL_FAILED: "could not be healed",
}
