"""What a terminal is told of a case, and what stands at the end of a run: the verdict table, the outcome."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from taskchaos.harness.errors import ExitCode
from taskchaos.harness.fitting import columns_of
from taskchaos.harness.record.result import CaseResult, RunResult
from taskchaos.harness.record.verdict import SLO_RULES, Outcome, RuleResult
from taskchaos.harness.report import overall
from taskchaos.harness.report.ansi import Paint, wrap
from taskchaos.harness.report.phrases import (
    Assessment,
    alike,
    below,
    cause_phrase,
    causes_of,
    cell,
    cut,
    demand,
    explain,
    figure,
    head_phrase,
    plural,
    rate,
    remark,
    samples_phrase,
    seconds,
    standing,
    surprises,
)
from taskchaos.harness.verbosity import Verbosity

#: Most missing shards and cases that are named.
MISSING_NAMED = 20
#: Most characters of one text: the report has all of it.
MAX_TEXT = 600
MAX_NAME = 40  # of a column
TABLE_WIDTH = 90  # narrower than this, there is no room for a table of rules with reasons
_MIN_REASON = 30  # narrower than this, a reason goes on lines of its own


def summary_lines(
    result: RunResult,
    report_path: Path | None,
    paint: Paint,
    width: int,
    *,
    verbosity: Verbosity = Verbosity.USUAL,
) -> list[str]:
    """All lines that stand below the cases, without line ends. The last says what the run comes to."""
    lines: list[str] = []
    quiet = verbosity is Verbosity.QUIET
    if not quiet:
        lines += verdict_table(result.cases, paint, width)
    lines += wrap(paint.safe(overall.counts_sentence(result)), width, 0)
    for case in () if quiet else surprises(result.cases):
        lines += _marked(paint.mark(standing(case)), explain(case), paint, width)
    lines += _incomplete(result, paint)
    for one in overall.remarks(result):
        lines += _marked(paint.mark(one.kind) if one.kind else "!", one.sentence, paint, width)
    lines.append("")
    if report_path is not None:
        lines.append(f"Report:  {paint.safe(str(report_path))}")
    lines += [f"Again:   {paint.safe(command)}" for command in overall.again(result)]
    lines.append(outcome_line(result, paint))
    return lines


def _marked(mark: str, text: str, paint: Paint, width: int) -> list[str]:
    first, *rest = wrap(paint.safe(cut(text, MAX_TEXT)), width, 2)
    return [f"{mark} {first}", *(f"  {line}" for line in rest)]


def _incomplete(result: RunResult, paint: Paint) -> list[str]:
    """What a merged run lacks; in a line each, however wide the terminal is, so that a search finds them."""
    if not result.incomplete:
        return []
    lines = [f"! {paint.bold(f'Incomplete: {overall.incomplete_phrase(result)} missing')}"]
    named = (f"{m.id}: {m.reason}" for m in result.incomplete[:MISSING_NAMED])
    lines += [f"  {paint.safe(cut(text, MAX_TEXT))}" for text in named]
    more = len(result.incomplete) - MISSING_NAMED
    return lines + ([f"  and {more} more, see verdict.json"] if more > 0 else [])


def outcome_line(result: RunResult, paint: Paint) -> str:
    """The outcome and what the exit code means."""
    interrupted = result.exit_code == ExitCode.INTERRUPTED
    word = paint.bold(paint.tone(result.outcome, overall.word(result).upper()))
    when = f"{'after' if interrupted else 'in'} {seconds(result.wall_s)}"
    said = overall.judged_phrase(result) if interrupted else overall.meaning(result)
    return f"{word} {when}: {said} (exit code {result.exit_code})"


def case_block(case: CaseResult, paint: Paint, width: int, *, verbose: bool = False) -> list[str]:
    """What is to be said of one case: the rules that it failed or that are unknown, invariants first.

    verbose: every rule; otherwise those that passed are counted. A terminal too narrow for a table gets a paragraph
    for each rule.
    """
    kind = standing(case)
    name, phrase = (paint.safe(cut(text, MAX_TEXT)) for text in (case.id, head_phrase(case)))
    took = paint.dim(seconds(case.wall_s))
    if columns_of(f"? {name}  {phrase}  {seconds(case.wall_s)}") <= width:
        lines = [f"{paint.mark(kind)} {paint.bold(name)}  {paint.tone(kind, phrase)}  {took}"]
    else:
        lines = [f"{paint.mark(kind)} {paint.bold(name)}  {took}"]
        lines += [f"  {paint.tone(kind, line)}" for line in wrap(phrase, width, 2)]
    lines += [f"  {paint.dim(line)}" for text in _figures(case) for line in wrap(text, width, 2)]
    if text := below(case):
        lines += [f"  {line}" for line in wrap(paint.safe(cut(text, MAX_TEXT)), width, 2)]
    told = [r for r in case.rules if verbose or r.outcome in (Outcome.FAIL, Outcome.UNKNOWN)]
    for title, rules in (
        ("INVARIANTS", [r for r in told if r.rule not in SLO_RULES]),
        ("SLO", [r for r in told if r.rule in SLO_RULES]),
    ):
        if rules and width >= TABLE_WIDTH:
            lines += _rule_table(title, case, rules, paint, width)
            continue
        claimed = [rule for rule in rules if rule.outcome is not Outcome.NOT_CLAIMED]
        lines += [line for name, rule in alike(claimed) for line in _rule_paragraph(name, case, rule, paint, width)]
        if others := ", ".join(rule.rule.value for rule in rules if rule not in claimed):
            first, *rest = wrap(f"not claimed: {others}", width, 6)
            lines += [f"    {paint.mark(Outcome.NOT_CLAIMED)} {paint.dim(first)}", *(f"      {line}" for line in rest)]
    passed = sum(rule.outcome is Outcome.PASS for rule in case.rules)
    if passed and not verbose:
        lines.append(f"    {paint.mark(Outcome.PASS)} " + paint.dim(f"{plural(passed, 'rule')} passed"))
    return lines


def _rule_paragraph(name: str, case: CaseResult, rule: RuleResult, paint: Paint, width: int) -> list[str]:
    """A rule as running text: what is demanded, what was observed, why, and likely causes in lines of their own."""
    wanted = " ".join(filter(None, [name, cut(demand(rule), MAX_TEXT)]))
    seen = f", observed {figure(rule.observed)}" if rule.observed is not None else ""
    told = "; ".join(cut(text, MAX_TEXT) for text in (rule.reason, samples_phrase(rule), remark(case, rule)) if text)
    first, *rest = wrap(paint.safe(f"{wanted}{seen}: {told}"), width, 6)
    lines = [f"    {paint.mark(rule.outcome)} {first}", *(f"      {line}" for line in rest)]
    return [*lines, *_causes(case, rule, paint, width, 6)]


def _causes(case: CaseResult, rule: RuleResult, paint: Paint, width: int, indent: int) -> list[str]:
    texts = [cut(f"likely cause, {cause_phrase(cause)}", MAX_TEXT) for cause in causes_of(case, rule.rule)]
    return [" " * indent + paint.bold(line) for text in texts for line in wrap(paint.safe(text), width, indent)]


def _figures(case: CaseResult) -> list[str]:
    counts, speed = case.operations, case.throughput
    lines = []
    if counts.submitted:
        told = [("submitted", counts.submitted), ("acknowledged", counts.acknowledged), ("refused", counts.refused)]
        told += [("unknown", counts.unknown), ("effects", counts.effects), ("dead", counts.dead)]
        lines.append(", ".join(f"{figure(n)} {word}" for word, n in told if n or word == "submitted"))
    rates = [("baseline", speed.baseline_tps), ("fault", speed.fault_tps), ("healed", speed.healed_tps)]
    parts = [f"{name} {rate(tps)}" for name, tps in rates if tps is not None]
    if speed.recovery_s is not None:
        parts.append(f"recovered in {seconds(speed.recovery_s)}")
    if parts:
        lines.append(", ".join(parts))
    return lines


def _rule_table(title: str, case: CaseResult, rules: Sequence[RuleResult], paint: Paint, width: int) -> list[str]:
    named = [(name, paint.safe(cut(demand(rule), MAX_NAME)), rule) for name, rule in alike(rules)]
    names = max(len(title) - 2, *(len(name) for name, _, _ in named))
    demands = max(len("demanded"), *(len(wanted) for _, wanted, _ in named))
    seen = max(len("observed"), *(len(_observed(rule)) for _, _, rule in named))
    start = 4 + 2 + names + 2 + demands + 2 + seen + 2
    indent = start if width - start >= _MIN_REASON else 8
    lines = [
        f"  {paint.bold(title)}{' ' * (names + 4 - len(title))}  " + paint.dim(f"{'demanded':<{demands}}  observed")
    ]
    for name, wanted, rule in named:
        if rule.outcome is Outcome.NOT_CLAIMED:
            lines.append(f"    {paint.mark(rule.outcome)} " + paint.dim(f"{name:<{names}}  not claimed"))
            continue
        columns = f"{name:<{names}}  {wanted:<{demands}}  {_observed(rule):>{seen}}"
        told = (rule.reason, samples_phrase(rule), remark(case, rule))
        reason = wrap("; ".join(paint.safe(cut(text, MAX_TEXT)) for text in told if text), width, indent)
        beside = reason.pop(0) if indent == start else ""
        lines.append(f"    {paint.mark(rule.outcome)} {columns}  {beside}".rstrip())
        lines += [" " * indent + line for line in reason if line]
        lines += _causes(case, rule, paint, width, indent)
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
    names = {name: paint.safe(cut(name, MAX_NAME)) for name in (*subjects, *suites)}
    first = max(len("subject"), *(len(names[s]) for s in subjects))
    widths = {
        suite: max(len(names[suite]), *(len(paint.safe(cells[s, suite][1])) for s in subjects if (s, suite) in cells))
        for suite in suites
    }
    lines = [paint.bold("VERDICTS")]
    for columns in _chunks(suites, widths, width - first - 2):
        header = "  ".join([f"{'subject':<{first}}", *(f"{names[s]:<{widths[s]}}" for s in columns)])
        lines.append("  " + paint.dim(header.rstrip()))
        for subject in subjects:
            if not any((subject, suite) in cells for suite in columns):
                continue
            row = [f"{names[subject]:<{first}}"]
            for suite in columns:
                kind, text = cells.get((subject, suite), (Assessment.PASSED, "-"))
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
