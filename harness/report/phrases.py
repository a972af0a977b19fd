"""The words and figures that all views share, so that terminal, Markdown, JUnit and HTML never disagree.

A case's *standing* sorts its verdict by what it means to the reader: a control that was caught looks like a failure
in the figures but is good news, and a control that passed is the reverse. Without a verdict it says whose trouble it
was. What is said about a run as a whole is in `overall`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from taskchaos.harness.record.history import ReleaseSeen
from taskchaos.harness.record.result import CaseResult, Cause, Trouble
from taskchaos.harness.record.verdict import Outcome, Rule, RuleResult

#: The limit in what a rule demands.
_LIMIT = re.compile(r"(?P<sign>>=|<=|=|within) (?P<limit>\d+(\.\d+)?)")
#: Most samples that one line names.
SAMPLES_NAMED = 3
#: From so many rules on that are unknown for one and the same reason, they are told as one.
_ALIKE = 4


class Assessment(StrEnum):
    """What a verdict means, worst first."""

    FAILED = "failed"  # was expected to pass, or an assertion of the suite failed after the verdict
    MISSED = "missed"  # a control that did not fail as it must
    STACK = "stack"  # no verdict: the stack failed
    SUBJECT = "subject"  # no verdict: code of the subject that the harness calls failed
    SUITE = "suite"  # no verdict that counts: the test's own code failed
    UNKNOWN = "unknown"  # no verdict: evidence is missing, or all of the case is
    INTERRUPTED = "interrupted"  # no verdict: the user ended the run
    TOLERATED = "tolerated"  # failed only what the expectation allows
    CAUGHT = "caught"  # a control that failed as it must
    PASSED = "passed"

    @property
    def surprise(self) -> bool:
        """Whether somebody has to look at it."""
        return self not in (Assessment.INTERRUPTED, Assessment.TOLERATED, Assessment.CAUGHT, Assessment.PASSED)


#: One character for each standing.
MARKS: Mapping[Assessment, str] = {
    Assessment.FAILED: "✗",
    Assessment.MISSED: "✗",
    Assessment.STACK: "!",
    Assessment.SUBJECT: "!",
    Assessment.SUITE: "!",
    Assessment.UNKNOWN: "?",
    Assessment.INTERRUPTED: "·",
    Assessment.TOLERATED: "✓",
    Assessment.CAUGHT: "⊗",  # failed, as it has to
    Assessment.PASSED: "✓",
}
_TROUBLES: Mapping[Trouble, Assessment] = {
    Trouble.STACK: Assessment.STACK,
    Trouble.STANDSTILL: Assessment.STACK,
    Trouble.SUBJECT: Assessment.SUBJECT,
    Trouble.SUITE: Assessment.SUITE,
    Trouble.INTERRUPTED: Assessment.INTERRUPTED,
    Trouble.MISSING: Assessment.UNKNOWN,
}
#: What the outcome is called where the reasons stand below it.
_WITHOUT_VERDICT: Mapping[Assessment, str] = {
    Assessment.STACK: "stack error",
    Assessment.SUBJECT: "subject error",
    Assessment.SUITE: "suite error",
    Assessment.UNKNOWN: "unknown",
    Assessment.INTERRUPTED: "interrupted",
}
_ASSERTION = "an assertion of the suite failed"


def standing(case: CaseResult) -> Assessment:
    """What the case's verdict means."""
    if case.trouble is not None:
        return _TROUBLES[case.trouble]
    if case.assertion:
        return Assessment.FAILED
    if case.outcome is Outcome.UNKNOWN:
        return Assessment.UNKNOWN
    if not case.as_expected:
        return Assessment.MISSED if must_fail(case) else Assessment.FAILED
    if case.outcome is Outcome.PASS:
        return Assessment.PASSED
    return Assessment.CAUGHT if must_fail(case) else Assessment.TOLERATED


def surprises(cases: Iterable[CaseResult]) -> list[CaseResult]:
    """The cases somebody has to look at, worst first."""
    order = list(Assessment)
    return sorted((c for c in cases if standing(c).surprise), key=lambda c: order.index(standing(c)))


def must_fail(case: CaseResult) -> tuple[str, ...]:
    """The rules that the case has to fail, by name; empty when it is expected to pass."""
    return tuple(rule.value for rule in Rule if rule in case.expected.must)


def may_fail(case: CaseResult) -> tuple[str, ...]:
    """The rules that a case expected to pass may fail anyway."""
    return () if case.expected.must else tuple(rule.value for rule in Rule if rule in case.expected.may)


def failed_names(case: CaseResult) -> str:
    """The failed rules in one phrase."""
    return ", ".join(r.value for r in case.failed_rules) or "no rule"


def where(case: CaseResult) -> str:
    """Suite and scenario."""
    return f"{case.suite}.{case.scenario}" if case.scenario else case.suite


def why_unknown(case: CaseResult) -> str:
    """The first reason for an unknown outcome, and how many rules there are besides."""
    unknown = [(name, rule) for name, rule in alike(case.rules) if rule.outcome is Outcome.UNKNOWN]
    if case.error or not unknown:
        return case.error or "no rule could be judged"
    name, rule = unknown[0]
    more = f" (and {plural(len(unknown) - 1, 'more rule')})" if len(unknown) > 1 else ""
    return f"{name}: {rule.reason}{more}"


def outcome_phrase(case: CaseResult) -> str:
    """Outcome against expectation, in a few words; says so when it took more than one try."""
    again = f", at try {case.tries} (the first was disturbed, or its defect met no chance)" if case.tries > 1 else ""
    repaired = "; " + "; ".join(case.repairs) if case.repairs else ""
    return _outcome_phrase(case) + again + repaired + "".join(f"; {side_by_side(one)}" for one in case.releases)


def side_by_side(one: ReleaseSeen) -> str:
    """One of two releases that worked side by side, and what it did."""
    return f"{plural(one.effects, 'task')} by the {one.release} release ({one.versions})"


def _outcome_phrase(case: CaseResult) -> str:
    match standing(case):
        case Assessment.PASSED:
            return "pass"
        case Assessment.CAUGHT:
            return f"as expected: fail: {failed_names(case)} (known-bad control caught)"
        case Assessment.TOLERATED:
            return f"fail: {failed_names(case)} (allowed: expected {case.expected})"
        case Assessment.FAILED if case.assertion:
            return f"FAIL: {after_verdict(case)}"
        case Assessment.MISSED if case.outcome is Outcome.PASS:
            return f"PASS (expected {case.expected})"
        case Assessment.FAILED | Assessment.MISSED:
            return f"FAIL: {failed_names(case)} (expected {case.expected})"
        case without:
            return f"{_WITHOUT_VERDICT[without]}: {why_unknown(case)}"


def head_phrase(case: CaseResult) -> str:
    """The outcome where its reasons stand below: see `below`."""
    if case.assertion and standing(case) is Assessment.FAILED:
        return f"FAIL: {_ASSERTION}"
    return _WITHOUT_VERDICT.get(standing(case)) or outcome_phrase(case)


def below(case: CaseResult) -> str:
    """What has to stand below `head_phrase`, besides the rules; empty if they say all."""
    if case.error and case.trouble in (Trouble.MISSING, Trouble.INTERRUPTED):
        return f"The case {case.error}."
    return case.error or (after_verdict(case) if case.assertion else "")


def after_verdict(case: CaseResult) -> str:
    """The verdict and the assertion that failed after it."""
    names = {Outcome.FAIL: failed_names(case), Outcome.UNKNOWN: why_unknown(case)}.get(case.outcome)
    verdict = f"{case.outcome}: {names}" if names else str(case.outcome)
    if verdict == str(case.expected):
        return f"the verdict was {verdict}, but {_ASSERTION}: {case.assertion}"
    return f"the verdict was {verdict} (expected {case.expected}), and {_ASSERTION}: {case.assertion}"


def explain(case: CaseResult) -> str:
    """One sentence that says what happened and why it matters."""
    none = f"{case.subject} has no verdict in {where(case)}"
    match standing(case):
        case Assessment.MISSED:
            return _explain_missed(case)
        case Assessment.FAILED if case.assertion:
            return f"{case.subject} in {where(case)}: {after_verdict(case)}"
        case Assessment.FAILED:
            only = f" (or to fail only {', '.join(may_fail(case))})" if may_fail(case) else ""
            return f"{case.subject} was expected to pass {where(case)}{only} but failed: {failed_names(case)}"
        case Assessment.STACK:
            return f"{none}, the stack failed: {case.error}"
        case Assessment.SUBJECT:
            return f"{none}, the subject's own code failed: {case.error}"
        case Assessment.SUITE:
            return f"{none}, the test's own code failed: {case.error}"
        case Assessment.UNKNOWN if case.error:
            return f"{none}: the case {case.error}"
        case Assessment.UNKNOWN:
            return f"{case.subject} is neither proven nor refuted in {where(case)}: {why_unknown(case)}"
        case Assessment.INTERRUPTED:
            return f"{none}: the run was interrupted, the case {case.error}"
        case Assessment.CAUGHT:
            return f"control {case.subject} failed {where(case)} as it must: {failed_names(case)}"
        case Assessment.TOLERATED:
            return f"{case.subject} failed only what {where(case)} allows it to fail: {failed_names(case)}"
        case Assessment.PASSED:
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


def cell(cases: Sequence[CaseResult]) -> tuple[Assessment, str]:
    """One cell of the subject x suite table: the worst of its scenarios. Capitals mean a surprise."""
    order = list(Assessment)
    worst = min((standing(c) for c in cases), key=order.index)
    group = [c for c in cases if standing(c) is worst]
    share = f" {len(group)}/{len(cases)}" if len(cases) > 1 else ""
    text = {
        Assessment.FAILED: f"FAIL {_short_rules(group)}{share}",
        Assessment.MISSED: _missed_cell(group, share),
        Assessment.STACK: f"STACK ERROR{share}",
        Assessment.SUBJECT: f"SUBJECT ERROR{share}",
        Assessment.SUITE: f"SUITE ERROR{share}",
        Assessment.UNKNOWN: f"UNKNOWN{share}",
        Assessment.INTERRUPTED: f"interrupted{share}",
        Assessment.TOLERATED: f"fail {_short_rules(group)}{share} (allowed)",
        Assessment.CAUGHT: f"fail {_short_rules(group)}{share} (expected)",
        Assessment.PASSED: f"pass{share}",
    }
    return worst, text[worst]


def _missed_cell(group: Sequence[CaseResult], share: str) -> str:
    if all(c.outcome is Outcome.PASS for c in group):
        return f"PASS{share} (must fail)"
    return f"FAIL {_short_rules(group)}{share} (unlike expected)"


def _short_rules(cases: Sequence[CaseResult]) -> str:
    found = (("assertion",) if case.assertion else case.failed_rules for case in cases)
    counts = Counter(str(name) for names in found for name in names)
    if not counts:
        return ""
    most = counts.most_common(1)[0][0]
    return most if len(counts) == 1 else f"{most} +{len(counts) - 1}"


def plural(count: int, noun: str) -> str:
    """`1 case`, `2 cases`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


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


def difference(rule: RuleResult) -> str:
    """How far a figure misses what was demanded: `2 too many`, `38 % too few`; empty where the figure says it all."""
    found, observed = _LIMIT.search(rule.expression), rule.observed
    if not found or observed is None or rule.outcome is not Outcome.FAIL:
        return ""
    limit, over = float(found["limit"]), observed - float(found["limit"])
    if found["sign"] == ">=":
        return f"{-100 * over / limit:.0f} % too few" if over < 0 < limit else ""
    unit = " s" if found["sign"] == "within" else ""
    return f"{figure(over)}{unit} too {'long' if unit else 'many'}" if over > 0 and limit else ""


def demand(rule: RuleResult) -> str:
    """The expression without the rule's name in front, which stands beside it anyway."""
    return rule.expression.removeprefix(f"{rule.rule} ")


def alike(rules: Sequence[RuleResult]) -> list[tuple[str, RuleResult]]:
    """The rules with their names. Many that are unknown for one and the same reason are one, named by their number."""
    same = Counter(r.reason for r in rules if r.outcome is Outcome.UNKNOWN and not r.samples)
    named: list[tuple[str, RuleResult]] = []
    seen: set[str] = set()
    for rule in rules:
        many = same[rule.reason] if rule.outcome is Outcome.UNKNOWN and not rule.samples else 0
        if many < _ALIKE:
            named.append((rule.rule.value, rule))
        elif rule.reason not in seen:
            seen.add(rule.reason)
            name = "all rules" if many == len(rules) else f"{many} rules"
            named.append((name, replace(rule, expression="", observed=None)))
    return named


@dataclass(frozen=True, slots=True)
class Complaint:
    """A rule that failed or is unknown, for views that list only those. what: what is demanded, or the rule's name."""

    outcome: Outcome
    what: str
    observed: float | int | None
    reason: str
    findings: str
    remark: str
    causes: tuple[str, ...] = ()
    name: str = ""  # the rule's, or of several that are unknown for one reason

    @property
    def named(self) -> str:
        """What is demanded, with the rule's name where the words do not begin with it."""
        return self.what if self.what.partition(" ")[0] == self.name.partition(" ")[0] else f"{self.name}: {self.what}"


def complaints(case: CaseResult, limit: int = SAMPLES_NAMED) -> list[Complaint]:
    """What the case's rules complain about; each names up to `limit` of its findings."""
    return [
        Complaint(
            rule.outcome,
            rule.expression or name,
            rule.observed,
            rule.reason,
            samples_phrase(rule, limit),
            remark(case, rule),
            tuple(cause_phrase(cause) for cause in causes_of(case, rule.rule)),
            name,
        )
        for name, rule in alike(case.rules)
        if rule.outcome in (Outcome.FAIL, Outcome.UNKNOWN)
    ]


def causes_of(case: CaseResult, rule: Rule) -> list[Cause]:
    """The likely causes of what one rule complains about."""
    return [cause for cause in case.causes if cause.rule is rule]


def cause_phrase(cause: Cause) -> str:
    """`3 tasks (42, 76 and 80): ` and what happened to them."""
    named = [str(op) for op in cause.ops[:SAMPLES_NAMED]]
    if not named:
        return cause.text
    if more := len(cause.ops) - len(named):
        named.append(f"{more} more")
    listed = " and ".join(filter(None, [", ".join(named[:-1]), named[-1]]))
    about = f"task {listed}" if len(cause.ops) == 1 else f"{plural(len(cause.ops), 'task')} ({listed})"
    return f"{about}: {cause.text}"


def remark(case: CaseResult, rule: RuleResult) -> str:
    """What is to be said beside a rule that failed: that stock Celery comes to the same; empty otherwise."""
    told = Rule.LOST if Rule.LOST in case.failed_rules else next(iter(case.failed_rules), None)
    return case.baseline if rule.rule is told else ""


def samples_phrase(rule: RuleResult, limit: int = SAMPLES_NAMED) -> str:
    """A few of a rule's findings: numbers of tasks, or the notes of those that are about no task."""
    named = rule.samples[:limit]
    ops = [str(s.op) for s in named if s.op is not None]
    notes = [s.note for s in named if s.op is None]
    more = max(rule.found, len(rule.samples)) - len(named)
    tasks = tasks_named(ops, more if not notes else 0)
    text = "; ".join(filter(None, [tasks, *notes]))
    return f"{text}; and {more:,} more" if notes and more > 0 else text


def tasks_named(ops: Sequence[str], more: int = 0) -> str:
    """`task 42`, `tasks 42, 76 and 80`, `tasks 42, 76, 80 and 29 more`; nothing for none."""
    if not ops:
        return ""
    listed = [*ops, *([f"{more:,} more"] if more > 0 else [])]
    return f"task {listed[0]}" if len(listed) == 1 else f"tasks {', '.join(listed[:-1])} and {listed[-1]}"


def one_line(text: str) -> str:
    """The text with white space collapsed and control characters shown as `?`: safe for terminals and tables."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def cut(text: str, limit: int) -> str:
    """The text, or its beginning if it is longer."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
