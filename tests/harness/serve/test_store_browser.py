"""The store in a real browser: list, filter, comparison, and a run that is followed until its report is there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import report_samples as samples
from browsing import opened
from serve_support import write_run

from taskchaos.harness import codec
from taskchaos.harness.clock import now_ns
from taskchaos.harness.record import events
from taskchaos.harness.record.result import Expectation
from taskchaos.harness.run import ongoing
from taskchaos.harness.serve.server import RunServer


def test_runs_are_filtered_compared_and_opened(browser: Any, served: RunServer) -> None:
    with opened(browser, served.address) as page:
        assert page.locator("tbody tr").count() == 3
        page.fill("#filter", "fail mine")
        assert page.locator("tbody tr:visible").count() == 1
        page.fill("#filter", "")
        page.check("input[name=before][value='run a']")
        page.check("input[name=after][value='run-b']")
        page.click("text=Compare before and after")
        assert "REGRESSION" in page.inner_text("h1")
        page.go_back()
        page.click("text=run-b")
        assert "surprise" in page.inner_text("h1")


@pytest.mark.parametrize("dark", [False, True])
def test_the_store_fits_a_phone(browser: Any, served: RunServer, dark: bool) -> None:
    for target in ("", "compare?before=run%20a&after=run-b", "runs/run-b/"):
        with opened(browser, f"{served.address}{target}", width=390, dark=dark) as page:
            assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_run_that_goes_on_is_followed_to_its_report(browser: Any, served: RunServer, tmp_path: Path) -> None:
    """As its events come, half lines too; at its end the page is the report."""
    ready = write_run(tmp_path / "ready", "x")
    before = (ready / "events.jsonl").read_text().splitlines(keepends=True)
    judged = next(n for n, line in enumerate(before) if json.loads(line)["type"] == "case_judged")
    log = events.Log(tmp_path / "started.jsonl", tmp_path / "run.jsonl")
    name = {"case": "suite.scenario.mine", "suite": "suite", "scenario": "scenario", "subject": "mine"}
    log.emit(events.CaseStarted(**name, expected=Expectation(), control=False, folder="x", at_ns=now_ns()))
    log.close()
    lines = [*before[:judged], (tmp_path / "started.jsonl").read_text(), *before[judged:]]
    case = judged
    folder = served.runs / "now"
    shutil.copytree(ready, folder)
    (folder / "report.html").unlink()
    (folder / "events.jsonl").write_text("".join(lines[: case + 1]))
    ongoing.hold(folder)
    try:
        with opened(browser, f"{served.address}runs/now/") as page:
            page.wait_for_selector("#now li")
            assert "suite.scenario.mine" in page.inner_text("#now")
            with (folder / "events.jsonl").open("a") as stream:
                stream.write("".join(lines[case + 1 :])[:-20])
                stream.flush()
                page.wait_for_selector("#judged tr")
                assert "suite.scenario.mine" in page.inner_text("#judged")
                stream.write("".join(lines)[-20:])
            shutil.copy(ready / "report.html", folder)
            ongoing.release(folder)
            page.wait_for_selector("text=chaos test report")
    finally:
        ongoing.release(folder)


def test_a_name_that_is_markup_is_shown_as_it_is(browser: Any, served: RunServer) -> None:
    name = "<img src=x onerror=alert(1)>"
    write_run(served.runs, name)
    (served.runs / name / "events.jsonl").write_text(
        json.dumps(codec.encode(samples.stream()[0]) | {"type": events.RunStarted.type}) + "\n"
    )
    with opened(browser, served.address) as page:
        assert name in page.inner_text("tbody")
        page.click(f"text={name}")
        assert page.title()
