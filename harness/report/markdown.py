"""summary.md: what $GITHUB_STEP_SUMMARY shows. GitHub drops a step's summary above 1 MiB, so it is cut below that."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from taskchaos.harness.record.result import CaseResult, RunResult
from taskchaos.harness.report import overall
from taskchaos.harness.report.phrases import (
    Assessment,
    cell,
    complaints,
    cut,
    explain,
    figure,
    one_line,
    seconds,
    standing,
    surprises,
)

MAX_BYTES = 900_000
_MAX_TEXT = 2_000  # of one reason or note
ICONS = {
    Assessment.FAILED: "❌",
    Assessment.MISSED: "❌",
    Assessment.STACK: "⚠️",
    Assessment.SUBJECT: "⚠️",
    Assessment.SUITE: "⚠️",
    Assessment.UNKNOWN: "❔",
    Assessment.INTERRUPTED: "⏹️",
    Assessment.TOLERATED: "☑️",
    Assessment.CAUGHT: "☑️",
    Assessment.PASSED: "✅",
}
_RUN_ICONS = {"pass": "✅", "fail": "❌", "interrupted": "⏹️"}
#: What Markdown may read as markup. Hyphens and dots only matter where a line begins, which no escaped text does.
#: What GitHub makes a mention or a link of, escaped or not, unless something stands in between.
_REFERENCE = re.compile(r"\\[@#](?=[\w])")
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&@$])")


def dumps(result: RunResult) -> str:
    """The text of summary.md."""
    parts = [
        _head(result),
        *_incomplete(result),
        *_whole(result),
        _matrix(result.cases),
        *_findings(result.cases),
        _throughput(result.cases),
        *_notes(result),
    ]
    kept: list[str] = []
    used = left_out = 0
    for part in parts:
        size = len(part.encode("utf-8", "replace"))
        if used + size > MAX_BYTES:
            left_out += 1
        else:
            used += size
            kept.append(part)
    text = "".join(kept)
    if left_out:
        text += f"\n_{left_out} parts are left out: the summary would be too large. See report.html._\n"
    return text


def _head(result: RunResult) -> str:
    icon = _RUN_ICONS.get(overall.word(result), "❔")
    server = f"{result.server.name} {result.server.version}".strip()
    facts = [f"seed {result.seed}", result.profile, result.stack, server, f"{seconds(result.wall_s)}"]
    facts += [f"{name} {version}" for name, version in sorted(result.versions.items())]
    return (
        f"## {icon} taskchaos: {overall.word(result)}\n\n"
        f"{escape(overall.counts_sentence(result))}\n"
        f"Exit code {result.exit_code}: {escape(overall.meaning(result))}.\n\n"
        f"{' · '.join(escape(f) for f in facts if f)}\n"
    )


def _incomplete(result: RunResult) -> Iterator[str]:
    if result.incomplete:
        yield f"\n### Incomplete: {overall.incomplete_phrase(result)} missing\n\n"
    for one in result.incomplete:
        yield f"- **{escape(one.id)}**: {escape(one.reason)}\n"


def _whole(result: RunResult) -> Iterator[str]:
    """What no case tells."""
    told = [one for one in overall.remarks(result) if one.kind]
    if told:
        yield "\n### The run as a whole\n\n"
    for one in told:
        about = f"**{escape(one.about)}** " if one.about else ""
        yield f"- {ICONS[one.kind] if one.kind else ''} {about}{escape(one.text)}\n"


def _notes(result: RunResult) -> Iterator[str]:
    """What is to be known, no more."""
    told = [one for one in overall.remarks(result) if not one.kind]
    if told:
        yield "\n### Notes\n\n"
    for one in told:
        yield f"- {escape(one.sentence)}\n"


def _matrix(cases: Sequence[CaseResult]) -> str:
    if not cases:
        return ""
    subjects = list(dict.fromkeys(c.subject for c in cases))
    suites = list(dict.fromkeys(c.suite for c in cases))
    rows = []
    for subject in subjects:
        row = [f"**{escape(subject)}**"]
        for suite in suites:
            group = [c for c in cases if c.subject == subject and c.suite == suite]
            kind, text = cell(group) if group else (None, "")
            row.append(f"{ICONS[kind]} {escape(text)}" if kind else "")
        rows.append(row)
    return "\n" + _table(["subject", *map(escape, suites)], rows)


def _findings(cases: Sequence[CaseResult]) -> list[str]:
    found = surprises(cases)
    return (["\n### Surprises\n"] if found else []) + [_finding(case) for case in found]


def _finding(case: CaseResult) -> str:
    lines = [f"\n{ICONS[standing(case)]} **{escape(case.id)}**: {escape(explain(case))}", ""]
    before = len(lines)
    for one in complaints(case):
        observed = f", observed {figure(one.observed)}" if one.observed is not None else ""
        text = f"- {one.outcome} `{_code(one.what)}`{escape(observed)}: {escape(one.reason)}"
        text += f" ({escape(one.findings)})" if one.findings else ""
        lines.append(text + (f"; {escape(one.remark)}" if one.remark else ""))
        lines += [f"  - likely cause, {escape(cause)}" for cause in one.causes]
    if len(lines) > before:
        lines.append("")
    lines += ["```sh", _code(case.replay), "```", ""] if case.replay else []
    return "\n".join(lines)


def _throughput(cases: Sequence[CaseResult]) -> str:
    rows = []
    for case in cases:
        speed = case.throughput
        figures = (speed.baseline_tps, speed.fault_tps, speed.healed_tps, speed.target_tps)
        if any(f is not None for f in figures):
            recovery = "" if speed.recovery_s is None else seconds(speed.recovery_s)
            rows.append([escape(case.id), *("" if f is None else figure(f) for f in figures), recovery])
    if not rows:
        return ""
    header = ["case", "baseline/s", "fault/s", "healed/s", "target/s", "recovered in"]
    return "\n### Throughput\n\n" + _table(header, rows, right=True)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: bool = False) -> str:
    align = ["---", *(["---:"] if right else ["---"]) * (len(header) - 1)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, align, *rows))


def escape(text: str) -> str:
    """The text as Markdown that shows it literally, on one line; also inside a table."""
    shown = _SPECIAL.sub(r"\\\1", cut(one_line(text), _MAX_TEXT))
    return _REFERENCE.sub("\\g<0>\u200b", shown)


def _code(text: str) -> str:
    """The text for a code span or block: on one line, no back ticks that could end it."""
    return cut(one_line(text), _MAX_TEXT).replace("`", "'")
