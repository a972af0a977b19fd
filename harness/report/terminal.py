"""The terminal view: what happens while it happens, then the verdict.

A case is told once, when it has its verdict: in a line, or, where somebody has to look at it, in a block with the rules
that it is about. On a terminal a live area at the bottom shows how far the run is; a log gets a line now and then that
does, so that its end tells where a hanging run hangs. With Verbosity.ALL every phase is told as well, in a log at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TextIO

from taskchaos.faults.state import FaultState
from taskchaos.harness.clock import NS_PER_S, now_ns
from taskchaos.harness.contract import PhaseName
from taskchaos.harness.errors import TaskchaosError
from taskchaos.harness.fitting import MORE, columns_of, fit, size_of
from taskchaos.harness.record.events import (
    CaseDisturbed,
    CaseJudged,
    CaseLeftOut,
    CasesCollected,
    CaseStarted,
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
from taskchaos.harness.record.result import CaseResult, RunResult
from taskchaos.harness.report import github
from taskchaos.harness.report.ansi import Paint, is_terminal, wrap
from taskchaos.harness.report.live_area import LiveArea
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
from taskchaos.harness.report.progress import AGAIN, Progress
from taskchaos.harness.report.summary import case_block, summary_lines
from taskchaos.harness.verbosity import Verbosity

PLAIN_WIDTH, ROWS = 100, 24  # where there is no terminal to ask
MAX_ID_WIDTH = 48
MAX_TEXT = 2_000  # characters of what is said in one line
MAX_NAME = 200
#: In a run of so many cases at most, what they failed is told although it was expected: somebody looks into it.
FEW_CASES = 2
#: How often a log is told how far the run is.
PROGRESS_S = 30
_PHASE_WIDTH = max(len(p.value) for p in PhaseName)


@dataclass(slots=True)
class _Live:
    """A case that runs."""

    phase: str = "starting"
    lines: list[str] = field(default_factory=list)
    faults: dict[int, set[FaultState]] = field(default_factory=dict)
    held: PhaseEnded | None = None  # the fault phase, told once its faults are healed

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
        verbosity: Verbosity = Verbosity.USUAL,
        colour: bool | None = None,
        width: int | None = None,
        live: bool | None = None,
        on_github: bool | None = None,
    ) -> None:
        """None means: find out from the stream and the environment."""
        self._stream = stream
        self._verbosity = verbosity
        self._quiet = verbosity is Verbosity.QUIET
        self._verbose = verbosity is Verbosity.ALL
        self._live = (is_terminal(stream) if live is None else live) and not self._quiet
        self._github = github.runs_here() if on_github is None else on_github
        self._paint = Paint.on(stream, colour)
        self._given_width = width
        self._area = LiveArea()
        self._progress = Progress()
        self._cases: dict[str, _Live] = {}
        self._told: dict[str, Assessment] = {}  # what was printed of a case
        self._minutes: float | None = None
        self._id_width = 0
        self._progress_ns = 0  # when a log was last told how far the run is
        self._workers = 1
        self._planned = False
        self._shown = ""
        self._server_known = False
        self._blank = False  # whether the last line was
        self._said: set[str] = set()
        self._lost: OSError | None = None  # why the stream cannot be written to any more

    @property
    def _size(self) -> os.terminal_size:
        """The columns and rows that there are now."""
        if self._given_width is not None:
            return os.terminal_size((self._given_width, ROWS))
        if self._stream.isatty():
            return size_of(self._stream, (PLAIN_WIDTH, ROWS))
        wanted = os.environ.get("COLUMNS", "")
        return os.terminal_size((int(wanted) if wanted.isdigit() and int(wanted) else PLAIN_WIDTH, ROWS))

    @property
    def _width(self) -> int:
        return self._size.columns

    def handle(self, event: Event) -> None:
        """Take one event, in order."""
        disturbed = isinstance(event, CaseJudged) and self._progress.is_tried_again(event)
        self._progress.handle(event)
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
            case CaseDisturbed():
                self._case_line(event.case, f"{AGAIN}: {event.reason}", alarm=True)
            case CaseJudged():
                if not disturbed:
                    self._case_judged(event)
            case CaseLeftOut():
                said = f"- {self._name(event.case)}  left out: {cut(event.reason, MAX_TEXT)}"
                self._print([] if self._quiet else [self._paint.dim(self._paint.safe(said))])
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
                self._planned = False
            case _:
                pass
        self._show_progress(event.at_ns)

    def tick(self, *, ending: bool = False) -> None:
        """Show how far the run is while nothing happens. ending: the user has wished it to end."""
        self._progress.ending = ending
        self._show_progress(now_ns())

    def close(self) -> None:
        """Take the live area away; nothing is drawn any more unless something happens."""
        self._planned = False
        self._print([])

    def redraw(self) -> None:
        """Draw the live area below whatever was written meanwhile, by a shell for example."""
        self._area.forget()
        self._shown = ""

    def summary(self, result: RunResult, report_path: Path | None) -> None:
        """Print what a person reads at the end: what was not told yet, verdicts, the outcome, how to run it again.

        Raises TaskchaosError if the output could not be written; that its reader has gone is no error.
        """
        self.close()
        untold = [case for case in result.cases if self._told.get(case.id) is not standing(case)]
        for case in sorted(untold, key=lambda case: standing(case).surprise):
            if self._verbose or standing(case).surprise:
                self._print([] if self._told else [""])
                self._block(case, ())
        lines = summary_lines(result, report_path, self._paint, self._width, verbosity=self._verbosity)
        self._print([*([] if self._blank else [""]), *lines[:-1]])
        if self._github:
            self._write("".join(f"{line}\n" for line in github.commands(result)))
        self._print(lines[-1:])
        if self._lost is not None and not isinstance(self._lost, BrokenPipeError):
            raise TaskchaosError(f"the output could not be written: {self._lost.strerror}") from self._lost

    def _run_started(self, event: RunStarted) -> None:
        self._progress_ns, self._workers, self._minutes = event.at_ns, event.workers, event.minutes
        versions = dict(event.versions)
        own = versions.pop("taskchaos", "")
        target = "no target" if event.target_tps is None else f"target {figure(event.target_tps)}/s"
        facts = [f"seed {event.seed}", f"profile {event.profile}", f"stack {event.stack}", target]
        facts += [f"shard {event.shard}"] if event.shard else []
        with_ = [f"{name} {version}" for name, version in sorted(versions.items())]
        name = self._paint.safe(cut(f"taskchaos {own}".strip(), MAX_NAME))
        first, *more = self._folded([name, *facts])
        lines = [self._paint.bold(name) + first.removeprefix(name), *more]
        lines += [self._paint.dim(line) for line in self._folded(with_)]
        self._print([] if self._quiet else lines)

    def _folded(self, facts: Iterable[str]) -> list[str]:
        """Facts in a line, or on a terminal in as many as it takes, none of them parted."""
        lines: list[str] = []
        for fact in (self._paint.safe(cut(text, MAX_NAME)) for text in facts):
            if lines and not (self._live and columns_of(f"{lines[-1]}  {fact}") > self._width):
                lines[-1] += f"  {fact}"
            else:
                lines.append(fact)
        return lines

    def _cases_collected(self, event: CasesCollected) -> None:
        self._id_width = min(max([self._id_width, *map(len, event.cases)]), MAX_ID_WIDTH)
        if self._planned:
            return
        self._planned = True
        at_once = f", {self._workers} at a time" if self._workers > 1 else ""
        of = f" of {sum(map(len, event.dealt)):,}" if event.dealt else ""
        count = plural(event.count, "case")
        if self._minutes is not None:
            count = f"as many of {count} as fit in {figure(self._minutes)} min"
        self._print([] if self._quiet else [f"{count}{of}{at_once}"])

    def _stack_ready(self, event: StackReady) -> None:
        self._case(event.case).phase = "ready"
        if not self._server_known:
            self._server_known = True
            server = f"{event.server.name} {event.server.version}".strip() or "unknown"
            said = self._paint.safe(f"server {cut(server, MAX_NAME)}, booted in {seconds(event.boot_s)}")
            self._print([] if self._quiet else [said])

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
        lines, result = self._case(event.case).lines, event.result
        del self._cases[event.case]
        few = 0 < self._progress.planned <= FEW_CASES and not self._quiet
        if self._verbose or standing(result).surprise or (few and result.failed_rules):
            self._block(result, lines)
        elif not self._quiet:
            self._told[result.id] = standing(result)
            self._print([self._line(result)])

    def _block(self, case: CaseResult, lines: Iterable[str]) -> None:
        """All that there is to say of a case. lines: what was held back of it."""
        self._told[case.id] = standing(case)
        head, *rest = case_block(case, self._paint, self._width, verbose=self._verbose)
        grouped = self._github and bool(rest)
        self._print([f"::group::{github.data(head)}" if grouped else head], command=grouped)
        self._print([*lines, *rest])
        self._print(["::endgroup::"] if grouped else [""] if rest else [], command=grouped)

    def _line(self, case: CaseResult) -> str:
        """A case in one line; on a terminal one that fits."""
        kind, took = standing(case), seconds(case.wall_s)
        name, phrase = self._name(case.id), self._paint.safe(cut(outcome_phrase(case), MAX_TEXT))
        padded = f"{name}{' ' * (self._id_width - columns_of(name))}"
        if self._live:
            room = self._width - len(took) - 7  # mark, blanks, and what may not be filled
            padded = padded if columns_of(padded + phrase) <= room else name
            phrase = fit(phrase.split(" "), " ", max(room - columns_of(padded), 0), self._paint.safe(MORE))
        return f"{self._paint.mark(kind)} {padded}  {self._paint.tone(kind, phrase)}  {self._paint.dim(took)}"

    def _unfinished(self, kind: Assessment) -> None:
        """What was seen of cases that have no verdict, which nothing else would show."""
        for name, case in self._cases.items():
            if case.lines and not self._quiet:
                mark = self._paint.mark(kind)
                self._print([f"{mark} {self._name(name)}  not judged; {case.phase} when the run ended", *case.lines])
        self._cases.clear()

    def _say(self, kind: Assessment, text: str) -> None:
        """A line about the run; once, although several processes may have the same to say. Quiet: only at the end."""
        line = self._paint.tone(kind, self._paint.safe(cut(f"{MARKS[kind]} {text}", MAX_TEXT)))
        if line not in self._said and not self._quiet:
            self._said.add(line)
            self._print([line])

    def _name(self, case: str) -> str:
        return self._paint.safe(cut(case, MAX_NAME))

    def _case(self, name: str) -> _Live:
        return self._cases.setdefault(name, _Live())

    def _case_line(self, case: str, text: str, *, alarm: bool = False) -> None:
        """A line about a case: kept until its verdict; in a log in which all is told, at once."""
        text = self._paint.safe_columns(cut(text, MAX_TEXT))
        tone = partial(self._paint.tone, Assessment.UNKNOWN) if alarm else self._paint.dim
        if self._verbose and not self._live:
            self._print([f"  {self._name(case):<{self._id_width}}  {tone(text) if alarm else text}"])
        elif alarm or self._verbose:
            self._case(case).lines += [f"    {tone(line)}" for line in wrap(text, self._width, 4)]

    def _print(self, lines: Iterable[str], *, command: bool = False) -> None:
        """Print whole lines where the live area was; it comes back below them. command: they are meant for GitHub."""
        if self._github and not command:
            lines = map(github.harmless, lines)
        lines, self._shown = list(lines), ""
        self._blank = lines[-1] == "" if lines else self._blank
        self._write(self._area.frame("".join(f"{line}\n" for line in lines), (), self._width))

    def _show_progress(self, at_ns: int) -> None:
        if not self._planned or self._quiet:
            return
        if self._live:
            self._draw(at_ns)
        elif at_ns - self._progress_ns >= PROGRESS_S * NS_PER_S:
            self._progress_ns = at_ns
            running = self._progress.running_words()
            said = f"- {self._progress.words(at_ns)}" + (f"; runs: {running}" if running else "")
            self._print([self._paint.dim(self._paint.safe(cut(said, MAX_TEXT)))])

    def _draw(self, at_ns: int) -> None:
        size = self._size
        lines = self._progress.lines(at_ns, self._paint, size)
        shown = f"{size} {lines}"
        if shown != self._shown:
            self._write(self._area.frame("", lines, size.columns))
            self._shown = shown

    def _write(self, text: str) -> None:
        """Write as far as the stream takes it; the run goes on and is judged without a reader."""
        if self._lost is not None:
            return
        try:
            if text:
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
