"""The pages of the store. They hold no figures of their own: rows, comparisons and reports are made elsewhere."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from taskchaos.harness.judge.compare import ChangeKind, Comparison
from taskchaos.harness.report import comparison, html
from taskchaos.harness.report.phrases import figure, seconds
from taskchaos.harness.run.history import CaseHistory, RunRow, RunState

REPORT = Path(html.__file__).parent


@cache
def _environment() -> Environment:
    """Templates of the store, and the style sheet of the report."""
    made = Environment(
        loader=FileSystemLoader([Path(__file__).parent, REPORT], encoding="utf-8"),
        autoescape=True,
        finalize=html.printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        figure=figure, seconds=seconds, when=_when, quoted=lambda text: quote(os.fsencode(text), safe="")
    )
    made.filters.update(breakable=html.breakable)
    return made


def _page(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)


def _when(epoch_s: float) -> str:
    return datetime.datetime.fromtimestamp(epoch_s).strftime("%Y-%m-%d %H:%M") if epoch_s else "–"


def runs_page(rows: Sequence[RunRow], flaky: Sequence[CaseHistory], place: str) -> str:
    """All runs, newest first, with what they came to, and the cases that are flaky in them."""
    return _page("runs.html.j2", rows=rows, flaky=flaky, place=place, words=[word_of(row) for row in rows])


def word_of(row: RunRow) -> str:
    """What a run came to, or how far it came."""
    return row.outcome if row.state is RunState.ENDED and row.outcome else row.state.value


def compare_page(found: Comparison, before: str, after: str) -> str:
    """Two runs beside each other."""
    return _page(
        "compare.html.j2",
        found=found,
        before=before,
        after=after,
        conclusion=comparison.conclusion(found),
        verdict=comparison.verdict,
        interval=comparison.interval,
        shown=[change for change in found.cases if change.kind is not ChangeKind.SAME],
        same=len(found.of(ChangeKind.SAME)),
    )


def live_page(name: str) -> str:
    """A run that goes on; the page asks how far it is, and becomes the report at its end."""
    return _page("live.html.j2", name=name)


def problem_page(title: str, text: str) -> str:
    """What cannot be shown, and why."""
    return _page("problem.html.j2", title=title, text=text)
