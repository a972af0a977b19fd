"""A comparison of two runs, for the terminal, for a pull request and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from taskchaos.harness import codec
from taskchaos.harness.judge.compare import SCHEMA, CaseChange, CaseSide, ChangeKind, Comparison, RateRatio
from taskchaos.harness.judge.intervals import Interval
from taskchaos.harness.record.verdict import Outcome
from taskchaos.harness.report.json_file import finite
from taskchaos.harness.report.markdown import escape
from taskchaos.harness.report.phrases import cut, figure, one_line, plural, seconds

#: Of a text that a run gives, such as why a case has no verdict.
_LONGEST = 200
#: GitHub's limit for a comment is 65,536 characters.
MOST_ROWS = 200

_MARKS = {
    ChangeKind.REGRESSION: "✗",
    ChangeKind.UNDECIDED: "?",
    ChangeKind.CHANGED: "·",
    ChangeKind.FIXED: "✓",
    ChangeKind.SAME: "✓",
}
_ICONS = {"✗": "❌", "?": "❔", "·": "☑️", "✓": "✅"}


def verdict(side: CaseSide) -> str:
    """What a case came to, in a few words."""
    rules = ", ".join(side.failed_rules)
    text = f"fail {rules or 'an assertion'}" if side.outcome is Outcome.FAIL else side.outcome.value
    if side.outcome is Outcome.FAIL and side.as_expected:
        text += " (expected)"
    elif side.outcome is Outcome.PASS and not side.as_expected:
        text += " (must fail)"
    return text


def conclusion(found: Comparison) -> str:
    """What the comparison comes to, in one line."""
    counts = [_counted(found, kind) for kind in ChangeKind if found.of(kind)]
    text = f"{plural(len(found.cases), 'case')} in both: {', '.join(counts)}" if counts else "no case is in both runs"
    if found.of(ChangeKind.REGRESSION):
        return f"REGRESSION: {text}"
    if not any(case.before.decided and case.after.decided for case in found.cases):
        return f"NOTHING COMPARED: {text}"
    if found.before.doubts or found.after.doubts or found.undone:
        return f"IN DOUBT: {text}; no regression is seen"
    return f"NO REGRESSION: {text}"


def _counted(found: Comparison, kind: ChangeKind) -> str:
    number = len(found.of(kind))
    return plural(number, kind.value) if kind is ChangeKind.REGRESSION else f"{number} {kind}"


def interval(found: Interval | None) -> str:
    """An interval in brackets, or nothing."""
    return f" [{found.low:.2f}, {found.high:.2f}]" if found else ""


def _rate(rate: RateRatio) -> str:
    rates = f"{figure(rate.before_tps)}/s -> {figure(rate.after_tps)}/s"
    return f"{rate.phase}  {rates}  x{rate.ratio:.2f}{interval(rate.interval)}"


def _figures(case: CaseChange) -> Iterator[str]:
    yield from map(_rate, case.rates)
    was, now = case.before.recovery_s, case.after.recovery_s
    if was is not None or now is not None:
        yield f"recovery {seconds(was)} -> {seconds(now)}"


def _notes(found: Comparison) -> Iterator[str]:
    """What a reader has to know before the verdicts."""
    for when, side in (("before", found.before), ("after", found.after)):
        yield from (f"the run {when} is in doubt: {doubt}" for doubt in side.doubts)
    yield from found.differences


def _beside(found: Comparison) -> Iterator[str]:
    """What stands after the verdicts."""
    for when, names in (("before", found.only_before), ("after", found.only_after)):
        if names:
            yield f"only in the run {when}: {_some(names)}"
    for new in found.new_findings:
        what = f"{new.rule} by {new.cause}" if new.cause else f"{new.rule}"
        yield f"new finding for {new.subject}: {what} in {_some(new.cases)}"


def _some(names: Iterable[str], most: int = 10) -> str:
    found = list(names)
    return ", ".join(found[:most]) + (f" and {len(found) - most} more" if len(found) > most else "")


def lines(found: Comparison, *, verbose: bool = False) -> Iterator[str]:
    """For the terminal. verbose: also the cases that came to the same."""
    for when, side in (("before", found.before), ("after ", found.after)):
        yield f"{when}  {side.run or '(no name)'}  {side.started}  {side.outcome}, {plural(side.cases, 'case')}"
    for note in _notes(found):
        yield f"! {_text(note)}"
    shown = [case for case in found.cases if verbose or case.kind is not ChangeKind.SAME]
    yield ""
    for case in shown:
        yield f"{_MARKS[case.kind]} {case.id}  {case.kind}: {verdict(case.before)} -> {verdict(case.after)}"
        yield from (f"    {_text(side.why)}" for side in (case.before, case.after) if side.why)
        yield from (f"    {line}" for line in _figures(case))
    if not verbose:
        yield from _slower(found)
    if any(rate.interval for case in found.cases for rate in case.rates):
        yield "  In brackets: 95 %, from the windows of these two runs; how runs differ from each other is not in it."
    yield from (f"  {_text(line)}" for line in _beside(found))
    yield conclusion(found)


def _slower(found: Comparison) -> Iterator[str]:
    """The rates of cases with the same verdict whose interval leaves 1 out; how many others there are."""
    same = found.of(ChangeKind.SAME)
    for case in same:
        for rate in case.rates:
            if rate.interval and not rate.interval.low <= 1 <= rate.interval.high:
                yield f"  {case.id}  {_rate(rate)}"
    if same:
        yield f"  {plural(len(same), 'case')} came to the same (-v shows them)"


def markdown(found: Comparison) -> str:
    """For a pull request: at most so long as a comment may be."""
    icon = {"R": "❌", "N": "✅" if found.exit_code == 0 else "❔", "I": "❔"}[conclusion(found)[0]]
    parts = [f"### {icon} {escape(conclusion(found))}", ""]
    parts += [f"`{_code(found.before.run)}` before, `{_code(found.after.run)}` after.", ""]
    parts += [f"- ⚠️ {escape(_text(note))}" for note in _notes(found)]
    changed = [case for case in found.cases if case.kind is not ChangeKind.SAME]
    parts += _table(changed[:MOST_ROWS])
    if len(changed) > MOST_ROWS:
        parts += ["", f"{len(changed) - MOST_ROWS} more changed."]
    same = found.of(ChangeKind.SAME)
    if any(case.rates for case in same):
        parts += ["", f"<details><summary>{plural(len(same), 'case')} came to the same</summary>", ""]
        parts += [*_table(same[:MOST_ROWS]), "", "</details>"]
    parts += ["", *(f"- {escape(_text(line))}" for line in _beside(found))]
    return "\n".join(parts).rstrip() + "\n"


def _table(cases: list[CaseChange]) -> list[str]:
    if not cases:
        return []
    head = ["", "| | case | before | after | throughput | recovery |", "|---|---|---|---|---|---|"]
    return head + [
        f"| {_ICONS[_MARKS[case.kind]]} {case.kind} | {escape(case.id)} | {escape(verdict(case.before))} "
        f"| {escape(verdict(case.after))} | {_cell(case)} "
        f"| {seconds(case.before.recovery_s)} → {seconds(case.after.recovery_s)} |"
        for case in cases
    ]


def _cell(case: CaseChange) -> str:
    return "<br>".join(f"{rate.phase} ×{rate.ratio:.2f}{escape(interval(rate.interval))}" for rate in case.rates)


def _code(text: str) -> str:
    return one_line(text).replace("`", "'")


def _text(text: str) -> str:
    return cut(one_line(text), _LONGEST)


def dumps(found: Comparison) -> str:
    """As JSON: what the comparison holds, and what it comes to."""
    whole = {"schema": SCHEMA, "exit_code": int(found.exit_code), "conclusion": conclusion(found)}
    return json.dumps(finite({**whole, **codec.encode(found)}), indent=1, allow_nan=False)
