"""Whatever the texts, figures and stored files of a run hold, every view is written."""

from __future__ import annotations

import io
import json
import math
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import report_samples as samples

from taskchaos.harness.errors import UsageError
from taskchaos.harness.record.result import (
    Band,
    CaseDetail,
    FailedTest,
    LeftOut,
    Missing,
    RunProblem,
    RunResult,
    Story,
    StoryLine,
    Trouble,
    Window,
)
from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.report import html, json_file, junit, markdown, write_all
from taskchaos.harness.report.run import collect
from taskchaos.harness.report.terminal import Terminal
from taskchaos.harness.verbosity import Verbosity

TEXTS = {
    "control characters": "\x00\x07\x1b[2J\x1b]0;title\x07\r\n\t\x85\u2028end",
    "markup": '"><script>alert(1)</script><img src=x onerror=alert(1)> | `x` **b** [l](u) &amp; ]]>',
    "long": "word " * 2000,
    "long and in one piece": "x" * 10_000,
    "empty": "",
    "lone surrogates": "file \udcff\ud800 name",
    "right to left": "\u202e abc \u202c",
    "a template": "{{ 7 * 7 }}{% raw %}{# no #}",
}


def hostile(value: Any, text: str) -> Any:
    """The value with this text in the place of every text in it."""
    if isinstance(value, str) and type(value) is str:
        return text
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: hostile(getattr(value, f.name), text) for f in fields(value)})
    if isinstance(value, tuple):
        return tuple(hostile(v, text) for v in value)
    if isinstance(value, Mapping):
        return {hostile(k, text): hostile(v, text) for k, v in value.items()}
    return value


def full_result() -> RunResult:
    """A run that has something in every field."""
    result = collect(samples.interrupted())
    cases = tuple(
        replace(c, assertion="x" if i % 3 == 0 else "", baseline="x", repairs=("x",), tries=2)
        for i, c in enumerate((*samples.cases(), *result.cases))
    )
    troubled = tuple(replace(cases[0], trouble=t, error="x", id=f"a.b.{t}") for t in Trouble)
    return replace(
        result,
        cases=(*cases, *troubled),
        left_out=(LeftOut("a.b.c", "x"),),
        incomplete=(Missing("shard 1/2", "x"), Missing("a.b.c", "x")),
        selection=("a.b.c",),
        chosen=("-k", "x"),
        failed_tests=(FailedTest("f.py::t", True, "x"), FailedTest("f.py", False, "x", collected=False)),
        doubts=("x",),
        problems=(RunProblem("x"), RunProblem("x", stack=True), RunProblem("x", usage=True)),
    )


DETAIL = CaseDetail(
    phases=(Band("x", 0.0, 9.0),),
    faults=(Band("x", 1.0, 2.0),),
    windows=(Window(0.0, 1.0, 3, 3, 3.0, 1.0, 2.0), Window(1.0, 2.0, 3, 3, 3.0, 1.0, 2.0)),
    stories=(Story(507, (Rule.LOST,), (StoryLine(0.0, "x", "x"),)),),
)


def show(result: RunResult, **options: Any) -> str:
    stream = io.StringIO()
    Terminal(stream, width=100, **options).summary(result, Path("report.html"))
    return stream.getvalue()


class Page(HTMLParser):
    """Finds what a text may not bring in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts = self.images = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not any(name.startswith("on") for name, _ in attrs)
        self.scripts += tag == "script"
        self.images += tag == "img"


@pytest.mark.parametrize("name", TEXTS)
def test_every_view_shows_hostile_texts(name: str) -> None:
    result = hostile(full_result(), TEXTS[name])
    details = {case.id: hostile(DETAIL, TEXTS[name]) for case in result.cases}

    data = json.loads(json_file.dumps(result).encode("utf-8", "replace"))
    assert len(data["cases"]) == len(result.cases) and data["doubts"] and data["problems"] and data["failed_tests"]
    root = ET.fromstring(junit.dumps(result).encode())
    assert len(list(root.iter("testcase"))) == len(result.cases) + 1 + 2 + 1
    summary = markdown.dumps(result)
    assert len(summary.encode("utf-8", "replace")) < 1_000_000
    prose = re.sub("```sh\n.*\n```|`[^`\n]*`", "", summary.replace("\\`", ""))  # code is shown as it is
    assert "<script" not in prose.replace("\\<", "")
    written = html.render(result, details)
    assert all(c.isprintable() or c == "\n" for c in written)
    page = Page(written)
    assert (page.scripts, page.images) == (1, 0)
    for text in (show(result), show(result, verbosity=Verbosity.ALL)):
        assert all(c.isprintable() or c == "\n" for c in text)
        assert len(text) < 1_000_000
        text.encode()


@pytest.mark.parametrize("name", TEXTS)
def test_the_live_view_shows_hostile_texts(name: str) -> None:
    stream = io.StringIO()
    terminal = Terminal(stream, width=100)
    for event in samples.stream():
        terminal.handle(hostile(event, TEXTS[name]))
    assert all(c.isprintable() or c == "\n" for c in stream.getvalue())
    assert max(map(len, stream.getvalue().splitlines())) < 2_500


@pytest.mark.parametrize("name", TEXTS)
def test_every_file_of_a_hostile_run_is_written(name: str, tmp_path: Path) -> None:
    found = [hostile(event, TEXTS[name]) for event in samples.stream()]
    out = samples.run_folder(tmp_path / "run", found, {})
    result = write_all(out)
    assert {"verdict.json", "junit.xml", "summary.md", "report.html"} <= {p.name for p in out.iterdir()}
    assert json_file.read(out / "verdict.json").exit_code == result.exit_code
    ET.parse(out / "junit.xml")


FIGURES = (math.nan, math.inf, -math.inf, -1.0, 0.0, 1e299, -1e299, 5e-324)


@pytest.mark.parametrize("figure", FIGURES)
def test_odd_figures_are_drawn_or_left_out(figure: float) -> None:
    case = samples.cases()[2]
    odd = replace(
        case,
        wall_s=figure,
        throughput=replace(case.throughput, baseline_tps=figure, target_tps=figure, recovery_s=figure),
        rules=tuple(replace(r, observed=figure) for r in case.rules),
    )
    result = replace(collect(samples.judged(odd)), cases=(odd,), wall_s=figure)
    rows = tuple(Window(figure, figure, 3, 3, figure, figure, figure) for _ in range(3))
    mixed = (*samples.windows(case), Window(0.0, 1.0, 3, 3, figure, figure, figure), *rows)
    for windows in (rows, mixed):
        bands = (Band("x", figure, 1.0), Band("y", 1.0, figure))
        page = html.render(result, {odd.id: CaseDetail(phases=bands, faults=bands, windows=windows)})
        assert "NaN" not in page.partition("<script>")[0]
    ET.fromstring(junit.dumps(result).encode())
    json.loads(json_file.dumps(result))
    assert show(result) and markdown.dumps(result)


def _damages() -> dict[str, Callable[[bytes], bytes]]:
    dice = random.Random(11)

    def swapped(data: bytes) -> bytes:
        lines = data.splitlines(keepends=True)
        dice.shuffle(lines)
        return b"".join(lines)

    def flipped(data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(200):
            changed[dice.randrange(len(changed))] = dice.randrange(256)
        return bytes(changed)

    return {
        "empty": lambda data: b"",
        "halved": lambda data: data[: len(data) // 2],
        "reversed": lambda data: b"".join(reversed(data.splitlines(keepends=True))),
        "shuffled": swapped,
        "flipped": flipped,
        "lines that are no objects": lambda data: b"[]\n1\nnull\n" + data,
        "no text": lambda data: bytes(range(256)) * 20 + b"\n" + data,
        "unknown kinds": lambda data: re.sub(rb'"type":"[a-z_]+"', b'"type":"never_heard_of"', data),
        "numbers as words": lambda data: re.sub(rb":\s*(\d+)", rb':"\1"', data),
        "huge numbers": lambda data: re.sub(rb":\s*(\d+)", rb":\g<1>00000000000000", data),
        "negative numbers": lambda data: re.sub(rb":\s*(\d+)", rb":-\1", data),
    }


@pytest.mark.parametrize("name", _damages())
def test_a_damaged_stream_is_unknown_or_refused(name: str, tmp_path: Path) -> None:
    out = samples.run_folder(tmp_path / "run", samples.judged(*(c for c in samples.cases() if c.as_expected)), {})
    stream = out / "events.jsonl"
    assert write_all(out).exit_code == 0
    stream.write_bytes(_damages()[name](stream.read_bytes()))
    try:
        result = write_all(out)
    except UsageError:
        return
    harmless = ("reversed", "shuffled", "negative numbers", "huge numbers")
    assert result.exit_code != 0 or name in harmless
    assert json_file.read(out / "verdict.json").exit_code == result.exit_code


@pytest.mark.parametrize("name", [*_damages(), "deep", "not finite"])
def test_a_damaged_detail_costs_the_charts_only(name: str, tmp_path: Path) -> None:
    case = samples.cases()[0]
    out = samples.run_folder(tmp_path / "run", samples.judged(case), {case.id: samples.detail(case)})
    path = out / "cases" / case.id / "detail.json"
    damages = {
        **_damages(),
        "deep": lambda data: b"[" * 100_000,
        "not finite": lambda data: re.sub(rb":\d+\.\d+", b":NaN", data),
    }
    path.write_bytes(damages[name](path.read_bytes()))
    result = write_all(out)
    assert result.exit_code == 0
    if name not in ("reversed", "shuffled", "unknown kinds", "negative numbers", "huge numbers", "not finite"):
        assert any("its charts are missing" in problem.text for problem in result.problems)
        assert "its charts are missing" in (out / "junit.xml").read_text(encoding="utf-8")
