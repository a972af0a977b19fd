"""What stands at the end of a terminal run: the rules of cases worth reading, the verdict table, the outcome."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.report.paint import Paint, wrap
from harness.report.wording import (
    Standing,
    cell,
    counts_sentence,
    demand,
    exit_phrase,
    explain,
    figure,
    incomplete_phrase,
    outcome_phrase,
    rate,
    samples_phrase,
    seconds,
    standing,
    surprises,
)
from harness.result import CaseResult, RunResult
from harness.verdict import SLO_RULES, Outcome, RuleResult

#: Up to so many cases, every rule of every case is shown.
FEW_CASES = 2
#: Most missing shards and cases that are named.
MISSING_NAMED = 20
_MIN_REASON = 30  # narrower than this, a reason goes on lines of its own


def summary_lines(
    result: RunResult,
    report_path: Path | None,
    paint: Paint,
    width: int,
    *,
    verbose: bool = False,
    problems: Sequence[str] = (),
) -> list[str]:
    """All lines of the summary, without line ends."""
    lines: list[str] = []
    # A long run tells only its surprises rule by rule: the rest is in the table and in the report.
    few = len(result.cases) <= FEW_CASES
    told = [c for c in result.cases if verbose or few or standing(c).surprise]
    for case in sorted(told, key=lambda c: standing(c).surprise):
        lines += [*case_block(case, paint, width), ""]
    lines += verdict_table(result.cases, paint, width)
    lines += [*wrap(counts_sentence(result), width, 0)]
    found = surprises(result.cases)
    for case in found:
        first, *rest = wrap(paint.safe(explain(case)), width, 2)
        lines += [f"{paint.mark(standing(case))} {first}", *(f"  {line}" for line in rest)]
    lines += _incomplete(result, paint)
    for problem in problems:
        first, *rest = wrap(paint.safe(problem), width, 2)
        lines += [f"! {first}", *(f"  {line}" for line in rest)]
    lines.append("")
    if report_path is not None:
        lines.append(f"Report:  {paint.safe(str(report_path))}")
    again = found or list(result.cases if len(result.cases) == 1 else ())
    lines += [f"Again:   {paint.safe(case.replay)}" for case in again if case.replay]
    lines.append(outcome_line(result, paint))
    return lines


def _incomplete(result: RunResult, paint: Paint) -> list[str]:
    """What a merged run lacks; in a line each, however wide the terminal is, so that a search finds them."""
    if not result.incomplete:
        return []
    lines = [f"! {paint.bold(f'Incomplete: {incomplete_phrase(result)} missing')}"]
    lines += [f"  {paint.safe(m.id)}: {paint.safe(m.reason)}" for m in result.incomplete[:MISSING_NAMED]]
    more = len(result.incomplete) - MISSING_NAMED
    return lines + ([f"  and {more} more, see verdict.json"] if more > 0 else [])


def outcome_line(result: RunResult, paint: Paint) -> str:
    """The outcome and what the exit code means."""
    word = paint.bold(paint.tone(result.outcome, result.outcome.value.upper()))
    meaning = exit_phrase(result.exit_code)
    return f"{word} in {seconds(result.wall_s)}: {meaning} (exit code {result.exit_code})"


def case_block(case: CaseResult, paint: Paint, width: int) -> list[str]:
    """Every rule of one case, invariants first."""
    kind = standing(case)
    # What is long stands below: an unknown rule's reason in the table, a stack error on a line of its own.
    short = {Standing.UNKNOWN: "unknown", Standing.STACK: "stack error"}
    phrase = short.get(kind) or paint.safe(outcome_phrase(case))
    head = f"{paint.mark(kind)} {paint.bold(paint.safe(case.id))}  {phrase}"
    lines = [f"{head}  {seconds(case.wall_s)}", *_figures(case, paint)]
    if case.error:
        lines += [f"  {line}" for line in wrap(paint.safe(case.error), width, 2)]
    for title, rules in (
        ("INVARIANTS", [r for r in case.rules if r.rule not in SLO_RULES]),
        ("SLO", [r for r in case.rules if r.rule in SLO_RULES]),
    ):
        if rules:
            lines += _rule_table(title, rules, paint, width)
    return lines


def _figures(case: CaseResult, paint: Paint) -> list[str]:
    counts, speed = case.operations, case.throughput
    lines = []
    if counts.submitted:
        told = [("submitted", counts.submitted), ("acknowledged", counts.acknowledged), ("refused", counts.refused)]
        told += [("unknown", counts.unknown), ("effects", counts.effects), ("dead", counts.dead)]
        lines.append("  " + ", ".join(f"{figure(n)} {word}" for word, n in told if n or word == "submitted"))
    rates = [("baseline", speed.baseline_tps), ("fault", speed.fault_tps), ("healed", speed.healed_tps)]
    parts = [f"{name} {rate(tps)}" for name, tps in rates if tps is not None]
    if speed.recovery_s is not None:
        parts.append(f"recovered in {seconds(speed.recovery_s)}")
    if parts:
        lines.append("  " + ", ".join(parts))
    return [paint.dim(line) for line in lines]


def _rule_table(title: str, rules: Sequence[RuleResult], paint: Paint, width: int) -> list[str]:
    names = max(len(title) - 2, *(len(r.rule.value) for r in rules))
    demands = max(len("demanded"), *(len(paint.safe(demand(r))) for r in rules))
    seen = max(len("observed"), *(len(_observed(r)) for r in rules))
    start = 4 + 2 + names + 2 + demands + 2 + seen + 2
    indent = start if width - start >= _MIN_REASON else 8
    lines = [
        f"  {paint.bold(title)}{' ' * (names + 4 - len(title))}  " + paint.dim(f"{'demanded':<{demands}}  observed")
    ]
    for rule in rules:
        if rule.outcome is Outcome.NOT_CLAIMED:
            lines.append(f"    {paint.mark(rule.outcome)} " + paint.dim(f"{rule.rule.value:<{names}}  not claimed"))
            continue
        columns = f"{rule.rule.value:<{names}}  {paint.safe(demand(rule)):<{demands}}  {_observed(rule):>{seen}}"
        text = "; ".join(filter(None, (paint.safe(rule.reason), paint.safe(samples_phrase(rule.samples)))))
        reason = wrap(text, width, indent)
        beside = reason.pop(0) if indent == start else ""
        lines.append(f"    {paint.mark(rule.outcome)} {columns}  {beside}".rstrip())
        lines += [" " * indent + line for line in reason if line]
    return lines


def _observed(rule: RuleResult) -> str:
    return "not measured" if rule.observed is None else figure(rule.observed)


def verdict_table(cases: Sequence[CaseResult], paint: Paint, width: int) -> list[str]:
    """Subjects down, suites across; scenarios of a suite share a cell, which shows the worst of them.

    A table wider than the terminal is cut into several below each other.
    """
    if not cases:
        return []
    subjects = list(dict.fromkeys(c.subject for c in cases))
    suites = list(dict.fromkeys(c.suite for c in cases))
    cells = {
        (subject, suite): cell(group)
        for subject in subjects
        for suite in suites
        if (group := [c for c in cases if c.subject == subject and c.suite == suite])
    }
    first = max(len("subject"), *(len(paint.safe(s)) for s in subjects))
    widths = {
        suite: max(len(paint.safe(suite)), *(len(cells[s, suite][1]) for s in subjects if (s, suite) in cells))
        for suite in suites
    }
    lines = [paint.bold("VERDICTS")]
    for columns in _chunks(suites, widths, width - first - 2):
        header = "  ".join([f"{'subject':<{first}}", *(f"{paint.safe(s):<{widths[s]}}" for s in columns)])
        lines.append("  " + paint.dim(header.rstrip()))
        for subject in subjects:
            if not any((subject, suite) in cells for suite in columns):
                continue
            row = [f"{paint.safe(subject):<{first}}"]
            for suite in columns:
                kind, text = cells.get((subject, suite), (Standing.PASSED, "-"))
                padded = f"{paint.safe(text):<{widths[suite]}}"
                row.append(paint.dim(padded) if text == "-" else paint.tone(kind, padded))
            lines.append("  " + "  ".join(row).rstrip())
        lines.append("")
    return lines


def _chunks(suites: Sequence[str], widths: dict[str, int], room: int) -> list[list[str]]:
    chunks: list[list[str]] = [[]]
    used = 0
    for suite in suites:
        if chunks[-1] and used + widths[suite] + 2 > room:
            chunks.append([])
            used = 0
        chunks[-1].append(suite)
        used += widths[suite] + 2
    return chunks
