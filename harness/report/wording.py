"""The words and figures that all views share, so that terminal, Markdown, JUnit and HTML never disagree.

A case's *standing* sorts its verdict by what it means to the reader: a control that was caught looks like a failure
in the figures but is good news, and a control that passed is the reverse.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum

from harness.errors import ExitCode
from harness.result import CaseResult, RunResult
from harness.verdict import Outcome, RuleResult, Sample

#: Most samples that one line names.
SAMPLES_NAMED = 3


class Standing(StrEnum):
    """What a verdict means, worst first."""

    FAILED = "failed"  # was expected to pass
    MISSED = "missed"  # a control that did not fail as it must
    STACK = "stack"  # no verdict: the stack failed
    UNKNOWN = "unknown"  # no verdict: evidence is missing
    TOLERATED = "tolerated"  # failed only what the expectation allows
    CAUGHT = "caught"  # a control that failed as it must
    PASSED = "passed"

    @property
    def surprise(self) -> bool:
        """Whether somebody has to look at it."""
        return self in (Standing.FAILED, Standing.MISSED, Standing.STACK, Standing.UNKNOWN)


def standing(case: CaseResult) -> Standing:
    """What the case's verdict means."""
    if case.error:
        return Standing.STACK
    if case.outcome is Outcome.UNKNOWN:
        return Standing.UNKNOWN
    if not case.as_expected:
        return Standing.MISSED if must_fail(case) else Standing.FAILED
    if case.outcome is Outcome.PASS:
        return Standing.PASSED
    return Standing.CAUGHT if must_fail(case) else Standing.TOLERATED


def surprises(cases: Iterable[CaseResult]) -> list[CaseResult]:
    """The cases somebody has to look at, worst first."""
    order = list(Standing)
    return sorted((c for c in cases if standing(c).surprise), key=lambda c: order.index(standing(c)))


def must_fail(case: CaseResult) -> tuple[str, ...]:
    """The rules that the case has to fail, by name; empty when it is expected to pass."""
    return _listed(case.expected, "fail: ")


def may_fail(case: CaseResult) -> tuple[str, ...]:
    """The rules that a case expected to pass may fail all the same."""
    return _listed(case.expected, "pass, or fail: ")


def _listed(expected: str, prefix: str) -> tuple[str, ...]:
    return tuple(expected.removeprefix(prefix).split(", ")) if expected.startswith(prefix) else ()


def failed_names(case: CaseResult) -> str:
    """The failed rules in one phrase."""
    return ", ".join(r.value for r in case.failed_rules) or "no rule"


def where(case: CaseResult) -> str:
    """Suite and scenario."""
    return f"{case.suite}.{case.scenario}" if case.scenario else case.suite


def why_unknown(case: CaseResult) -> str:
    """The first reason for an unknown outcome."""
    for rule in case.rules:
        if rule.outcome is Outcome.UNKNOWN:
            return f"{rule.rule}: {rule.reason}"
    return case.error or "no rule could be judged"


def outcome_phrase(case: CaseResult) -> str:
    """Outcome against expectation, in a few words; says so when it took more than one try."""
    again = f", at try {case.tries} (the first was disturbed)" if case.tries > 1 else ""
    repaired = "; " + "; ".join(case.repairs) if case.repairs else ""
    return _outcome_phrase(case) + again + repaired


def _outcome_phrase(case: CaseResult) -> str:
    match standing(case):
        case Standing.PASSED:
            return "pass"
        case Standing.CAUGHT:
            return f"as expected: fail: {failed_names(case)} (known-bad control caught)"
        case Standing.TOLERATED:
            return f"fail: {failed_names(case)} (allowed: expected {case.expected})"
        case Standing.FAILED:
            return f"FAIL: {failed_names(case)} (expected {case.expected})"
        case Standing.MISSED if case.outcome is Outcome.PASS:
            return f"PASS (expected {case.expected})"
        case Standing.MISSED:
            return f"FAIL: {failed_names(case)} (expected {case.expected})"
        case Standing.UNKNOWN:
            return f"unknown: {why_unknown(case)}"
        case Standing.STACK:
            return f"stack error: {case.error}"


def explain(case: CaseResult) -> str:
    """One sentence that says what happened and why it matters."""
    kind = standing(case)
    if kind is Standing.MISSED:
        return _explain_missed(case)
    if kind is Standing.FAILED:
        only = f" (or to fail only {', '.join(may_fail(case))})" if may_fail(case) else ""
        return f"{case.subject} was expected to pass {where(case)}{only} but failed: {failed_names(case)}"
    if kind is Standing.STACK:
        return f"{case.subject} has no verdict in {where(case)}, the stack failed: {case.error}"
    if kind is Standing.UNKNOWN:
        return f"{case.subject} is neither proven nor refuted in {where(case)}: {why_unknown(case)}"
    if kind is Standing.CAUGHT:
        return f"control {case.subject} failed {where(case)} as it must: {failed_names(case)}"
    if kind is Standing.TOLERATED:
        return f"{case.subject} failed only what {where(case)} allows it to fail: {failed_names(case)}"
    return f"{case.subject} passed {where(case)}"


def _explain_missed(case: CaseResult) -> str:
    who = f"control {case.subject}" if case.control else case.subject
    failed = {r.value for r in case.failed_rules}
    missing = [name for name in must_fail(case) if name not in failed]
    if case.outcome is Outcome.PASS:
        return f"{who} passed {where(case)}: the suite cannot see what it is for (expected {case.expected})"
    if missing:
        return f"{who} failed {failed_names(case)} in {where(case)} but not {', '.join(missing)}, which it must fail"
    return f"{who} failed {failed_names(case)} in {where(case)}: more than expected ({case.expected})"


def cell(cases: Sequence[CaseResult]) -> tuple[Standing, str]:
    """One cell of the subject x suite table: the worst of its scenarios. Capitals mean a surprise."""
    order = list(Standing)
    worst = min((standing(c) for c in cases), key=order.index)
    group = [c for c in cases if standing(c) is worst]
    share = f" {len(group)}/{len(cases)}" if len(cases) > 1 else ""
    text = {
        Standing.FAILED: f"FAIL {_short_rules(group)}{share}",
        Standing.MISSED: _missed_cell(group, share),
        Standing.STACK: f"STACK ERROR{share}",
        Standing.UNKNOWN: f"UNKNOWN{share}",
        Standing.TOLERATED: f"fail {_short_rules(group)}{share} (allowed)",
        Standing.CAUGHT: f"fail {_short_rules(group)}{share} (expected)",
        Standing.PASSED: f"pass{share}",
    }
    return worst, text[worst]


def _missed_cell(group: Sequence[CaseResult], share: str) -> str:
    if all(c.outcome is Outcome.PASS for c in group):
        return f"PASS{share} (must fail)"
    return f"FAIL {_short_rules(group)}{share} (unlike expected)"


def _short_rules(cases: Sequence[CaseResult]) -> str:
    counts = Counter(rule.value for case in cases for rule in case.failed_rules)
    if not counts:
        return ""
    most = counts.most_common(1)[0][0]
    return most if len(counts) == 1 else f"{most} +{len(counts) - 1}"


def counts_sentence(result: RunResult) -> str:
    """The run in one sentence."""
    if not result.cases:
        if result.shard and not result.exit_code:
            return f"Shard {result.shard} has no case to run; the whole run has {len(result.selection):,}."
        return "No case was run, so nothing is proven."
    controls = [c for c in result.cases if must_fail(c)]
    others = [c for c in result.cases if not must_fail(c)]
    caught = sum(standing(c) is Standing.CAUGHT for c in controls)
    passed = sum(standing(c) in (Standing.PASSED, Standing.TOLERATED) for c in others)
    bad = _share(caught, len(controls), "control case", "failed as it must", "failed as they must")
    parts = [
        bad or "no control was run",
        _share(passed, len(others), "subject case", "passed", "passed"),
        plural(len(surprises(result.cases)), "surprise"),
        f"{plural(len(result.left_out), 'case')} left out" if result.left_out else "",
        f"{incomplete_phrase(result)} missing" if result.incomplete else "",
    ]
    text = ", ".join(p for p in parts if p)
    return text[0].upper() + text[1:] + "."


def incomplete_phrase(result: RunResult) -> str:
    """What a merged run lacks, counted: `1 shard and 12 cases`."""
    shards = sum(m.id.startswith("shard ") for m in result.incomplete)
    counts = [(shards, "shard"), (len(result.incomplete) - shards, "case")]
    return " and ".join(plural(n, noun) for n, noun in counts if n)


def _share(got: int, total: int, noun: str, one: str, many: str) -> str:
    if not total:
        return ""
    count = plural(total, noun) if got == total else f"{got} of {plural(total, noun)}"
    return f"{count} {one if total == got == 1 else many}"


def plural(count: int, noun: str) -> str:
    """`1 case`, `2 cases`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


EXIT_MEANING = {
    ExitCode.PASS: "every case got its expected verdict",
    ExitCode.FAIL: "a verdict is not the expected one",
    ExitCode.UNKNOWN: "evidence is missing, so the run proves nothing",
    ExitCode.STACK: "the stack failed or could not be healed, so a case has no verdict",
    ExitCode.USAGE: "what was given cannot be used",
    ExitCode.INTERRUPTED: "interrupted; what had finished was judged",
}


def exit_phrase(code: int) -> str:
    """What the exit code means."""
    try:
        return EXIT_MEANING[ExitCode(code)]
    except ValueError:
        return "not one of taskchaos's exit codes"


def seconds(value: float | None) -> str:
    """A duration: `0.4s`, `41.2s`, `3m41s`, `1h02m`."""
    if value is None or not math.isfinite(value):
        return "-"
    if value < 99.95:
        return f"{value:.1f}s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    return f"{minutes // 60}h{minutes % 60:02d}m"


def figure(value: float | None) -> str:
    """A figure with about three digits that matter; `-` when it was not measured."""
    if value is None or not math.isfinite(value):
        return "-"
    if float(value).is_integer():
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def rate(value: float | None) -> str:
    """Operations per second."""
    return "-" if value is None or not math.isfinite(value) else f"{value:,.1f}/s"


def demand(rule: RuleResult) -> str:
    """The expression without the rule's name in front, which stands beside it anyway."""
    return rule.expression.removeprefix(f"{rule.rule} ")


def samples_phrase(samples: Sequence[Sample], limit: int = SAMPLES_NAMED) -> str:
    """A few examples: operation numbers, or the notes of those that are about no operation."""
    if not samples:
        return ""
    named = samples[:limit]
    ops = [str(s.op) for s in named if s.op is not None]
    parts = [f"{'op' if len(ops) == 1 else 'ops'} {', '.join(ops)}"] if ops else []
    parts += [s.note for s in named if s.op is None]
    more = len(samples) - len(named)
    return "; ".join(parts) + (f" (+{more})" if more else "")


def one_line(text: str) -> str:
    """The text with white space collapsed and control characters shown as `?`: safe for terminals and tables."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
