"""From a case folder to its result: load the history, check it, write verdict and detail. Used live and by `judge`."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

from harness import checker, codec, events
from harness.case import Case
from harness.clock import NS_PER_S
from harness.contract import Contract
from harness.history import History
from harness.history_io import EVENTS, load
from harness.report import story
from harness.result import CaseResult, FaultSummary, WindowRow
from harness.run import at_home
from harness.verdict import OperationCounts, Outcome, Throughput

VERDICT = "verdict.json"
DETAIL = "detail.json"
#: Width of the windows in the report's charts.
WINDOW_S = 0.25


def judge(case: Case, contract: Contract, folder: Path, wall_s: float, *, tries: int = 1) -> CaseResult:
    """Judge what the folder holds, write `verdict.json` and `detail.json` there, and return the result."""
    history = load(
        folder,
        planned=case.workload.operations,
        permanent=case.workload.permanent,
        planned_faults=len(case.schedule.faults),
        slo=case.slo,
        lease_ns=case.stack.settings.visibility_timeout_s * NS_PER_S,
    )
    verdict = checker.check(history, contract)
    failed = verdict.failed
    result = replace(
        _unjudged(case, folder, wall_s),
        outcome=verdict.outcome,
        as_expected=case.expectation.met(verdict.outcome, failed),
        failed_rules=tuple(r.rule for r in verdict.rules if r.rule in failed),
        rules=verdict.rules,
        operations=verdict.operations,
        faults=fault_summaries(history),
        throughput=verdict.throughput,
        tries=tries,
        repairs=history.repairs,
    )
    rows = tuple(_row(w) for w in checker.series(history, WINDOW_S))
    _write(folder / DETAIL, story.detail(history, verdict, rows))
    _write(folder / VERDICT, result)
    return result


def failed_stack(case: Case, folder: Path, error: str, wall_s: float) -> CaseResult:
    """The result of a case that could not be run or healed: unknown, with the error."""
    return replace(_unjudged(case, folder, wall_s), error=error)


def _unjudged(case: Case, folder: Path, wall_s: float) -> CaseResult:
    """What is known of a case before it is judged."""
    return CaseResult(
        id=case.id,
        suite=case.suite,
        scenario=case.scenario,
        subject=case.subject_name,
        seed=case.seed,
        expected=str(case.expectation),
        outcome=Outcome.UNKNOWN,
        as_expected=False,
        control=bool(case.expectation.must),
        failed_rules=(),
        rules=(),
        operations=OperationCounts(),
        faults=(),
        throughput=Throughput(),
        wall_s=round(wall_s, 3),
        replay=replay_line(case, folder),
        folder=folder.name,
        nodeid=case.nodeid,
        spec=case.subject,
    )


def replay_line(case: Case, folder: Path) -> str:
    """The command that runs the case again with the same plan."""
    place = folder.parent.parent
    return (
        f"taskchaos replay {place.name}/{case.id}" if at_home(place) else f"taskchaos replay {shlex.quote(str(folder))}"
    )


def fault_summaries(history: History) -> tuple[FaultSummary, ...]:
    """The faults by kind and target, in the order of their first injection."""
    groups: dict[tuple[str, str], list[tuple[bool, bool]]] = {}
    for fault in history.faults:
        groups.setdefault((fault.kind, fault.target), []).append((fault.proven, fault.healed))
    return tuple(
        FaultSummary(kind, target, len(seen), sum(p for p, _ in seen), sum(h for _, h in seen))
        for (kind, target), seen in groups.items()
    )


def wall_of_folder(folder: Path) -> float:
    """Seconds between the first and the last event of a stored case that were recorded before its verdict."""
    path = folder / EVENTS
    if not path.is_file():
        return 0.0
    times = [e.at_ns for e in events.read(path) if not isinstance(e, events.CaseJudged)]
    return (max(times) - min(times)) / 1e9 if times else 0.0


def _row(window: checker.Window) -> WindowRow:
    return WindowRow(
        begun_s=window.begun_s,
        ended_s=window.ended_s,
        effects=window.effects,
        submits=window.submits,
        effects_per_s=window.effects_per_s,
        p50_ms=window.p50_ms,
        p99_ms=window.p99_ms,
    )


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(codec.encode(value), separators=(",", ":")) + "\n")
