"""What a person or a CI reads: handlers over the event stream, and files written from the run folder.

`Terminal` (in terminal.py) shows a run while it goes on. `write_all` turns a run folder into verdict.json, junit.xml,
summary.md and report.html, at the end of a run, after a crash, or for `taskchaos judge DIR`.
All of them take their words from `wording` and `overall`, so they cannot contradict each other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from taskchaos.harness import codec
from taskchaos.harness.errors import TaskchaosError, UsageError
from taskchaos.harness.record import events
from taskchaos.harness.record.layout import CASES, FINAL, MANIFEST
from taskchaos.harness.record.manifest import DamagedError, run_differences
from taskchaos.harness.record.result import CaseDetail, CaseResult, RunProblem, RunResult
from taskchaos.harness.report import json_file, junit, markdown
from taskchaos.harness.report.atomic_write import replace_text
from taskchaos.harness.report.run import Collector

__all__ = ["NotWrittenError", "read_run", "write_all"]

_Details = Mapping[str, CaseDetail]


class NotWrittenError(TaskchaosError):
    """A report could not be written. `result` is that of the run, which stands anyway."""

    def __init__(self, message: str, result: RunResult) -> None:
        super().__init__(message)
        self.result = result


def _page(result: RunResult, details: _Details) -> str:
    from taskchaos.harness.report import html  # late: a live terminal view must not wait for jinja2

    return html.render(result, details)


#: Every file that is written from a run, the one that automation reads first.
_WRITERS: Mapping[str, Callable[[RunResult, _Details], str]] = {
    "verdict.json": lambda result, _: json_file.dumps(result),
    "junit.xml": lambda result, _: junit.dumps(result),
    "summary.md": lambda result, _: markdown.dumps(result),
    "report.html": _page,
}


def write_all(out: Path) -> RunResult:
    """Write every report of the run folder `out` and return the result; a cut-off stream counts as far as it goes.

    Raises UsageError when the folder cannot be read, and NotWrittenError when some of the files could not be written;
    the others are there.
    """
    result, details = read_run(out)
    lost: list[str] = []
    for name, text in _WRITERS.items():
        try:
            replace_text(out / name, text(result, details))
        except TaskchaosError as error:
            lost.append(str(error))
    if lost:
        raise NotWrittenError("; ".join(lost), result)
    return result


def read_run(out: Path) -> tuple[RunResult, Mapping[str, CaseDetail]]:
    """What a run folder comes to, and what there is to draw of its cases. Raises UsageError when it cannot be read."""
    collector = _collected(out)
    for doubt in doubts_about_run(out, collector.result().cases):
        collector.doubt(doubt)
    result = collector.result()
    details, unreadable = _details(out, result)
    return replace(result, problems=(*result.problems, *unreadable)), details


def doubts_about_run(out: Path, cases: Iterable[CaseResult]) -> Iterator[str]:
    """How the run folder differs from what was sealed when the run ended, a line each."""
    if not (out / MANIFEST).is_file():
        yield f"{MANIFEST} is missing: the run was never closed, or its folder is not whole"
        return
    try:
        yield from run_differences(out)
    except DamagedError as error:
        yield str(error)
    for case in cases:
        folder = out / CASES / case.folder.removeprefix(f"{CASES}/")
        if case.rules and not _is_file(folder / FINAL):
            yield f"{case.id} has a verdict and no evidence: {CASES}/{folder.name}/{FINAL} is missing"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False  # a name that no file can have


def _collected(out: Path) -> Collector:
    stream = out / "events.jsonl"
    collector = Collector(out)
    try:
        if not stream.is_file():
            raise UsageError(f"{out} is no run folder: it has no events.jsonl")
        for event in events.read(stream):
            collector.handle(event)
    except OSError as error:
        raise UsageError(f"{stream} cannot be read: {error.strerror or error}") from error
    return collector


def _details(out: Path, result: RunResult) -> tuple[_Details, list[RunProblem]]:
    """What there is to draw of each case, and what could not be read. Cases without a detail are normal."""
    details, unreadable = {}, []
    for case in result.cases:
        try:
            path = _detail_path(out, case)
            if path is not None:
                details[case.id] = codec.decode(CaseDetail, json.loads(path.read_bytes()))
        except (OSError, ValueError, RecursionError) as error:
            text = f"detail.json of {case.id} cannot be read, so its charts are missing: {error}"
            unreadable.append(RunProblem(text))
    return details, unreadable


def _detail_path(out: Path, case: CaseResult) -> Path | None:
    """The case's detail.json: by its id, or, in a merged run, by its folder; never outside the run folder."""
    root = out.resolve()
    for folder in (f"cases/{case.id}", case.folder):
        path = (root / folder / "detail.json").resolve()
        if folder and path.is_relative_to(root) and path.is_file():
            return path
    return None
