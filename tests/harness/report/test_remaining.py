"""The time left, asked of recorded runs: how far off it is at half-time, and whether what is shown is calm."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import report_samples as samples

from taskchaos.harness.record.events import (
    CaseDisturbed,
    CaseJudged,
    CaseLeftOut,
    CasesCollected,
    CaseStarted,
    CaseWithdrawn,
    Event,
    RunEnded,
    RunStarted,
)
from taskchaos.harness.record.result import Expectation
from taskchaos.harness.report.remaining import Countdown, Remaining, shown_left

RUNS: list[dict[str, Any]] = json.loads((Path(samples.__file__).with_name("recorded_runs.json")).read_text())
SECOND = 1_000_000_000
RESULT = samples.cases()[0]


def started(at_s: float, workers: int = 1, minutes: float | None = None) -> RunStarted:
    return RunStarted(
        at_ns=round(at_s * SECOND),
        run="r",
        seed=1,
        stack="local",
        profile="quick",
        target_tps=None,
        versions={},
        started="",
        workers=workers,
        minutes=minutes,
    )


def collected(at_s: float, costs_s: dict[str, float], alone: int = 0) -> CasesCollected:
    return CasesCollected(
        at_ns=round(at_s * SECOND),
        count=len(costs_s),
        cases=tuple(costs_s),
        costs_s=tuple(costs_s.values()),
        alone=alone,
    )


def begun(at_s: float, case: str) -> CaseStarted:
    return CaseStarted(
        at_ns=round(at_s * SECOND),
        case=case,
        suite="",
        scenario="",
        subject="",
        expected=Expectation(),
        control=False,
        folder="",
    )


def judged(at_s: float, case: str) -> CaseJudged:
    return CaseJudged(at_ns=round(at_s * SECOND), case=case, result=RESULT)


def recorded(run: dict[str, Any]) -> list[Event]:
    """The events of a recorded run that say when its cases began and ended."""
    found: list[Event] = []
    for name, _, *times in run["cases"]:
        if len(times) == 1:
            found.append(CaseLeftOut(at_ns=round(times[0] * SECOND), case=name, reason=""))
        else:
            found += [begun(times[0], name), judged(times[1], name)]
    found.sort(key=lambda event: event.at_ns)
    plan = collected(run["collected_s"], {name: cost_s for name, cost_s, *_ in run["cases"]}, run["alone"])
    return [started(0, run["workers"]), plan, *found, RunEnded(at_ns=round(run["ended_s"] * SECOND), wall_s=0)]


@dataclass(frozen=True)
class Seen:
    """What is said at one moment, and what is true."""

    share: float
    shown_s: float
    true_s: float


def played(run: dict[str, Any]) -> Iterator[Seen]:
    """What is shown in the course of a run, four times a second, as soon as something is."""
    found, remaining, countdown = recorded(run), Remaining(), Countdown()
    end_ns = found[-1].at_ns
    for at_ns in range(0, end_ns, SECOND // 4):
        while found[0].at_ns <= at_ns:
            remaining.handle(found.pop(0))
        shown_s = countdown.show(remaining.left_s(at_ns), at_ns)
        if shown_s is not None:
            yield Seen(at_ns / end_ns, shown_s, (end_ns - at_ns) / SECOND)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run['stack']} {len(run['cases'])} {run['ended_s']}")
def test_at_half_time_a_recorded_run_is_known_within_a_quarter(run: dict[str, Any]) -> None:
    half = next(seen for seen in played(run) if seen.share >= 0.5)
    assert half.shown_s == pytest.approx(half.true_s, rel=0.25)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run['stack']} {len(run['cases'])} {run['ended_s']}")
def test_the_shown_time_of_a_recorded_run_counts_down(run: dict[str, Any]) -> None:
    figures = [seen.shown_s for seen in played(run)]
    rises = [after - before for before, after in itertools.pairwise(figures) if after > before]
    assert len(rises) <= 2
    falls = [before - after for before, after in itertools.pairwise(figures) if after < before]
    assert max(falls) <= 3, "no more than it must within a quarter of a second"


def test_cases_beside_each_other_take_as_long_as_the_fullest_place() -> None:
    remaining = Remaining()
    for event in (started(0, workers=2), collected(0, {"a.x.s": 10, "b.x.s": 6, "c.x.s": 6})):
        remaining.handle(event)
    assert remaining.left_s(0) == pytest.approx(12, abs=1)
    remaining.handle(begun(0, "a.x.s"))
    remaining.handle(begun(0, "b.x.s"))
    assert remaining.left_s(4 * SECOND) == pytest.approx(8, abs=1)


def test_cases_that_run_alone_come_one_after_the_other_when_all_else_is_done() -> None:
    remaining = Remaining()
    for event in (started(0, workers=3), collected(0, {"a.x.s": 10, "b.x.s": 10, "c.x.s": 10}, alone=2)):
        remaining.handle(event)
    left_s = remaining.left_s(0)
    assert left_s is not None and 15 < left_s < 30


def test_cases_without_a_cost_are_known_once_one_has_ended() -> None:
    remaining = Remaining()
    for event in (started(0), collected(0, {"a.x.s": 0, "a.x.t": 0, "b.y.s": 0}), begun(0, "a.x.s")):
        remaining.handle(event)
    assert remaining.left_s(SECOND) is None
    remaining.handle(judged(5, "a.x.s"))
    assert remaining.left_s(5 * SECOND) == pytest.approx(10, abs=1)


def test_what_a_scenario_took_outweighs_what_it_is_said_to_cost() -> None:
    costs_s: dict[str, float] = {f"a.x.s{n}": 10 for n in range(20)}
    remaining = Remaining()
    for event in (started(0), collected(0, costs_s)):
        remaining.handle(event)
    for n in range(10):
        remaining.handle(begun(2 * n, f"a.x.s{n}"))
        remaining.handle(judged(2 * n + 2, f"a.x.s{n}"))
    left_s = remaining.left_s(20 * SECOND)
    assert left_s is not None and 20 <= left_s < 40, "and not 100"


def test_a_case_over_its_time_is_not_said_to_be_over() -> None:
    remaining = Remaining()
    for event in (started(0), collected(0, {"a.x.s": 10}), begun(0, "a.x.s")):
        remaining.handle(event)
    left_s = remaining.left_s(60 * SECOND)
    assert left_s is not None and left_s > 1


def test_what_is_left_out_withdrawn_or_done_takes_no_time() -> None:
    remaining = Remaining()
    for event in (
        started(0),
        collected(0, {"a.x.s": 10, "a.x.t": 10, "a.x.u": 10}),
        CaseLeftOut(at_ns=0, case="a.x.s", reason=""),
        CaseWithdrawn(at_ns=0, case="a.x.t"),
        begun(0, "a.x.u"),
        judged(10, "a.x.u"),
    ):
        remaining.handle(event)
    assert remaining.left_s(10 * SECOND) is None


def test_a_disturbed_case_is_still_to_come() -> None:
    remaining = Remaining()
    for event in (
        started(0),
        collected(0, {"a.x.s": 10}),
        begun(0, "a.x.s"),
        CaseDisturbed(at_ns=10 * SECOND, case="a.x.s", reason=""),
        judged(10, "a.x.s"),
    ):
        remaining.handle(event)
    assert remaining.left_s(10 * SECOND) == pytest.approx(10, abs=1)


def test_a_soak_ends_when_it_is_to_end() -> None:
    remaining = Remaining()
    for event in (started(0, minutes=2), collected(0, {f"soak.x.s{n}": 17 for n in range(900)})):
        remaining.handle(event)
    assert remaining.left_s(30 * SECOND) == 90


def test_an_estimate_that_jumps_is_taken_over_slowly() -> None:
    countdown = Countdown()
    assert countdown.show(None, 0) is None
    assert countdown.show(60, 0) == 60
    assert countdown.show(30, SECOND // 10) == pytest.approx(60, abs=1)
    figures = [countdown.show(31, SECOND // 10 * n) or 0 for n in range(2, 200)]
    assert figures[-1] < 40, "after some seconds it is believed"
    assert countdown.show(33, 20 * SECOND) == figures[-1], "a little more is no reason to count up"


@pytest.mark.parametrize(
    ("left_s", "text"),
    [
        (0.2, "about 1 s left"),
        (21.4, "about 21 s left"),
        (43.0, "about 45 s left"),
        (150.0, "about 2 min left"),
        (5_000.0, "about 83 min left"),
        (30_000.0, "about 8 h 20 min left"),
    ],
)
def test_a_time_is_told_no_finer_than_it_is_known(left_s: float, text: str) -> None:
    assert shown_left(left_s) == text
