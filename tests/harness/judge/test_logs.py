"""Lines of logs get their time in the case, in whatever zone and form they tell it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from taskchaos.harness.judge import logs
from taskchaos.harness.judge.logs import LogLine, around, log_names, read_logs
from taskchaos.harness.record import events
from taskchaos.harness.record.history import NEVER, FaultInterval
from taskchaos.harness.record.result import Expectation

AT_NS, S = 5_000_000_000_000, 1_000_000_000
ZONE = timezone(timedelta(hours=5, minutes=30))
BEGAN = datetime(2026, 3, 1, 1, 30, 0, tzinfo=ZONE)  # 20:00 of the day before in UTC


def case(folder: Path, wall: str = BEGAN.isoformat(), **texts: str) -> Path:
    (folder / "logs").mkdir()
    for name, text in texts.items():
        (folder / "logs" / f"{name.replace('_', '-')}.log").write_text(text)
    log = events.Log(folder / "events.jsonl", folder / "run.jsonl")
    started = events.CaseStarted(
        case="c", suite="s", scenario="c", subject="x", expected=Expectation(), control=False, folder="c", wall=wall,
        at_ns=AT_NS,
    )  # fmt: skip
    log.emit(started)
    log.close()
    return folder


FORMS = {
    "Celery": "[2026-03-01 01:30:02,500: WARNING/MainProcess] it happened",
    "Celery's child": "[2026-03-01 01:30:02,500: WARNING/ForkPoolWorker-1] it happened",
    "Redis": "4242:M 01 Mar 2026 01:30:02.500 * it happened",
    "Redis in UTC": "1:M 28 Feb 2026 20:00:02.500 # it happened",
}


@pytest.mark.parametrize("form", FORMS)
def test_a_line_is_put_at_its_time(tmp_path: Path, form: str) -> None:
    (line,) = read_logs(case(tmp_path, worker_1=f"a banner without a time\n{FORMS[form]}\n  a second line\n"))
    assert (line.name, line.at_ns) == ("worker-1.log", AT_NS + 2_500_000_000)
    assert line.text.removeprefix("WARNING ") == "it happened"


@pytest.mark.parametrize("hours", [-11, -5, -2, -1, 0, 1, 2, 5.5, 12])
@pytest.mark.parametrize("minutes", [0.1, 45, 100])
def test_in_every_zone_and_in_long_cases_local_time_and_that_of_utc_are_told_apart(
    tmp_path: Path, hours: float, minutes: float
) -> None:
    began = datetime(2026, 3, 1, 12, 0, 0, tzinfo=timezone(timedelta(hours=hours)))
    later = began + timedelta(minutes=minutes)
    form = "[%Y-%m-%d %H:%M:%S,000: INFO/MainProcess] x"
    texts = [
        f"{a.strftime(form)}\n{b.strftime(form)}"
        for a, b in ((began, later), (began.astimezone(UTC), later.astimezone(UTC)))
    ]
    found = read_logs(case(tmp_path, began.isoformat(), worker_1=texts[0], worker_2=texts[1]))
    assert [line.at_ns for line in found] == [AT_NS] * 2 + [AT_NS + round(60 * minutes) * S] * 2


BROKEN = {
    "a day that there is not": "[2026-02-31 01:30:02,500: WARNING/MainProcess] x",
    "of another day": "[2026-03-09 01:30:02,500: WARNING/MainProcess] x",
    "no text": "",
    "no lines": "\x00\xff" * 500,
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_what_has_no_time_in_the_case_is_left_out(tmp_path: Path, text: str) -> None:
    assert read_logs(case(tmp_path, redis=text)) == ()


@pytest.mark.parametrize("wall", ["", "yesterday"])
def test_a_case_that_does_not_tell_when_it_began_has_no_lines(tmp_path: Path, wall: str) -> None:
    assert read_logs(case(tmp_path, wall, redis=FORMS["Redis"])) == ()
    assert read_logs(tmp_path / "none") == log_names(tmp_path / "none") == ()


def test_a_role_whose_clock_was_set_says_nothing(tmp_path: Path) -> None:
    folder = case(tmp_path, worker_1=FORMS["Celery"], worker_2=FORMS["Celery"])
    fault = FaultInterval("clock_ahead", "worker-1", AT_NS, AT_NS + S, True, True)
    assert [line.name for line in read_logs(folder, (fault,))] == ["worker-2.log"]


def test_of_a_huge_log_its_beginning_and_its_end_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_BYTES", 200)
    line = FORMS["Celery"] + "\n"
    found = read_logs(case(tmp_path, worker_1=line + "filler\n" * 1000 + line))
    assert len(found) == 2


def test_the_nearest_lines_are_taken_in_order_of_time() -> None:
    lines = tuple(LogLine(at * S, "x.log", str(at)) for at in range(10))
    assert [line.text for line in around(lines, 5 * S, 2 * S, 3)] == ["4", "5", "6"]
    assert around(lines, 50 * S, 2 * S, 3) == around(lines, NEVER, 2 * S, 3) == []


def test_empty_logs_are_not_named(tmp_path: Path) -> None:
    folder = case(tmp_path, redis="x", worker_1="")
    assert log_names(folder) == ("redis.log",)
    assert json.loads((folder / "events.jsonl").read_text())["wall"] == BEGAN.isoformat()
