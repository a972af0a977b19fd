"""Folds the events of a run into its result; works on a stream that a crash or Ctrl-C cut off."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from harness.contract import PhaseName
from harness.errors import ExitCode
from harness.events import (
    CaseJudged,
    CaseLeftOut,
    CasesCollected,
    CaseStarted,
    Event,
    FaultChanged,
    PhaseEnded,
    Problem,
    RunEnded,
    RunStarted,
    ShardsMerged,
    StackReady,
)
from harness.result import CaseResult, FaultSummary, LeftOut, Missing, RunResult, ServerInfo, exit_code, run_outcome
from harness.verdict import OperationCounts, Outcome, Throughput

NOT_JUDGED = "ended before it was judged"
NOT_STARTED = "was never started"


@dataclass(slots=True)
class _Case:
    """What is known of one case while its events are read."""

    id: str
    started: CaseStarted | None = None
    judged: CaseResult | None = None
    left_out: str = ""
    first_ns: int = 0
    last_ns: int = 0
    faults: dict[int, tuple[str, str, set[str]]] = field(default_factory=dict)
    rates: dict[PhaseName, float] = field(default_factory=dict)

    def see(self, event: Event) -> None:
        self.first_ns = self.first_ns or event.at_ns
        self.last_ns = event.at_ns

    def restart(self, event: CaseStarted) -> None:
        """A case that starts again (a re-run) begins afresh: an older verdict no longer counts."""
        self.started, self.judged, self.first_ns = event, None, 0
        self.faults.clear()
        self.rates.clear()

    def result(self, seed: int) -> CaseResult:
        """The verdict, or a result that says why there is none."""
        if self.judged is not None:
            return self.judged
        about = self.started
        suite, scenario, subject = (about.suite, about.scenario, about.subject) if about else case_parts(self.id)
        return CaseResult(
            id=self.id,
            suite=suite,
            scenario=scenario,
            subject=subject,
            seed=seed,
            expected=about.expected if about else "pass",
            outcome=Outcome.UNKNOWN,
            as_expected=False,
            control=about.control if about else False,
            failed_rules=(),
            rules=(),
            operations=OperationCounts(),
            faults=_summaries(self.faults.values()),
            throughput=Throughput(
                baseline_tps=self.rates.get(PhaseName.BASELINE),
                fault_tps=self.rates.get(PhaseName.FAULT),
                healed_tps=self.rates.get(PhaseName.HEALED),
            ),
            wall_s=(self.last_ns - self.first_ns) / 1e9,
            replay=f"taskchaos replay {self.id}",
            folder=about.folder if about else "",
            error=NOT_JUDGED if about else NOT_STARTED,
        )


class Collector:
    """A handler that keeps what the result of the run needs."""

    def __init__(self) -> None:
        self._run: RunStarted | None = None
        self._server = ServerInfo()
        self._cases: dict[str, _Case] = {}
        self._collected = 0
        self._ended: RunEnded | None = None
        self._span_ns: tuple[int, int] | None = None
        self._usage = False
        self._dealt: tuple[tuple[str, ...], ...] = ()
        self._missing: tuple[Missing, ...] = ()
        self.problems: list[str] = []

    def handle(self, event: Event) -> None:
        """Take one event, in order."""
        first, _ = self._span_ns or (event.at_ns, 0)
        self._span_ns = (min(first, event.at_ns), event.at_ns)
        match event:
            case RunStarted():
                self._run = self._run or event
            case CasesCollected():
                # Every xdist worker may say so; the count is the same for all.
                self._collected = max(self._collected, event.count)
                self._dealt = event.dealt
                for planned in event.cases:
                    self._case(planned)
            case ShardsMerged():
                self._missing = event.missing
            case RunEnded():
                self._ended = event
            case Problem():
                self.problems.append(event.text)
                self._usage = self._usage or event.usage
            case _:
                self._handle_case(event)

    def _handle_case(self, event: Event) -> None:
        name = getattr(event, "case", None)
        if name is None:
            return
        case = self._case(name)
        match event:
            case CaseStarted():
                case.restart(event)
            case StackReady() if event.server.name:
                self._server = event.server
            case PhaseEnded():
                case.rates[event.phase] = event.done_tps
            case FaultChanged():
                case.faults.setdefault(event.fault, (event.kind, event.target, set()))[2].add(event.state)
            case CaseJudged():
                case.judged = event.result
            case CaseLeftOut():
                case.left_out = event.reason
            case _:
                pass
        case.see(event)

    def _case(self, name: str) -> _Case:
        return self._cases.setdefault(name, _Case(name))

    def result(self) -> RunResult:
        """The run as far as it is known."""
        run, ended = self._run, self._ended
        seed = run.seed if run else 0
        incomplete = tuple(m for m in self._missing if not self._known(m.id))
        missing = {m.id for m in incomplete}
        cases = tuple(c.result(seed) for c in self._cases.values() if not c.left_out and c.id not in missing)
        left_out = tuple(LeftOut(c.id, c.left_out) for c in self._cases.values() if c.left_out)
        interrupted = ended is not None and ended.interrupted
        code = self._exit_code(cases, interrupted, whole=not incomplete and self._complete(cases))
        first, last = self._span_ns or (0, 0)
        return RunResult(
            run=run.run if run else "",
            seed=seed,
            stack=run.stack if run else "",
            profile=run.profile if run else "",
            server=self._server,
            versions=dict(run.versions) if run else {},
            outcome=run_outcome(code),
            exit_code=int(code),
            wall_s=ended.wall_s if ended else (last - first) / 1e9,
            cases=cases,
            started=run.started if run else "",
            interrupted=interrupted,
            left_out=left_out,
            shard=run.shard if run else None,
            selection=tuple(case for hand in self._dealt for case in hand),
            incomplete=incomplete,
            chosen=run.chosen if run else (),
        )

    def _exit_code(self, cases: tuple[CaseResult, ...], interrupted: bool, *, whole: bool) -> ExitCode:
        if self._usage:
            return ExitCode.USAGE
        code = exit_code(cases, interrupted=interrupted)
        if code is ExitCode.PASS and not whole:
            return ExitCode.UNKNOWN  # what is missing might have failed
        if not cases and not interrupted and any(self._dealt) and whole:
            return ExitCode.PASS  # nothing fell to this shard, or nothing that applies: the other shards prove the run
        return code

    def _known(self, name: str) -> bool:
        """Whether a case has a verdict, or a reason for having none."""
        case = self._cases.get(name)
        return case is not None and (case.judged is not None or bool(case.left_out))

    def _complete(self, cases: tuple[CaseResult, ...]) -> bool:
        """Whether every case that was to run is there. A stream without an end and without a plan cannot show it."""
        left_out = sum(bool(case.left_out) for case in self._cases.values())
        return len(cases) + left_out >= self._collected and (self._ended is not None or self._collected > 0)


def collect(events: Iterable[Event]) -> RunResult:
    """The result of a run from its events. The latest verdict of a case counts."""
    collector = Collector()
    for event in events:
        collector.handle(event)
    return collector.result()


def _summaries(faults: Iterable[tuple[str, str, set[str]]]) -> tuple[FaultSummary, ...]:
    sums: dict[tuple[str, str], list[int]] = {}
    for kind, target, states in faults:
        row = sums.setdefault((kind, target), [0, 0, 0])
        for i, state in enumerate(("injected", "proven", "healed")):
            row[i] += state in states
    return tuple(FaultSummary(kind, target, *row) for (kind, target), row in sums.items())


def case_parts(case: str) -> tuple[str, str, str]:
    """Suite, scenario and subject from an id such as `worker_kill.tree.stock_best`, as far as it has them."""
    suite, _, rest = case.partition(".")
    scenario, _, subject = rest.partition(".")
    return suite, scenario, subject
