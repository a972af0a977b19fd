"""The picture of one case, from the rows that the checker measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from taskchaos.harness.record.result import Band, CaseDetail, CaseResult, Cause, TaskEnd, TaskWays, Window
from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.report import svg
from taskchaos.harness.report.phrases import figure, one_line, plural, rate

MAX_POINTS = 120  # more are merged: a chart is at most about 1000 pixels wide
MAX_LANES = 8
MAX_MARKS = 300  # signs for tasks without effect; of several at one place, one is drawn
SPARK_POINTS = 40
#: Bars of one lane that are nearer to one another than this share of the picture are drawn as one.
_NEAR = 0.002
#: What lies beyond, in seconds, per second or in ms, is no measurement but damage.
_LARGEST, _SMALLEST = 1e12, 1e-6
#: How a task that has no place in the plot of times is marked, by its end.
_SIGNS = {TaskEnd.GONE: "×", TaskEnd.LEFT: "◇", TaskEnd.DEAD: "△", TaskEnd.REVOKED: "–"}


@dataclass(frozen=True, slots=True)
class Key:
    """An entry of the legend. sign: the character that is drawn, if it is one; css: of the line or dot else."""

    text: str
    css: str
    sign: str = ""


def drawable(detail: CaseDetail) -> CaseDetail:
    """The detail without figures that nothing can have measured: a damaged file costs no more than its charts."""
    return replace(
        detail,
        phases=_bands(detail.phases),
        faults=_bands(detail.faults),
        windows=tuple(
            replace(row, p50_ms=_latency(row.p50_ms), p99_ms=_latency(row.p99_ms))
            for row in detail.windows
            if _sound(row.begun_s, row.ended_s, row.effects_per_s, row.effects, row.submits)
        ),
        tasks=_tasks(detail.tasks),
    )


def _bands(bands: Sequence[Band]) -> tuple[Band, ...]:
    sound = (b for b in bands if _sound(b.begun_s, b.ended_s))
    return tuple(replace(b, label=one_line(b.label), target=one_line(b.target)) for b in sound)


def _tasks(tasks: TaskWays) -> TaskWays:
    letters = {end.value for end in TaskEnd}
    columns = zip(tasks.ops, tasks.submit_ms, tasks.took_ms, tasks.ends, strict=False)
    rows = [row for row in columns if _sound(*row[:3]) and row[3] in letters]
    ops, submitted, took, ends = zip(*rows, strict=True) if rows else ((), (), (), "")
    return TaskWays(ops, submitted, took, "".join(ends))


def _sound(*values: float) -> bool:
    return all(math.isfinite(value) and abs(value) < _LARGEST for value in values)


def _latency(value: float | None) -> float | None:
    return value if value is not None and _sound(value) and value > _SMALLEST else None


def picture(
    case: CaseResult, detail: CaseDetail, described_by: str, *, points: int = MAX_POINTS, dots: bool = True
) -> Markup:
    """Throughput, the time that each task took, and the faults, over time; nothing where nothing was measured.

    described_by: the id of the element that says in words what it shows (`caption`). points: so many steps of a line at
    most. dots: draw every task, where they are known; else only those without effect, or with more than one.
    """
    rows = thin(detail.windows, points)
    if not rows:
        return Markup("")
    panels = [_throughput(case, rows)]
    if any(row.p50_ms is not None for row in rows) or detail.tasks.ops:
        panels.append(_times(case, detail, rows, dots=dots))
    return svg.draw(
        svg.Picture(
            title="The case over time",
            described_by=described_by,
            span=span(detail),
            panels=panels,
            phases=detail.phases,
            lanes=lanes(detail, case.causes),
        )
    )


def _throughput(case: CaseResult, rows: Sequence[Window]) -> svg.Panel:
    levels, speed = [], case.throughput
    if speed.target_tps is not None and _sound(speed.target_tps):
        levels.append(svg.Level(f"target {rate(speed.target_tps)}", "l-target", speed.target_tps))
    if speed.baseline_tps is not None and _sound(speed.baseline_tps):
        levels.append(svg.Level(f"baseline {rate(speed.baseline_tps)}", "l-baseline", speed.baseline_tps))
    return svg.Panel(
        title="tasks per second",
        series=(
            svg.Series("s-submits", _steps(rows, [_per_s(r.submits, r) for r in rows])),
            svg.Series("s-effects", _steps(rows, [r.effects_per_s for r in rows]), area=True),
        ),
        levels=levels,
    )


def _times(case: CaseResult, detail: CaseDetail, rows: Sequence[Window], *, dots: bool) -> svg.Panel:
    """Each task at its submit time: a dot at the time that it took, or a sign above where it took no effect."""
    tasks = detail.tasks
    took: dict[TaskEnd, list[tuple[float, float]]] = {}
    places: dict[tuple[TaskEnd, int], list[tuple[int, float]]] = {}
    begin_s, end_s = span(detail)
    for op, submit_ms, took_ms, letter in zip(tasks.ops, tasks.submit_ms, tasks.took_ms, tasks.ends, strict=True):
        end, at_s = TaskEnd(letter), submit_ms / 1000
        if end in _SIGNS:
            place = round(_NARROWEST * (at_s - begin_s) / max(end_s - begin_s, 1e-9))
            places.setdefault((end, place), []).append((op, at_s))
        elif took_ms >= 0 and (dots or end is TaskEnd.AGAIN):
            took.setdefault(end, []).append((at_s, max(took_ms, 1)))
    named = ends_named(case)
    marks = [
        svg.Sign(_SIGNS[end], f"t-{end.value}", at[0][1], f"{_tasks_named([op for op, _ in at])}: {named[end]}")
        for (end, _), at in sorted(places.items(), key=lambda each: each[0][1])
    ]
    return svg.Panel(
        title="ms from due to first effect, by time of submit",
        series=(
            svg.Series("s-p99", _steps(rows, [r.p99_ms for r in rows])),
            svg.Series("s-p50", _steps(rows, [r.p50_ms for r in rows])),
        ),
        dots=[svg.Dots(f"t-{end.value}", took[end]) for end in TaskEnd if end in took],
        marks=marks[:MAX_MARKS],
        log=True,
    )


#: So many signs side by side do not touch on a phone.
_NARROWEST = 90


def _tasks_named(ops: Sequence[int]) -> str:
    shown = ", ".join(map(str, ops[:8])) + (f" and {len(ops) - 8} more" if len(ops) > 8 else "")
    return f"task {shown}" if len(ops) == 1 else f"{plural(len(ops), 'task')} ({shown})"


def ends_named(case: CaseResult) -> dict[TaskEnd, str]:
    """What became of tasks, in the words of the rules where these have failed."""
    failed = case.failed_rules
    return {
        TaskEnd.DONE: "done",
        TaskEnd.AGAIN: "duplicate" if Rule.DUPLICATE in failed else "done more than once",
        TaskEnd.GONE: "lost" if Rule.LOST in failed else "no effect",
        TaskEnd.LEFT: "stuck" if Rule.STUCK in failed else "left",
        TaskEnd.DEAD: "dead letter",
        TaskEnd.REVOKED: "revoked",
        TaskEnd.UNSENT: "not sent",
    }


def legend(case: CaseResult, detail: CaseDetail) -> list[Key]:
    """What is drawn, once for all panels."""
    if not detail.windows:
        return []
    speed, named, ends = case.throughput, ends_named(case), set(detail.tasks.ends)
    keys = [Key("effects", "s-effects"), Key("submits", "s-submits")]
    if speed.target_tps is not None:
        keys.append(Key(f"target {rate(speed.target_tps)}", "l-target"))
    if speed.baseline_tps is not None:
        keys.append(Key(f"baseline {rate(speed.baseline_tps)}", "l-baseline"))
    if any(row.p50_ms is not None for row in detail.windows):
        keys += [Key("median", "s-p50"), Key("99th percentile", "s-p99")]
    keys += [Key(f"a task {named[e]}", f"t-{e.value}", "●") for e in (TaskEnd.DONE, TaskEnd.AGAIN) if e.value in ends]
    keys += [Key(f"a task {named[e]}", f"t-{e.value}", sign) for e, sign in _SIGNS.items() if e.value in ends]
    if detail.faults:
        keys.append(Key("fault in force", "k-fault"))
    return keys


def lanes(detail: CaseDetail, causes: Iterable[Cause] = ()) -> list[svg.Lane]:
    """A lane for each kind of fault on each target, by first injection; beyond so many, one for all others.

    Strong are those that a likely cause names, or all where none does.
    """
    groups: dict[tuple[str, str], list[Band]] = {}
    for band in detail.faults:
        groups.setdefault((band.target, band.label), []).append(band)
    blamed = {key for key in groups if any(_names(cause.fault, *key) for cause in causes)}
    begin_s, end_s = span(detail)
    near_s = _NEAR * max(end_s - begin_s, 0.0)
    order = sorted(groups, key=lambda key: key not in blamed)  # what a cause names is not among the others
    found = [
        svg.Lane(_lane_name(*key, len(groups[key])), _joined(groups[key], near_s), not blamed or key in blamed)
        for key in order[:MAX_LANES]
    ]
    if rest := [band for key in order[MAX_LANES:] for band in groups[key]]:
        found.append(svg.Lane(f"{plural(len(rest), 'more fault')}", _joined(rest, near_s), not blamed))
    return found


def _names(fault: str, target: str, kind: str) -> bool:
    """Whether a cause is about these faults: it names one, or one like it at a worker of several."""
    words = fault.split()
    return kind in words and (target in words or "a" in words)


def _lane_name(target: str, kind: str, number: int) -> str:
    times = f" ×{number}" if number > 1 else ""
    return f"{target} · {kind}{times}" if target else f"{kind}{times}"


def _joined(bands: Sequence[Band], near_s: float) -> list[Band]:
    joined: list[Band] = []
    for band in sorted(bands, key=lambda b: b.begun_s):
        if joined and band.begun_s - joined[-1].ended_s <= near_s:
            joined[-1] = replace(joined[-1], ended_s=max(joined[-1].ended_s, band.ended_s))
        else:
            joined.append(band)
    return joined


def spark(case: CaseResult, detail: CaseDetail) -> Markup:
    """The throughput as a share of what was offered, or demanded of a queue that is filled before; with the faults."""
    rows = thin(detail.windows, SPARK_POINTS)
    offered = [_per_s(row.submits, row) for row in rows if row.submits]
    whole = sum(offered) / len(offered) if len(offered) > len(rows) / 4 else case.throughput.target_tps or 0.0
    whole = whole or max((row.effects_per_s for row in rows), default=0.0) or 1.0
    begin_s, end_s = span(detail)
    width_s = max(end_s - begin_s, 1e-9)
    bars = [(b.begun_s, b.ended_s) for lane in lanes(detail) for b in lane.bars][:SPARK_POINTS]
    shares = [((b - begin_s) / width_s, min((e - begin_s) / width_s, 1.0)) for b, e in bars]
    title = "throughput as a share of what was offered; below, the faults"
    return svg.sparkline([row.effects_per_s / whole for row in rows], shares, title)


def figures(detail: CaseDetail) -> str:
    """What the charts show, for the page's script: begin and end of the span, then end, effects/s, p50 and p99 of each
    window; fields parted by commas, and these by blanks."""
    rows = [(r.ended_s, r.effects_per_s, r.p50_ms, r.p99_ms) for r in thin(detail.windows, MAX_POINTS)]
    told = [span(detail), *rows]
    return " ".join(",".join(map(_brief, row)) for row in told) if rows else ""


def _brief(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.4g}"


def caption(detail: CaseDetail) -> str:
    """What the picture shows in words, for those who cannot see it or its small labels."""
    peak = max((row.effects_per_s for row in detail.windows), default=None)
    worst = max((row.p99_ms for row in detail.windows if row.p99_ms is not None), default=None)
    slowest = f", and {figure(worst)} ms (99th percentile)" if worst is not None else ""
    phases = "; ".join(f"{b.label} {_stretch(b)}" for b in detail.phases)
    bands = [(lane.name, band) for lane in lanes(detail) for band in lane.bars]
    faults = "; ".join(f"{name} {_stretch(band)}" for name, band in bands[:8])
    more = f"; and {len(bands) - 8} more" if len(bands) > 8 else ""
    parts = [
        f"At most {rate(peak)}{slowest}." if peak is not None else "",
        f"Phases: {phases}." if phases else "",
        f"Faults: {faults}{more}." if faults else "",
    ]
    return " ".join(p for p in parts if p)


def _stretch(band: Band) -> str:
    return f"{band.begun_s:.1f}–{band.ended_s:.1f} s"


def span(detail: CaseDetail) -> tuple[float, float]:
    """The stretch of time that all of a case's picture shares."""
    begins = [b.begun_s for b in detail.phases] + [w.begun_s for w in detail.windows]
    ends = [b.ended_s for b in detail.phases] + [w.ended_s for w in detail.windows]
    return min(begins, default=0.0), max(ends, default=1.0)


def thin(rows: Sequence[Window], limit: int) -> list[Window]:
    """At most `limit` rows: neighbours are merged, rates weighted by time, p99 by its worst, p50 by the effects."""
    size = -(-len(rows) // limit) if rows else 1
    if size <= 1:
        return list(rows)
    return [_merge(rows[i : i + size]) for i in range(0, len(rows), size)]


def _merge(rows: Sequence[Window]) -> Window:
    effects, submits = sum(r.effects for r in rows), sum(r.submits for r in rows)
    begun, ended = rows[0].begun_s, rows[-1].ended_s
    weighed = [(r.p50_ms, max(r.effects, 1)) for r in rows if r.p50_ms is not None]
    weight = sum(w for _, w in weighed)
    p50 = sum(v * w for v, w in weighed) / weight if weight else None
    p99 = max((r.p99_ms for r in rows if r.p99_ms is not None), default=None)
    return Window(begun, ended, effects, submits, effects / max(ended - begun, 1e-9), p50, p99)


def _per_s(count: int, row: Window) -> float:
    return count / max(row.ended_s - row.begun_s, 1e-9)


def _steps(rows: Sequence[Window], values: Sequence[float | None]) -> list[tuple[float, float, float | None]]:
    """Flat over each window; the line breaks where a window is missing or has no value."""
    steps: list[tuple[float, float, float | None]] = []
    for row, value in zip(rows, values, strict=True):
        if steps and row.begun_s - steps[-1][1] > 1e-6:
            steps.append((steps[-1][1], row.begun_s, None))
        steps.append((row.begun_s, row.ended_s, value))
    return steps
