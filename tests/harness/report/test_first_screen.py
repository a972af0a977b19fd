"""What a person sees first, in a real browser: rule, task, command and fault of a failure stand on the first screen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import report_samples as samples
from browsing import opened
from cause_ways import WAYS, Way
from checker_histories import ALL

from taskchaos.harness.checker import check
from taskchaos.harness.judge.causes import causes
from taskchaos.harness.record.result import CaseDetail, CaseResult, RunResult
from taskchaos.harness.record.verdict import Outcome, Rule
from taskchaos.harness.report.html import render
from taskchaos.harness.report.run import collect

WIDTH, HEIGHT = 1280, 800
#: Ten kinds of failures, by the name of the way.
TEN = (
    "the reply to a pop",
    "a child was killed, and it was acknowledged before",
    "the publish of its retry was cut",
    "a lock that is never freed",
    "its process died after the effect",
    "its worker stood still for longer than the lease",
    "it took effect after the last word",
    "retried at once",
    "given up after the first of three attempts",
    "its retry waited in memory",
)


def _failed(way: Way) -> CaseResult:
    verdict = check(way.build().build(), ALL)
    found = causes(way.build().build(), verdict, way.wire)
    failed = tuple(rule.rule for rule in verdict.rules if rule.outcome is Outcome.FAIL)
    base = replace(samples.cases()[0], outcome=Outcome.FAIL, as_expected=False, control=False)
    return replace(base, failed_rules=failed, rules=verdict.rules, causes=found)


def _run(*cases: CaseResult) -> RunResult:
    return replace(collect(samples.stream()), cases=cases)


@contextmanager
def _page(browser: Any, tmp_path: Path, run: RunResult, width: int = WIDTH) -> Iterator[Any]:
    path = tmp_path / "report.html"
    path.write_text(render(run, {case.id: CaseDetail() for case in run.cases}), encoding="utf-8")
    with opened(browser, path, width, HEIGHT) as page:
        yield page


def _first_screen(page: Any) -> str:
    """The text of everything that is whole within the window, unscrolled."""
    return str(
        page.evaluate(
            """height => [...document.querySelectorAll("h1, h2, p, li, a")]
                .filter(each => each.getBoundingClientRect().bottom <= height && each.offsetParent)
                .map(each => each.innerText).join("\\n")""",
            HEIGHT,
        )
    )


@pytest.mark.parametrize("name", TEN)
def test_a_failure_is_explained_on_the_first_screen(browser: Any, tmp_path: Path, name: str) -> None:
    (way,) = [way for way in WAYS if way.name == name]
    case = _failed(way)
    assert way.rule in case.failed_rules
    with _page(browser, tmp_path, _run(case)) as page:
        seen = _first_screen(page)
    (told,) = [cause for cause in case.causes if cause.rule is way.rule][:1]
    assert told.text in seen and way.rule.value in seen
    assert way.command in told.text and way.fault in told.text
    assert all(str(op) in seen for op in told.ops[:3])


def test_many_failures_fit_a_phone(browser: Any, tmp_path: Path) -> None:
    """No part of the page is wider than the screen."""
    cases = tuple(replace(_failed(way), id=f"suite.case-{n}.mine") for n, way in enumerate(WAYS))
    with _page(browser, tmp_path, _run(*cases), width=390) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_long_demand_fits_a_phone(browser: Any, tmp_path: Path) -> None:
    case = _failed(WAYS[0])
    demand = "effects/s >= 32, or 95 % of the offered rate"
    rules = tuple(replace(rule, expression=demand, observed=40.1) for rule in case.rules)
    with _page(browser, tmp_path, _run(replace(case, rules=rules)), width=390) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_rules_of_tasks_come_before_figures() -> None:
    assert list(Rule).index(Rule.LOST) < list(Rule).index(Rule.THROUGHPUT)
