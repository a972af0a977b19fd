"""From a case folder to its result: load the history, check it, write verdict and detail. Used live and by `judge`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from taskchaos.harness import checker, codec
from taskchaos.harness.case.plan import Case
from taskchaos.harness.judge import story
from taskchaos.harness.judge.causes import causes
from taskchaos.harness.judge.load import told_load
from taskchaos.harness.judge.logs import log_names, read_logs
from taskchaos.harness.judge.reader import load
from taskchaos.harness.judge.ways import ways
from taskchaos.harness.record import events, wire
from taskchaos.harness.record.history import FaultInterval, History
from taskchaos.harness.record.layout import EVENTS, replay_command
from taskchaos.harness.record.manifest import DamagedError, unseal_case
from taskchaos.harness.record.result import CaseResult, FaultSummary, Trouble
from taskchaos.harness.record.verdict import OperationCounts, Outcome, Rule, RuleResult, Throughput

VERDICT = "verdict.json"
DETAIL = "detail.json"
#: Width of the windows in the report's charts.
WINDOW_S = 0.25


def judge(case: Case, folder: Path, wall_s: float, *, tries: int = 1) -> CaseResult:
    """Judge what the folder holds, write `verdict.json` and `detail.json` there, and return the result.

    Evidence that is not what was sealed makes every rule unknown. Raises OSError when the result cannot be written.
    """
    try:
        state, damage = unseal_case(folder)
        if damage:
            raise DamagedError("; ".join(damage[:3]) + (f"; and {len(damage) - 3} more" if len(damage) > 3 else ""))
        history = load(folder, case, state)
        verdict = checker.check(history, case.contract)
        commands = wire.read(folder)
    except (DamagedError, OSError) as error:
        return _undecided(case, folder, wall_s, str(error), tries)
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
        releases=history.releases,
        baseline=baseline_note(case, failed),
        causes=causes(history, verdict, commands),
    )
    windows = checker.series(history, WINDOW_S)
    logs = read_logs(folder, history.faults) if failed else ()
    told = story.detail(history, verdict, windows, commands or (), logs)
    tasks = ways(history, case.contract)
    _write(folder / DETAIL, replace(told, tasks=tasks, logs=log_names(folder), load=told_load(case)))
    _write(folder / VERDICT, result)
    return result


def damaged(result: CaseResult, why: str) -> CaseResult:
    """An earlier result whose evidence is not what it was any more: every rule is unknown."""
    rules = tuple(RuleResult(rule, Outcome.UNKNOWN, "", None, f"the evidence is damaged: {why}") for rule in Rule)
    return replace(result, outcome=Outcome.UNKNOWN, as_expected=False, failed_rules=(), rules=rules, baseline="")


def _undecided(case: Case, folder: Path, wall_s: float, why: str, tries: int) -> CaseResult:
    """A result in which every rule is unknown for the same reason."""
    return damaged(replace(_unjudged(case, folder, wall_s), tries=tries), why)


def baseline_note(case: Case, failed: frozenset[Rule]) -> str:
    """What stock Celery at its best is known to come to here, when that may explain a loss."""
    known = case.baseline.must | case.baseline.may
    if Rule.LOST not in failed or Rule.LOST not in known:
        return ""
    how = "loses tasks here too" if Rule.LOST in case.baseline.must else "may lose tasks here too, by chance"
    return f"stock Celery with its best settings {how}: the loss may be that of Celery's Redis transport, not yours"


def no_verdict(case: Case, folder: Path, error: str, trouble: Trouble, wall_s: float) -> CaseResult:
    """The result of a case that could not be run or healed: unknown, with the error and whose it is."""
    return replace(_unjudged(case, folder, wall_s), error=error, trouble=trouble)


def _unjudged(case: Case, folder: Path, wall_s: float) -> CaseResult:
    """What is known of a case before it is judged."""
    return CaseResult(
        id=case.id,
        suite=case.suite,
        scenario=case.scenario,
        subject=case.subject_name,
        seed=case.seed,
        expected=case.expectation,
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
    return replay_command(folder.parent.parent, case.id)


def fault_summaries(history: History) -> tuple[FaultSummary, ...]:
    """The faults by kind and target, in the order of their first injection."""
    groups: dict[tuple[str, str], list[FaultInterval]] = {}
    for fault in history.faults:
        groups.setdefault((fault.kind, fault.target), []).append(fault)
    return tuple(
        FaultSummary(
            kind,
            target,
            injected=len(seen),
            proven=sum(f.proven for f in seen),
            healed=sum(f.healed for f in seen),
            vanished=sum(not f.held for f in seen),
            unused=sum(f.unused for f in seen),
        )
        for (kind, target), seen in groups.items()
    )


def wall_of_folder(folder: Path) -> float:
    """Seconds between the first and the last event of a stored case that were recorded before its verdict."""
    path = folder / EVENTS
    if not path.is_file():
        return 0.0
    times = [e.at_ns for e in events.read(path) if not isinstance(e, events.CaseJudged)]
    return (max(times) - min(times)) / 1e9 if times else 0.0


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(codec.encode(value), separators=(",", ":")) + "\n", encoding="utf-8")
