"""What a person or a CI reads: handlers over the event stream, and files written from the run folder.

`Terminal` (harness.report.terminal) shows a run while it goes on. `write_all` turns a run folder into verdict.json,
junit.xml, summary.md and report.html, at the end of a run, after a crash, or for `taskchaos judge DIR`.
All of them take their words from `wording`, so they cannot contradict each other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from harness import codec, events
from harness.errors import UsageError
from harness.report import json_file, junit, markdown
from harness.report.run import Collector
from harness.result import CaseDetail, CaseResult, RunResult

__all__ = ["write_all"]


def write_all(out: Path) -> RunResult:
    """Write every report of the run folder `out` and return the result; a cut-off stream counts as far as it goes."""
    stream = out / "events.jsonl"
    if not stream.is_file():
        raise UsageError(f"{out} is no run folder: it has no events.jsonl")
    collector = Collector()
    for event in events.read(stream):
        collector.handle(event)
    result = collector.result()
    details, unreadable = _details(out, result)
    json_file.write(result, out / "verdict.json")
    junit.write(result, out / "junit.xml")
    markdown.write(result, out / "summary.md")
    from harness.report import html  # late: a live terminal view must not wait for jinja2

    html.write(result, details, out / "report.html", problems=[*collector.problems, *unreadable])
    return result


def _details(out: Path, result: RunResult) -> tuple[Mapping[str, CaseDetail], list[str]]:
    """What there is to draw of each case, and what could not be read. Cases without a detail are normal."""
    details, unreadable = {}, []
    for case in result.cases:
        path = _detail_path(out, case)
        if path is None:
            continue
        try:
            details[case.id] = codec.decode(CaseDetail, json.loads(path.read_bytes()))
        except (OSError, ValueError) as error:
            unreadable.append(f"{path.name} of {case.id} cannot be read, so its charts are missing: {error}")
    return details, unreadable


def _detail_path(out: Path, case: CaseResult) -> Path | None:
    """The case's detail.json: by its id, or, in a merged run, by its folder; never outside the run folder."""
    root = out.resolve()
    for folder in (f"cases/{case.id}", case.folder):
        path = (root / folder / "detail.json").resolve()
        if folder and path.is_relative_to(root) and path.is_file():
            return path
    return None
