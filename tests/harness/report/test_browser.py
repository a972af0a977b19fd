"""The report in a real browser: keyboard, filters, pointer, dark and narrow, and nothing asked for or amiss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import report_samples as samples
from browsing import opened

from taskchaos.harness.record.result import Band, CaseDetail, RunResult, TaskWays, Window
from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.report.html import render
from taskchaos.harness.report.run import collect

ROWS = tuple(Window(float(i), i + 1.0, 3, 3, 3.0, 5.0, 9.0) for i in range(10))
WAYS = TaskWays((1, 2, 3, 4), (500, 2000, 6000, 9000), (20, -1, 700, 30), "dgad")
FAULTS = (Band("kill_tree", 2.0, 2.5, "worker-1"), Band("latency", 5.0, 8.0, "worker-2"))
LONG = "a_rather_long_name_of_a_suite.with_a_scenario_that_is_longer.my_own_retry_implementation"


def run() -> tuple[RunResult, dict[str, CaseDetail]]:
    """The sample run, a case with a name that fits no phone, and pictures for all."""
    result = collect(samples.stream())
    failing = next(case for case in result.cases if Rule.LOST in case.failed_rules)
    cases = (*result.cases, replace(failing, id=LONG, suite="a_rather_long_name_of_a_suite", subject="my_own"))
    stories = samples.details()
    details = {
        case.id: replace(
            stories.get(case.id, CaseDetail()), phases=(), windows=ROWS, tasks=WAYS, faults=FAULTS, logs=("redis.log",)
        )
        for case in cases
    }
    return replace(result, cases=cases), details


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Iterator[Any]:
    result, details = run()
    (tmp_path / "report.html").write_text(render(result, details), encoding="utf-8")
    with opened(browser, tmp_path / "report.html") as shown:
        yield shown


def cases_shown(page: Any) -> list[str]:
    return list(page.eval_on_selector_all("details.case:not([hidden])", "all => all.map(each => each.id)"))


def test_a_filter_for_each_kind_leaves_what_has_it(page: Any) -> None:
    everything = cases_shown(page)
    for name in ("subject", "suite", "outcome", "rule"):
        values = page.eval_on_selector_all(f"select[name={name}] option", "all => all.map(each => each.value)")
        assert values[0] == "" and len(values) > 1, name
        for value in values[1:]:
            page.select_option(f"select[name={name}]", value)
            left = cases_shown(page)
            told = page.eval_on_selector_all(
                "details.case:not([hidden])", f"all => all.map(each => each.dataset.{name})"
            )
            assert left and all(value in each.split() for each in told), (name, value)
            assert page.inner_text(".filters output") == f"{len(left)} of {len(everything)} cases"
            assert page.eval_on_selector_all(
                ".group:not([hidden])", "all => all.every(e => e.querySelector('details.case:not([hidden])'))"
            )
        page.select_option(f"select[name={name}]", "")
    assert cases_shown(page) == everything
    page.fill("input[name=text]", "longer.my_own")
    (left,) = cases_shown(page)
    assert left.endswith("my_own_retry_implementation")


def test_filters_join_and_may_leave_nothing(page: Any) -> None:
    page.select_option("select[name=outcome]", "passed")
    page.select_option("select[name=rule]", "lost")
    assert cases_shown(page) == [] and page.inner_text(".filters output").startswith("0 of")


def test_the_keyboard_reaches_and_opens_everything(page: Any) -> None:
    """Skip link, links, filters, cases and stories, in the order of the page; nothing holds the focus."""
    seen: list[str] = []
    for _ in range(400):
        page.keyboard.press("Tab")
        what = page.evaluate(
            "document.activeElement.tagName + ' ' + (document.activeElement.textContent || '').trim().slice(0, 40)"
        )
        if what.startswith("BODY"):
            break
        seen.append(what)
    assert seen[0] == "A Skip to the cases"
    assert {"SUMMARY", "SELECT", "INPUT", "BUTTON"} <= {what.split()[0] for what in seen}
    page.focus("details.case:not([open]) > summary")
    before = page.eval_on_selector_all("details.case[open]", "all => all.length")
    page.keyboard.press("Enter")
    assert page.eval_on_selector_all("details.case[open]", "all => all.length") == before + 1


def test_a_link_to_a_case_opens_it(page: Any) -> None:
    anchor = page.eval_on_selector("details.case:not([open])", "each => each.id")
    page.evaluate("anchor => { location.hash = anchor }", anchor)
    page.wait_for_function("anchor => document.getElementById(anchor).open", arg=anchor)


def test_the_pointer_shows_the_figures_and_which_faults_are_in_force(page: Any) -> None:
    box = page.locator("details.case[open] svg.chart").first.bounding_box()

    def at(second: float) -> list[str]:
        page.mouse.move(box["x"] + box["width"] * second / 10, box["y"] + 60)
        assert page.locator("details.case[open] .readout").first.inner_text().startswith(f"{second:.2f} s: ")
        return list(
            page.eval_on_selector_all("svg.chart.at .lane.now text", "all => all.map(each => each.textContent)")
        )

    page.locator("details.case[open] svg.chart").first.scroll_into_view_if_needed()
    box = page.locator("details.case[open] svg.chart").first.bounding_box()
    assert at(1.0) == []
    assert at(6.5) == ["worker-2 · latency"]
    assert "effects/s" in page.locator(".readout").first.inner_text()


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_shows_all_of_it_and_breaks_no_word(browser: Any, tmp_path: Path, dark: bool) -> None:
    """No part of the page is wider than the screen; names are wrapped at dots and underscores only."""
    result, details = run()
    (tmp_path / "report.html").write_text(render(result, details), encoding="utf-8")
    with opened(browser, tmp_path / "report.html", width=390, dark=dark) as page:
        page.eval_on_selector_all("details", "all => all.forEach(each => { each.open = true })")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        broken = page.evaluate(
            """() => [...document.querySelectorAll(".name")].flatMap(name => [...name.childNodes]
                .filter(node => node.nodeType === 3 && node.textContent.trim()).filter(node => {
                    const range = document.createRange(); range.selectNode(node);
                    return new Set([...range.getClientRects()].map(box => Math.round(box.top))).size > 1;
                }).map(node => node.textContent))"""
        )
        assert broken == []
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, background.strip("rgb()").split(","))) < 200) is dark


def test_the_logs_of_a_case_are_links_that_lead_to_them(page: Any, tmp_path: Path) -> None:
    places = page.eval_on_selector_all(".logs a", "all => all.map(each => each.href)")
    assert places and all(place.startswith(f"{tmp_path.as_uri()}/cases/") for place in places)
    assert all(place.endswith("/logs/redis.log") for place in places)
