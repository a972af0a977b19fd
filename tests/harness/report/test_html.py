"""report.html: well formed, self-contained, escaped, and small enough."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import report_samples as samples

from taskchaos.harness.record.result import Band, CaseDetail, RunResult, Story, StoryLine, Window
from taskchaos.harness.record.verdict import Outcome, Rule, RuleResult, Sample
from taskchaos.harness.report import charts, html, svg
from taskchaos.harness.report.atomic_write import replace_text
from taskchaos.harness.report.run import collect

VOID = {"meta", "link", "br", "hr", "img", "input", "wbr"}
EVIL = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


class Page(HTMLParser):
    """Checks nesting; collects ids, links, and text by element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: list[tuple[str, Mapping[str, str | None]]] = []
        self.labels: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append((tag, values))
        if values.get("id"):
            self.ids.append(values["id"] or "")
        if tag == "a":
            self.links.append(values.get("href") or "")
        for name in (values.get("aria-labelledby") or "").split():
            self.labels.append(name)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]} at {self.getpos()}"
        self.open.pop()


@pytest.fixture(scope="module")
def result() -> RunResult:
    return collect(samples.stream())


@pytest.fixture(scope="module")
def text(result: RunResult) -> str:
    return html.render(result, samples.details())


def test_tags_are_balanced_ids_unique_and_links_lead_somewhere(text: str) -> None:
    page = Page(text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    inside = {link for link in page.links if not link.startswith("cases/")}
    assert {link.removeprefix("#") for link in inside} <= set(page.ids)
    assert set(page.labels) <= set(page.ids)


def test_the_page_needs_no_other_file_and_no_network(text: str) -> None:
    assert not re.search(r"https?://", text)
    assert not re.search(r"<script[^>]+src|<link|@import|url\(", text)
    assert "default-src 'none'" in text


def test_the_page_has_styles_for_phones_dark_mode_and_print(text: str) -> None:
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text
    for wanted in ("prefers-color-scheme: dark", "@media print", "@media (max-width"):
        assert wanted in text


def test_the_verdict_comes_first_and_surprises_come_before_controls(text: str) -> None:
    marks = [
        "8 surprises in 14 cases",
        "What needs a look",
        'id="surprises"',
        'id="matrix"',
        'id="controls"',
        'id="passed"',
        'id="run"',
    ]
    places = [text.index(mark) for mark in marks]
    assert places == sorted(places)


def test_every_case_and_every_rule_is_there(text: str, result: RunResult) -> None:
    page = Page(text)
    cases = [values for tag, values in page.tags if tag == "details" and "case " in (values.get("class") or "")]
    assert len(cases) == len(result.cases)
    assert sum("open" in values for values in cases) == 3
    complaining = [r for c in result.cases for r in c.rules if r.outcome in (Outcome.FAIL, Outcome.UNKNOWN)]
    rules = [v for tag, v in page.tags if tag == "tr" and (v.get("class") or "").startswith("r-")]
    assert len(rules) == len(complaining)
    for case in result.cases:
        folded = text.partition(f'id="{slug_of(case.id)}"')[2].partition('<details class="kept">')[2]
        folded = folded.partition("</details>")[0]
        assert all(re.search(rf"\b{r.rule.value}\b", folded) for r in case.rules if r.outcome is Outcome.PASS)
    assert "not claimed" in text and "0 of 1, no evidence" in text
    assert "attempt 1 is cut short: pid 4712 was killed" in text


def test_charts_have_titles_descriptions_and_units(text: str) -> None:
    page, drawn = Page(text), len(samples.details())
    charts_drawn = [values for tag, values in page.tags if tag == "svg" and values.get("class") == "chart"]
    assert len(charts_drawn) == drawn
    assert all(values["aria-label"] and values["aria-describedby"] in page.ids for values in charts_drawn)
    assert "seconds since the first phase" in text and "ms from due to first effect" in text
    assert "Phases: baseline 0.0–4.0 s" in text and "Faults: worker-1 · process.kill_tree 4.2–6.0 s" in text


def test_hostile_names_and_notes_are_escaped(result: RunResult) -> None:
    rule = RuleResult(Rule.LOST, result.cases[2].rules[0].outcome, EVIL, 1, EVIL, (Sample(1, EVIL), Sample(None, EVIL)))
    case = replace(result.cases[2], id=EVIL, suite=EVIL, scenario=EVIL, subject=EVIL, replay=EVIL, rules=(rule,))
    detail = CaseDetail(
        phases=(Band(EVIL, 0.0, 9.0),),
        faults=(Band(EVIL, 1.0, 2.0),),
        windows=(Window(0.0, 1.0, 3, 3, 3.0, 1.0, 2.0), Window(1.0, 2.0, 3, 3, 3.0, 1.0, 2.0)),
        stories=(Story(1, (Rule.LOST,), (StoryLine(0.0, EVIL, EVIL),)),),
    )
    run = replace(result, run=EVIL, stack=EVIL, versions={EVIL: EVIL}, cases=(case,))
    text = html.render(run, {EVIL: detail})
    page = Page(text)
    assert page.open == []
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert not any(tag == "img" or "onerror" in values for tag, values in page.tags)


def test_a_case_without_detail_or_a_run_without_cases_is_shown(result: RunResult) -> None:
    assert Page(html.render(result, {})).open == []
    empty = collect([])
    text = html.render(empty, {})
    assert Page(text).open == []
    assert "Nothing was run" in text


def test_equal_ids_after_cleaning_get_anchors_of_their_own(result: RunResult) -> None:
    twins = tuple(replace(result.cases[0], id=name) for name in ("a b", "a.b", "a/b"))
    page = Page(html.render(replace(result, cases=twins), {}))
    assert {"case-a-b", "case-a-b-2", "case-a-b-3"} <= set(page.ids)


def slug_of(case: str) -> str:
    return f"case-{html.slug(case)}"


def test_a_large_run_stays_small_enough_to_mail(result: RunResult, tmp_path: Path) -> None:
    long_story = tuple(StoryLine(i / 10, f"worker-{i % 9}", "attempt begins after a while " * 3) for i in range(200))
    rows = samples.windows(result.cases[2], step_s=0.02)
    faults = tuple(Band("process.kill_child", i * 0.02, i * 0.02 + 0.01, "worker-1") for i in range(700))
    stories = tuple(Story(i, (list(Rule)[i % 8],), long_story) for i in range(200))
    detail = CaseDetail(phases=(Band("fault", 0.0, 17.0),), faults=faults, windows=rows, stories=stories)
    cases = tuple(replace(result.cases[2], id=f"s.c{i}.x") for i in range(40))
    path = tmp_path / "report.html"
    replace_text(path, html.render(replace(result, cases=cases), {c.id: detail for c in cases}))
    assert path.stat().st_size < 3_000_000
    assert "lines left out" in path.read_text()


def test_thinning_keeps_totals_and_the_worst_latency() -> None:
    rows = [Window(i, i + 1.0, i, 2, float(i), float(i), float(i * 2)) for i in range(10)]
    thin = charts.thin(rows, 4)
    assert [(r.begun_s, r.ended_s, r.effects, r.submits, r.effects_per_s, r.p99_ms) for r in thin] == [
        (0, 3.0, 3, 6, 1.0, 4.0),
        (3, 6.0, 12, 6, 4.0, 10.0),
        (6, 9.0, 21, 6, 7.0, 16.0),
        (9, 10.0, 9, 2, 9.0, 18.0),
    ]
    assert charts.thin([], 4) == []


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 108, [0, 50, 100, 150]), (0, 17.1, [0, 5, 10, 15, 20]), (0, 0.9, [0, 0.25, 0.5, 0.75, 1.0]), (0, 0, None)],
)
def test_ticks_are_round_and_cover_the_values(low: float, high: float, ticks: list[float] | None) -> None:
    found = svg.nice_ticks(low, high, 4)
    assert ticks is None or found == ticks
    assert found[0] <= low and found[-1] >= high
