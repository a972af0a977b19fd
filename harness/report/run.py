"""Folds the events of a run into its result; works on a stream that a crash or Ctrl-C cut off."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from taskchaos.faults.state import FaultState
from taskchaos.harness.contract import PhaseName
from taskchaos.harness.errors import ExitCode
from taskchaos.harness.record.events import (
    CaseJudged,
    CaseLeftOut,
    CasesCollected,
    CaseStarted,
    CaseWithdrawn,
    Event,
    FaultChanged,
    NotCollected,
    PhaseEnded,
    Problem,
    RunEnded,
    RunStarted,
    ShardsMerged,
    StackReady,
    TestFailed,
    Unreadable,
)
from taskchaos.harness.record.layout import EVENTS, replay_command
from taskchaos.harness.record.result import (
    CaseResult,
    Expectation,
    FailedTest,
    FaultSummary,
    LeftOut,
    Missing,
    RunProblem,
    RunResult,
    ServerInfo,
    Trouble,
    exit_code,
    run_outcome,
)
from taskchaos.harness.record.verdict import OperationCounts, Outcome, Throughput
from taskchaos.harness.report.phrases import plural

NOT_JUDGED = "ended before it was judged"
NOT_STARTED = "was never started"


@dataclass(slots=True)
class _Case:
    """What is known of one case while its events are read."""

    id: str
    started: CaseStarted | None = None
    judged: CaseResult | None = None
    left_out: str = ""
    withdrawn: bool = False  # not begun, and no part of the plan
    failed: list[TestFailed] = field(default_factory=list)  # its test, for another reason than the verdict
    first_ns: int = 0
    last_ns: int = 0
    faults: dict[int, tuple[str, str, set[FaultState]]] = field(default_factory=dict)
    rates: dict[PhaseName, float] = field(default_factory=dict)

    def see(self, event: Event) -> None:
        self.first_ns = self.first_ns or event.at_ns
        self.last_ns = event.at_ns

    def restart(self, event: CaseStarted) -> None:
        """A case that starts again (a re-run) begins afresh: an older verdict no longer counts."""
        self.started, self.judged, self.first_ns, self.withdrawn = event, None, 0, False
        self.failed.clear()
        self.faults.clear()
        self.rates.clear()

    def result(self, run: RunStarted | None, place: Path | None, *, interrupted: bool) -> CaseResult:
        """The verdict with what became of the test, or a result that says why there is none.

        An unexpected verdict stays one whatever else failed: that is then in `besides`.
        """
        result = _sound(self.judged) if self.judged else self._not_judged(run, place, interrupted=interrupted)
        if not self.failed:
            return result
        why = "; ".join(f"{f.reason} ({f.when} of {f.test})" for f in self.failed)
        if result.trouble not in (None, Trouble.MISSING):
            return replace(result, error=f"{result.error}; besides, {why}")
        if result.trouble is None and any(f.assertion for f in self.failed):
            return replace(result, as_expected=False, assertion=why)
        if _unexpected(result):
            return result
        return replace(result, as_expected=False, outcome=Outcome.UNKNOWN, error=why, trouble=Trouble.SUITE)

    def besides(self, result: CaseResult | None) -> Iterator[FailedTest]:
        """The failures of its test that its result does not tell. None: the case has no place in the run."""
        if result is None or (_unexpected(result) and not result.assertion):
            yield from map(_failed_test, self.failed)

    def _not_judged(self, run: RunStarted | None, place: Path | None, *, interrupted: bool) -> CaseResult:
        about = self.started
        suite, scenario, subject = (about.suite, about.scenario, about.subject) if about else case_parts(self.id)
        return CaseResult(
            id=self.id,
            suite=suite,
            scenario=scenario,
            subject=subject,
            seed=run.seed if run else 0,
            expected=about.expected if about else Expectation(),
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
            replay=self._replay(run, place),
            folder=about.folder if about else "",
            error=NOT_JUDGED if about else NOT_STARTED,
            trouble=Trouble.INTERRUPTED if interrupted else Trouble.MISSING,
        )

    def _replay(self, run: RunStarted | None, place: Path | None) -> str:
        """What runs it again; nothing does if it was never started, because its plan was never stored."""
        if self.started is None:
            return ""
        if place is not None:
            return replay_command(place, self.id)
        return f"taskchaos replay {run.run}/{self.id}" if run else f"taskchaos replay {self.id}"


def _sound(result: CaseResult) -> CaseResult:
    """A stored verdict that does not contradict itself. An error of before there were troubles was the stack's."""
    trouble = result.trouble or (Trouble.STACK if result.error else None)
    proven = not trouble and not result.assertion and result.outcome is not Outcome.UNKNOWN
    return replace(result, trouble=trouble, as_expected=result.as_expected and proven)


def _unexpected(result: CaseResult) -> bool:
    """Whether there is a verdict, and another one than was expected."""
    return not (result.trouble or result.as_expected or result.outcome is Outcome.UNKNOWN)


def _failed_test(event: TestFailed) -> FailedTest:
    during = "" if event.when == "call" else f" (in its {event.when})"
    return FailedTest(event.test, event.assertion, event.reason + during)


class Collector:
    """A handler that keeps what the result of the run needs. folder: that of the run, if there is one."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._run: RunStarted | None = None
        self._server = ServerInfo()
        self._cases: dict[str, _Case] = {}
        self._collected: int | None = None
        self._ended: RunEnded | None = None
        self._span_ns: tuple[int, int] | None = None
        self._doubts: list[str] = []
        self._problems: list[RunProblem] = []
        self._failed: list[FailedTest] = []
        self._dealt: tuple[tuple[str, ...], ...] = ()
        self._missing: tuple[Missing, ...] = ()

    def handle(self, event: Event) -> None:
        """Take one event, in order."""
        if not isinstance(event, CaseJudged):  # which `taskchaos judge` may have added long after the run
            first, _ = self._span_ns or (event.at_ns, 0)
            self._span_ns = (min(first, event.at_ns), event.at_ns)
        match event:
            case RunStarted():
                self._run = self._run or event
            case CasesCollected():
                # Every xdist worker may say so; the count is the same for all.
                self._collected = max(self._collected or 0, event.count)
                self._dealt = event.dealt or self._dealt
                for planned in event.cases:
                    self._case(planned)
            case ShardsMerged():
                self._missing = event.missing
            case RunEnded():
                self._ended = event
            case Problem():
                self._problem(event)
            case Unreadable():
                self._doubts.append(f"{plural(event.lines, 'line')} of {EVENTS} cannot be read")
            case NotCollected():
                self._failed.append(FailedTest(event.where, False, event.reason, collected=False))
            case TestFailed() if not event.case:
                self._failed.append(_failed_test(event))
            case _:
                self._handle_case(event)

    def doubt(self, text: str) -> None:
        """The run proves nothing, for this reason."""
        self._doubts.append(text)

    def _problem(self, event: Problem) -> None:
        if event.doubt:
            self._doubts.append(event.text)
        if event.usage or event.stack or not event.doubt:
            self._problems.append(RunProblem(event.text, event.usage, event.stack))

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
            case CaseWithdrawn():
                case.withdrawn = case.started is None
            case TestFailed():
                case.failed.append(event)
            case _:
                pass
        case.see(event)

    def _case(self, name: str) -> _Case:
        return self._cases.setdefault(name, _Case(name))

    def result(self) -> RunResult:
        """The run as far as it is known."""
        run, ended = self._run, self._ended
        incomplete = tuple(m for m in self._missing if not self._known(m.id))
        interrupted = ended is not None and ended.interrupted
        cases, failed_tests = self._judgements({m.id for m in incomplete}, interrupted=interrupted)
        doubts = tuple(dict.fromkeys((*self._doubts, *self._gaps(cases, failed_tests))))
        code = self._exit_code(cases, failed_tests, interrupted, whole=not incomplete and not doubts)
        first, last = self._span_ns or (0, 0)
        return RunResult(
            run=run.run if run else "",
            seed=run.seed if run else 0,
            stack=run.stack if run else "",
            profile=run.profile if run else "",
            server=self._server,
            versions=dict(run.versions) if run else {},
            outcome=run_outcome(code),
            exit_code=int(code),
            wall_s=(ended.wall_s if ended else 0.0) or (last - first) / 1e9,
            cases=cases,
            started=run.started if run else "",
            interrupted=interrupted,
            left_out=tuple(LeftOut(c.id, c.left_out) for c in self._cases.values() if c.left_out),
            shard=run.shard if run else None,
            selection=tuple(case for hand in self._dealt for case in hand),
            incomplete=incomplete,
            suites=run.suites if run else (),
            subjects=run.subjects if run else (),
            chosen=run.chosen if run else (),
            configured=run.configured if run else (),
            failed_tests=failed_tests,
            doubts=doubts,
            problems=tuple(dict.fromkeys(self._problems)),
        )

    def _judgements(
        self, missing: set[str], *, interrupted: bool
    ) -> tuple[tuple[CaseResult, ...], tuple[FailedTest, ...]]:
        """What is known of each case, and every failure of a test that no case tells; each once."""
        cases: list[CaseResult] = []
        failed = list(self._failed)  # each shard, and each of its processes, cannot collect the same file
        for case in self._cases.values():
            result = None
            if not (case.left_out or case.withdrawn) and case.id not in missing:
                result = case.result(self._run, self._folder, interrupted=interrupted)
                cases.append(result)
            failed += case.besides(result)
        return tuple(cases), tuple(dict.fromkeys(failed))

    def _exit_code(
        self, cases: tuple[CaseResult, ...], failed_tests: tuple[FailedTest, ...], interrupted: bool, *, whole: bool
    ) -> ExitCode:
        started = any(case.started is not None for case in self._cases.values())
        not_collected = any(not test.collected for test in failed_tests)
        if any(p.usage for p in self._problems) or (not_collected and not started and not interrupted):
            return ExitCode.USAGE
        code = exit_code(cases, failed_tests, interrupted=interrupted)
        if any(p.stack for p in self._problems) and code in (ExitCode.PASS, ExitCode.UNKNOWN):
            return ExitCode.STACK
        if code is ExitCode.PASS and not whole:
            return ExitCode.UNKNOWN  # what is missing might have failed
        if not cases and not failed_tests and not interrupted and any(self._dealt) and whole:
            return ExitCode.PASS  # nothing fell to this shard, or nothing that applies: the other shards prove the run
        return code

    def _gaps(self, cases: tuple[CaseResult, ...], failed_tests: tuple[FailedTest, ...]) -> Iterator[str]:
        """What the stream lacks for being the record of a whole run."""
        ended = self._ended
        if self._run is None:
            yield "the record of the run has no beginning"
        if ended is None:
            yield "the run was cut off: its end is not recorded"
        elif ended.interrupted:
            return  # which says why the rest is not there
        if self._collected is None and not self._missing and self._span_ns is not None:
            yield "which cases were to run is not recorded"
        there = set(self._cases) | {m.id for m in self._missing if not m.id.startswith("shard ")}
        short = (self._collected or 0) - len(there)
        if short > 0:
            yield f"{short} of the cases that were collected are not in the record"
        if ended is not None and ended.status not in (None, 0, 5) and not self._explained(cases, failed_tests):
            yield f"pytest ended with exit code {ended.status}, which no case and no test explains"

    def _explained(self, cases: tuple[CaseResult, ...], failed_tests: tuple[FailedTest, ...]) -> bool:
        """Whether something that pytest saw fail is in the record."""
        grave = any(p.usage or p.stack for p in self._problems)
        return bool(failed_tests) or grave or any(not case.as_expected for case in cases)

    def _known(self, name: str) -> bool:
        """Whether a case has a verdict, or a reason for having none."""
        case = self._cases.get(name)
        return case is not None and (case.judged is not None or bool(case.left_out))


def collect(events: Iterable[Event]) -> RunResult:
    """The result of a run from its events. The latest verdict of a case counts."""
    collector = Collector()
    for event in events:
        collector.handle(event)
    return collector.result()


#: The states that a summary counts, in the order of its fields.
_COUNTED = (FaultState.INJECTED, FaultState.PROVEN, FaultState.HEALED, FaultState.VANISHED, FaultState.UNUSED)


def _summaries(faults: Iterable[tuple[str, str, set[FaultState]]]) -> tuple[FaultSummary, ...]:
    sums: dict[tuple[str, str], list[int]] = {}
    for kind, target, states in faults:
        row = sums.setdefault((kind, target), [0] * len(_COUNTED))
        for i, state in enumerate(_COUNTED):
            row[i] += state in states
    return tuple(FaultSummary(kind, target, *row) for (kind, target), row in sums.items())


def case_parts(case: str) -> tuple[str, str, str]:
    """Suite, scenario and subject from an id such as `worker_kill.tree.stock_best`, as far as it has them."""
    suite, _, rest = case.partition(".")
    scenario, _, subject = rest.partition(".")
    return suite, scenario, subject
