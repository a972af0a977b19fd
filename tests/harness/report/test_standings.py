"""Every standing in every view: a new one cannot be forgotten in one of them."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
import report_samples as samples

from taskchaos.harness.record.result import CaseResult, RunResult, Trouble
from taskchaos.harness.record.verdict import Outcome
from taskchaos.harness.report import html, junit, markdown
from taskchaos.harness.report import phrases as wording
from taskchaos.harness.report.ansi import Paint
from taskchaos.harness.report.phrases import Assessment
from taskchaos.harness.report.run import collect
from taskchaos.harness.report.terminal import Terminal

CASES = samples.by_standing()

#: By standing: the cell, the phrase, the sentence, JUnit's tag and type.
TABLE = {
    Assessment.FAILED: ("FAIL lost +1", "FAIL: lost, duplicate (", " but failed: lost, duplicate", "failure", "lost"),
    Assessment.MISSED: (
        "PASS (must fail)",
        "PASS (expected fail: lost)",
        "cannot see what",
        "failure",
        "control_passed",
    ),
    Assessment.STACK: ("STACK ERROR", "stack error: valkey did", ", the stack failed: valkey did", "error", "stack"),
    Assessment.SUBJECT: ("SUBJECT ERROR", "subject error: pen", "the subject's own code failed: p", "error", "subject"),
    Assessment.SUITE: ("SUITE ERROR", "suite error: Name", "the test's own code failed: Name", "error", "suite"),
    Assessment.UNKNOWN: ("UNKNOWN", "unknown: faults: 0 of", "is neither proven nor refuted", "error", "unknown"),
    Assessment.INTERRUPTED: (
        "interrupted",
        "interrupted: was never",
        "interrupted, the case was never",
        "skipped",
        None,
    ),
    Assessment.TOLERATED: ("fail duplicate (allowed)", "(allowed: expected", "failed only what", "system-out", None),
    Assessment.CAUGHT: ("fail lost +1 (expected)", "as expected: fail: l", "as it must: lost, st", "system-out", None),
    Assessment.PASSED: ("pass", "pass", "passed worker_kill.", "system-out", None),
}


def run_of(case: CaseResult) -> RunResult:
    return replace(collect(samples.judged(case)), cases=(case,))


def case_of(standing: Assessment) -> CaseResult:
    if standing is Assessment.FAILED:
        return next(c for c in samples.cases() if c.id == "worker_kill.tree.stock_best")
    if standing is Assessment.CAUGHT:
        return next(c for c in samples.cases() if c.id == "worker_kill.tree.interview_inside")
    if standing is Assessment.PASSED:
        return samples.cases()[0]
    return CASES[standing]


@pytest.mark.parametrize("standing", Assessment)
def test_every_view_shows_every_standing(standing: Assessment) -> None:
    cell, phrase, sentence, tag, kind = TABLE[standing]
    case = case_of(standing)
    assert wording.standing(case) is standing
    assert wording.cell([case]) == (standing, cell)
    assert phrase in wording.outcome_phrase(case)
    assert sentence in wording.explain(case)
    assert wording.head_phrase(case)

    [testcase] = ET.fromstring(junit.dumps(run_of(case)).encode()).findall(f"testsuite[@name='{case.suite}']/testcase")
    element = testcase.find(tag)
    assert element is not None and (element.get("type") or "").startswith(kind or "")
    text = element.text if tag == "system-out" else element.get("message")
    assert text == wording.explain(case)

    mark = wording.MARKS[standing]
    assert Paint().mark(standing) == mark and len(Paint(typographic=False).mark(standing)) == 1
    assert "\x1b[" in Paint(colour=True).tone(standing, "x")
    stream = io.StringIO()
    Terminal(stream, width=300).summary(run_of(case), None)
    assert f"\n{mark} {wording.explain(case)}\n" in stream.getvalue() or not standing.surprise
    assert cell in stream.getvalue()

    summary = markdown.dumps(run_of(case)).replace("\\", "")
    assert f"| {markdown.ICONS[standing]} {cell} |" in summary
    assert (f"{markdown.ICONS[standing]} **{case.id}**: {wording.explain(case)}" in summary) == standing.surprise

    page = html.render(run_of(case), {})
    assert f'class="case k-{standing.value}"' in page
    assert re.search(rf"\.k-{standing.value}\b[^{{}}]*\{{ --tone: ", page), "it has no colour"
    assert sum(standing in kinds for _, _, kinds in html.GROUPS) == 1
    in_case = "".join(c for c in wording.explain(case) if c not in "<>&'\"")
    assert in_case in page.replace("&#39;", "").replace("&#34;", "").replace("&lt;", "")


def test_every_trouble_has_its_standing() -> None:
    told = {Trouble.STACK: "stack", Trouble.SUBJECT: "subject", Trouble.SUITE: "suite", Trouble.MISSING: "unknown"}
    told |= {Trouble.INTERRUPTED: "interrupted", Trouble.STANDSTILL: "stack"}
    assert {t: wording.standing(replace(CASES[Assessment.STACK], trouble=t)).value for t in Trouble} == told
    assert not Assessment.INTERRUPTED.surprise, "whoever ends a run knows that it did"
    for trouble in set(Trouble) - {Trouble.STACK, Trouble.STANDSTILL}:
        case = replace(CASES[Assessment.STACK], trouble=trouble)
        text = " ".join((wording.explain(case), wording.outcome_phrase(case), wording.cell([case])[1]))
        assert "stack" not in text.lower(), "only the harness's own trouble is the stack's"


def test_a_case_that_is_missing_says_so() -> None:
    case = replace(CASES[Assessment.STACK], trouble=Trouble.MISSING, error="was never started")
    assert wording.explain(case) == "locked_retry has no verdict in redis_restart.lost_tail: the case was never started"
    assert wording.outcome_phrase(case) == "unknown: was never started"
    assert wording.below(case) == "The case was never started."


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "the verdict was pass, but"),
        ({"expected": "fail: lost"}, "the verdict was pass (expected fail: lost), and"),
        ({"outcome": Outcome.UNKNOWN}, "the verdict was unknown: no rule could be judged (expected pass), and"),
    ],
)
def test_an_assertion_after_the_verdict_is_a_failure(changes: dict[str, object], verdict: str) -> None:
    case = replace(samples.cases()[0], as_expected=False, assertion="assert 1 == 2", **changes)  # type: ignore[arg-type]
    assert wording.standing(case) is Assessment.FAILED
    assert wording.explain(case) == (
        f"locked_retry in worker_kill.tree: {verdict} an assertion of the suite failed: assert 1 == 2"
    )
    assert wording.cell([case]) == (Assessment.FAILED, "FAIL assertion")


def test_an_assertion_after_a_failure_hides_neither() -> None:
    lost = next(c for c in samples.cases() if c.id == "worker_kill.tree.stock_best")
    case = replace(lost, assertion="assert 1 == 2")
    assert "fail: lost, duplicate (expected pass), and an assertion of the suite failed" in wording.explain(case)
