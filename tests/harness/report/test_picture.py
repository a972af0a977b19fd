"""The picture of a case: what is drawn of tasks, faults and phases, and that a run of hundreds of cases stays small."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import report_samples as samples

from taskchaos.harness.record.result import Band, CaseDetail, CaseResult, Cause, CauseKind, TaskEnd, TaskWays, Window
from taskchaos.harness.record.verdict import Outcome, Rule
from taskchaos.harness.report import charts, html, svg
from taskchaos.harness.report.run import collect

ROWS = tuple(Window(float(i), i + 1.0, 3, 3, 3.0, 5.0, 9.0) for i in range(10))
LOST = TaskWays((1, 2, 3, 4, 5), (500, 2000, 2010, 6000, 9000), (20, -1, -1, 700, 30), "dggad")


def case(*failed: Rule, causes: tuple[Cause, ...] = ()) -> CaseResult:
    return replace(samples.cases()[0], failed_rules=failed, causes=causes)


def drawn(of: CaseResult, detail: CaseDetail, **options: bool) -> str:
    return str(charts.picture(of, detail, "shows", **options))


def test_a_chart_of_nothing_but_zeros_is_drawn() -> None:
    rows = tuple(Window(float(i), i + 1.0, 0, 0, 0.0, None, None) for i in range(3))
    zeros = drawn(case(), CaseDetail(windows=rows))
    assert "tasks per second" in zeros and "from due" not in zeros
    assert drawn(case(), CaseDetail()) == ""


def test_every_task_is_a_dot_or_a_sign_at_its_submit_time() -> None:
    picture = drawn(case(Rule.LOST, Rule.DUPLICATE), CaseDetail(windows=ROWS, tasks=LOST))
    assert picture.count("h0") == 3, "each that took effect"
    assert re.search(r'<path class="t-a" d="[^"]*m600 \d+h0"', picture), "submitted at 6 of 10 s"
    (sign,) = re.findall(r'<text class="m t-g" x="([\d.]+)%"[^>]*>×<title>(.*?)</title>', picture)
    assert sign == ("20.00", "2 tasks (2, 3): lost"), "two that are too near to one another are one sign"


def test_without_dots_what_is_wrong_is_drawn_all_the_same() -> None:
    picture = drawn(case(Rule.LOST), CaseDetail(windows=ROWS, tasks=LOST), dots=False)
    assert picture.count("h0") == 1 and "t-a" in picture and "t-g" in picture


@pytest.mark.parametrize(
    ("failed", "end", "word"),
    [
        (Rule.LOST, TaskEnd.GONE, "lost"),
        (None, TaskEnd.GONE, "no effect"),
        (Rule.STUCK, TaskEnd.LEFT, "stuck"),
        (None, TaskEnd.LEFT, "left"),
        (Rule.DUPLICATE, TaskEnd.AGAIN, "duplicate"),
        (None, TaskEnd.AGAIN, "done more than once"),
        (None, TaskEnd.DEAD, "dead letter"),
        (None, TaskEnd.REVOKED, "revoked"),
    ],
)
def test_the_legend_calls_an_end_what_the_rules_call_it(failed: Rule | None, end: TaskEnd, word: str) -> None:
    """And names each thing that is drawn once, and nothing else."""
    detail = CaseDetail(windows=ROWS, tasks=TaskWays((1,), (5,), (5 if end is TaskEnd.AGAIN else -1,), end.value))
    keys = [key.text for key in charts.legend(case(*filter(None, [failed])), detail)]
    assert keys[:2] == ["effects", "submits"] and len(keys) == len(set(keys))
    assert [key for key in keys if key.startswith("a task")] == [f"a task {word}"]
    assert "fault in force" not in keys


FAULTS = (
    Band("kill_tree", 2.0, 2.1, "worker-1"),
    Band("kill_tree", 4.0, 4.1, "worker-1"),
    Band("latency", 3.0, 6.0, "worker-2"),
)


def test_faults_have_a_lane_for_each_target_and_kind_with_its_name_outside_the_bars() -> None:
    lanes = charts.lanes(CaseDetail(windows=ROWS, faults=FAULTS))
    assert [(lane.name, len(lane.bars), lane.strong) for lane in lanes] == [
        ("worker-1 · kill_tree ×2", 2, True),
        ("worker-2 · latency", 1, True),
    ]
    picture = drawn(case(), CaseDetail(windows=ROWS, faults=FAULTS))
    for text_y, bar_y in re.findall(
        r'<g class="lane"><text x="[^"]*" y="(\d+)".*?<rect class="bar"[^>]* y="(\d+)"', picture
    ):
        assert int(text_y) < int(bar_y)
    assert picture.count('<rect class="fault"') == 3, "all are shaded where no cause names one"


@pytest.mark.parametrize("fault", ["latency on worker-2", "latency on a worker"])
def test_the_fault_that_a_cause_names_is_shaded_and_others_are_dim(fault: str) -> None:
    cause = Cause(Rule.LOST, CauseKind.REPLY_UNSEEN, (3,), "x", "BRPOP", fault)
    of = case(Rule.LOST, causes=(cause,))
    lanes = charts.lanes(CaseDetail(windows=ROWS, faults=FAULTS), of.causes)
    assert [(lane.name, lane.strong) for lane in lanes] == [
        ("worker-2 · latency", True),
        ("worker-1 · kill_tree ×2", False),
    ]
    picture = drawn(of, CaseDetail(windows=ROWS, faults=FAULTS))
    assert picture.count('<rect class="fault"') == 1 and picture.count('<g class="lane dim">') == 1


def test_a_kill_loop_is_one_lane_and_a_hundred_kinds_are_not_a_hundred_lanes() -> None:
    loop = tuple(Band("kill_child", i * 0.02, i * 0.02 + 0.01, "worker-1") for i in range(500))
    (lane,) = charts.lanes(CaseDetail(windows=ROWS, faults=loop))
    assert lane.name == "worker-1 · kill_child ×500" and len(lane.bars) == 1
    many = tuple(Band(f"kind-{i}", float(i % 9), i % 9 + 0.5, "redis") for i in range(100))
    lanes = charts.lanes(CaseDetail(windows=ROWS, faults=many))
    assert len(lanes) == charts.MAX_LANES + 1 and lanes[-1].name == f"{100 - charts.MAX_LANES} more faults"


def test_sparklines_share_a_scale_and_show_the_faults() -> None:
    """Half of what is offered is half as high, whatever is offered."""

    def spark(offered: int) -> str:
        rows = tuple(replace(row, submits=offered, effects_per_s=offered / 2) for row in ROWS)
        return str(charts.spark(case(), CaseDetail(windows=rows, faults=FAULTS[:1])))

    assert spark(10) == spark(4000) != ""
    assert '<path class="s-faults" d="M20.0 ' in spark(10)


@pytest.mark.parametrize(
    "tasks",
    [
        TaskWays((1, 2), (5,), (5, 6, 7), "dd"),
        TaskWays((1,), (10**18,), (5,), "d"),
        TaskWays((1,), (5,), (5,), "?"),
        TaskWays((), (), (), "dddd"),
    ],
)
def test_damaged_columns_cost_no_more_than_what_is_in_them(tasks: TaskWays) -> None:
    sound = charts.drawable(CaseDetail(windows=ROWS, tasks=tasks)).tasks
    assert len(sound.ops) == len(sound.submit_ms) == len(sound.took_ms) == len(sound.ends) <= 1
    assert "svg" in drawn(case(), replace(CaseDetail(windows=ROWS), tasks=sound))


def test_hundreds_of_cases_with_pictures_stay_below_three_megabytes() -> None:
    """Each with 400 tasks, six faults and a story, as in a nightly run; a tenth of them failed."""
    run, detail = collect(samples.stream()), samples.details()
    failing = next(c for c in run.cases if Rule.LOST in c.failed_rules and c.id in detail)
    rows = tuple(Window(i / 4, (i + 1) / 4, i % 7, 8, i % 7 * 4.0, 5.0 + i, 9.0 + i) for i in range(90))
    ways = TaskWays(tuple(range(400)), tuple(range(0, 20_000, 50)), tuple(20 + i % 91 for i in range(400)), "d" * 400)
    faults = tuple(Band("kill_tree", i, i + 0.2, f"worker-{i % 2 + 1}") for i in range(3, 9))
    told = replace(detail[failing.id], windows=rows, tasks=ways, faults=faults, logs=("redis.log", "worker-1.log"))
    good = replace(failing, failed_rules=(), rules=tuple(samples.passing(r, "each of 400 tasks did") for r in Rule))
    good = replace(good, outcome=Outcome.PASS, as_expected=True, causes=())
    cases = tuple(
        replace(failing if i % 10 == 0 else good, id=f"suite_{i % 20}.scenario-{i}.subject", suite=f"suite_{i % 20}")
        for i in range(315)
    )
    text = html.render(replace(run, cases=cases), {c.id: told for c in cases})
    assert len(text.encode()) < 3_000_000
    assert text.count('<svg class="chart"') == 315


def test_thinned_steps_are_drawn_as_one_line_that_breaks_where_nothing_was_measured() -> None:
    series = svg.Series("s", [(0.0, 1.0, 1.0), (1.0, 2.0, 1.0), (2.0, 3.0, None), (3.0, 4.0, 2.0)])
    path = str(svg.draw(svg.Picture("t", "d", (0.0, 4.0), [svg.Panel("p", series=[series])])))
    (line,) = re.findall(r'<path class="s" d="([^"]*)"', path)
    assert re.fullmatch(r"M0 (\d+)H250H500M750 \d+H1000", line)
