"""The history of runs, and of cases in them, as lines and as JSON."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Sequence
from typing import Any

from taskchaos.harness.report.phrases import cut, seconds
from taskchaos.harness.run.history import CaseHistory, RunRow, RunState

#: Of a run's suites and subjects so many are named.
_NAMED = 3
_LONGEST = 100
_MARKS = {True: "✗", False: "✓", None: "?"}


def run_lines(rows: Sequence[RunRow], flaky: Sequence[CaseHistory], last: int) -> Iterator[str]:
    """A line for each run, newest first; below them the flaky cases."""
    if not rows:
        yield "no runs in .taskchaos/runs"
        return
    head = ("run", "when", "came to", "cases", "surprises", "took", "what")
    table: list[tuple[str, ...]] = [head, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        yield "  ".join(text.ljust(width) for text, width in zip(cells, widths, strict=True)).rstrip()
    if flaky:
        yield ""
        yield f"Flaky in the last {last} runs that have the case (it passed and failed with the same plan):"
        yield from (f"  {line}" for line in _case_table(flaky))


def _cells(row: RunRow) -> tuple[str, ...]:
    when = datetime.datetime.fromtimestamp(row.started_s).strftime("%Y-%m-%d %H:%M") if row.started_s else "-"
    what = f"{_some(row.suites)} / {_some(row.subjects)}" if row.cases else ""
    state = row.outcome if row.state is RunState.ENDED and row.outcome else row.state.value
    told = "; ".join(text for text in (what, cut(row.why, _LONGEST)) if text)
    cases, surprises = (str(len(row.cases)), str(row.surprises)) if row.cases else ("-", "-")
    return (row.name, when, state, cases, surprises, seconds(row.wall_s), told)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" +{len(names) - _NAMED}" if len(names) > _NAMED else "")


def case_lines(cases: Sequence[CaseHistory], pattern: str) -> Iterator[str]:
    """How often each case failed in its last runs."""
    if not cases:
        yield f"no case matches {pattern!r} in the runs of .taskchaos/runs"
        return
    yield from _case_table(cases)


def _case_table(cases: Sequence[CaseHistory]) -> Iterator[str]:
    width = max(len(case.id) for case in cases)
    for case in cases:
        marks = "".join(_MARKS[outcome] for outcome in reversed(case.outcomes))
        unknown = len(case.outcomes) - case.decided
        text = f"{case.id:<{width}}  failed {case.failed} of {case.decided}"
        text += f", {case.unexpected} unexpected" if case.unexpected else ""
        text += f", {unknown} unknown" if unknown else ""
        yield f"{text}  {marks}{'  flaky' if case.flaky else ''}"


def dumps(rows: Sequence[RunRow], cases: Sequence[CaseHistory], *, of_cases: bool) -> str:
    """The runs as JSON, or the cases."""
    return json.dumps([_case(case) for case in cases] if of_cases else [_run(row) for row in rows], indent=1)


def _run(row: RunRow) -> dict[str, Any]:
    started = datetime.datetime.fromtimestamp(row.started_s, datetime.UTC).isoformat(timespec="seconds")
    return {
        "run": row.name,
        "started": started,
        "state": row.state.value,
        "outcome": row.outcome,
        "cases": len(row.cases),
        "surprises": row.surprises,
        "wall_s": row.wall_s,
        "suites": row.suites,
        "subjects": row.subjects,
        "why": row.why,
    }


def _case(case: CaseHistory) -> dict[str, Any]:
    """outcomes: newest first; true: it failed, null: no verdict."""
    return {
        "case": case.id,
        "failed": case.failed,
        "decided": case.decided,
        "unexpected": case.unexpected,
        "outcomes": case.outcomes,
        "flaky": case.flaky,
    }
