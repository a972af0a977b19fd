"""Ten real failures of ten kinds: the first screen of a report says the rule, the tasks, the command and the fault."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import report_samples as samples
from browsing import opened
from stored_failures import FAILURES, StoredFailure

from taskchaos.harness import codec
from taskchaos.harness.files import read_file
from taskchaos.harness.record.result import CaseDetail, CaseResult, TaskEnd
from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.report.html import render
from taskchaos.harness.report.run import collect

HEIGHT = 800
IDS = [failure.way for failure in FAILURES]


def _judged(failure: StoredFailure, folder: Path) -> tuple[CaseResult, CaseDetail]:
    case = failure.judged(folder)
    detail = json.loads(read_file(folder / "cases" / failure.case / "detail.json"))
    return case, codec.decode(CaseDetail, detail)


@pytest.mark.parametrize("failure", FAILURES, ids=IDS)
def test_a_stored_failure_is_judged_as_it_was(tmp_path: Path, failure: StoredFailure) -> None:
    case, detail = _judged(failure, tmp_path)
    cause = next(cause for cause in case.causes if cause.rule is failure.rule)
    assert failure.rule in case.failed_rules
    assert failure.command in cause.command and failure.fault in cause.fault
    assert len(detail.tasks.ops) == case.operations.submitted
    lost = detail.tasks.ends.count(TaskEnd.GONE)
    assert lost == next(int(rule.observed or 0) for rule in case.rules if rule.rule is Rule.LOST)
    assert all(story.lines for story in detail.stories)


@pytest.mark.parametrize("failure", FAILURES, ids=IDS)
def test_its_first_screen_explains_it(browser: Any, tmp_path: Path, failure: StoredFailure) -> None:
    case, detail = _judged(failure, tmp_path)
    run = replace(collect(samples.stream()), cases=(case,))
    (tmp_path / "report.html").write_text(render(run, {case.id: detail}), encoding="utf-8")
    with opened(browser, tmp_path / "report.html", 1280, HEIGHT) as page:
        seen = page.evaluate(
            """height => [...document.querySelectorAll("h1, h2, p, li, a")]
                .filter(each => each.getBoundingClientRect().bottom <= height && each.offsetParent)
                .map(each => each.innerText).join("\\n")""",
            HEIGHT,
        )
    cause = next(cause for cause in case.causes if cause.rule is failure.rule)
    assert failure.rule.value in seen and cause.text in seen
    assert cause.command in seen and cause.fault in seen
    assert all(str(op) in seen for op in cause.ops[:3])
