"""Charts as inline SVG, drawn so that one picture reads well at 300 and at 1000 pixels.

Text keeps its size because nothing is scaled: x positions are percentages of the plot and y positions are pixels;
only the data lines live in a nested viewBox that stretches, with strokes that do not. Axis labels overflow into the
margin that the style sheet reserves. Colours are classes, so light, dark and print share one drawing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from taskchaos.harness.record.result import Band
from taskchaos.harness.report.phrases import figure

PLOT_PX = 150
_LANE_PX = 16
_AXIS_PX = 34
_SPAN = 1000  # width of the stretching viewBox
#: Plot widths that labels are placed for: a phone's and a desktop's; and the width of a character.
_NARROW_PX, _WIDE_PX, _CHAR_PX = 280, 480, 6.3
_MAX_LANES = 4
_MAX_NAME = 42  # characters of a fault's name; the caption has it whole


@dataclass(frozen=True, slots=True)
class Series:
    """A line. Points are (x, y); a y of None breaks it."""

    name: str
    css: str
    points: Sequence[tuple[float, float | None]]
    area: bool = False


@dataclass(frozen=True, slots=True)
class Level:
    """A horizontal reference line."""

    name: str
    css: str
    value: float


@dataclass(frozen=True, slots=True)
class Chart:
    """What to draw. `log`: the y axis is logarithmic."""

    title: str
    description: str
    unit: str
    series: Sequence[Series]
    levels: Sequence[Level] = ()
    phases: Sequence[Band] = ()
    faults: Sequence[Band] = ()
    log: bool = False
    ident: str = "chart"
    span: tuple[float, float] = field(default=(0.0, 1.0))


@dataclass(frozen=True, slots=True)
class _Scale:
    """Maps values to the plot: x to percent, y to pixels from the plot's top."""

    x0: float
    x1: float
    y0: float
    y1: float
    log: bool
    top: float

    def x(self, value: float) -> float:
        return min(max((value - self.x0) / (self.x1 - self.x0), 0.0), 1.0) * 100

    def y(self, value: float) -> float:
        if self.log:
            value = max(value, self.y0)
            part = math.log(value / self.y0) / math.log(self.y1 / self.y0)
        else:
            part = (value - self.y0) / (self.y1 - self.y0)
        return self.top + PLOT_PX * (1 - min(max(part, 0.0), 1.0))


def draw(chart: Chart) -> Markup:
    """The chart as one `<svg>` element."""
    lanes = _lanes(chart)
    top = _LANE_PX * (1 + (max((label.lane for label in lanes), default=-1) + 1)) + 6
    scale = _scale(chart, top)
    height = top + PLOT_PX + _AXIS_PX
    body = Markup("").join(
        [
            _bands(chart, scale),
            _fault_lanes(lanes, scale),
            _y_axis(chart, scale),
            _x_axis(scale),
            _lines(chart, scale, height),
            _levels(chart, scale),
        ]
    )
    return Markup(
        '<svg class="chart" role="img" aria-labelledby="{0}-t {0}-d" height="{1}" width="100%">'
        '<title id="{0}-t">{2}</title><desc id="{0}-d">{3}</desc>{4}</svg>'
    ).format(chart.ident, height, chart.title, chart.description, body)


def sparkline(values: Sequence[float], title: str) -> Markup:
    """A small shape of a curve for a list."""
    if len(values) < 2:
        return Markup("")
    top = max([*values, 1e-9])
    step = 100 / len(values)
    path = "".join(f"V{18 - 16 * v / top:.1f}H{(i + 1) * step:.1f}" for i, v in enumerate(values))
    return Markup(
        '<svg class="spark" viewBox="0 0 100 20" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<path class="s-area" d="M0 18{}V18Z"/><path class="s-effects" d="M0 {:.1f}{}"/></svg>'
    ).format(title, Markup(path), 18 - 16 * values[0] / top, Markup(path))


def _scale(chart: Chart, top: float) -> _Scale:
    values = [y for s in chart.series for _, y in s.points if y is not None and math.isfinite(y)]
    values += [level.value for level in chart.levels]
    x0, x1 = chart.span
    x1 = x1 if x1 > x0 else x0 + 1
    if chart.log:
        positive = [v for v in values if v > 0] or [1.0, 10.0]
        low = 10 ** math.floor(math.log10(min(positive)))
        high = 10 ** math.ceil(math.log10(max(positive)))
        return _Scale(x0, x1, low, high if high > low else low * 10, True, top)
    ticks = nice_ticks(0.0, max(values, default=1.0) * 1.08 or 1.0, 4)
    return _Scale(x0, x1, 0.0, ticks[-1], False, top)


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """Round values from `low` to at least `high`, about `count` steps."""
    raw = max(high - low, 1e-9) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = [10.0**e for e in range(round(math.log10(low)), round(math.log10(high)) + 1)]
    if len(decades) > 2:
        return decades
    return sorted({*decades, *(m * decades[0] for m in (2, 5))})


def _bands(chart: Chart, scale: _Scale) -> Markup:
    """Phases as alternating stripes with names above; faults as tinted stretches through the plot."""
    parts = []
    for i, band in enumerate(chart.phases):
        left, right = scale.x(band.begun_s), scale.x(band.ended_s)
        parts.append(
            Markup('<rect class="phase p{}" x="{:.2f}%" width="{:.2f}%" y="0" height="{:.0f}"/>').format(
                i % 2, left, max(right - left, 0), scale.top + PLOT_PX
            )
        )
    for band in chart.faults:
        left, right = scale.x(band.begun_s), scale.x(band.ended_s)
        parts.append(
            Markup('<rect class="fault" x="{:.2f}%" width="{:.2f}%" y="{:.0f}" height="{}"/>').format(
                left, max(right - left, 0.25), scale.top, PLOT_PX
            )
        )
    for band in chart.phases:
        left, right = scale.x(band.begun_s), scale.x(band.ended_s)
        css = _label_class(band.label, right - left)
        if css is not None:
            parts.append(
                Markup('<text class="phase-name{}" x="{:.2f}%" dx="4" y="12">{}</text>').format(css, left, band.label)
            )
    return Markup("").join(parts)


def _label_class(label: str, percent: float) -> str | None:
    """Whether a label fits its band: everywhere, on wide screens only, or nowhere (the caption names it)."""
    need = len(label) * _CHAR_PX + 6
    if percent / 100 * _NARROW_PX >= need:
        return ""
    return " wide" if percent / 100 * _WIDE_PX >= need else None


@dataclass(frozen=True, slots=True)
class _FaultLabel:
    """A fault's bar and where its name stands: `at` is a share of the plot's width."""

    band: Band
    name: str
    lane: int
    at: float
    at_end: bool


def _lanes(chart: Chart) -> list[_FaultLabel]:
    """The faults that get a bar of their own, each in the first lane in which its name collides with none."""
    x0, x1 = chart.span
    width = max(x1 - x0, 1e-9)
    free = [-math.inf] * _MAX_LANES
    placed = []
    for band in sorted(chart.faults, key=lambda b: b.begun_s):
        left, right = (band.begun_s - x0) / width, min((band.ended_s - x0) / width, 1.0)
        name = band.label if len(band.label) <= _MAX_NAME else band.label[: _MAX_NAME - 1] + "…"
        need = (len(name) * _CHAR_PX + 10) / _NARROW_PX
        at_end = left + need > 1 and right >= need
        start = right - need if at_end else max(min(left, 1 - need), 0.0)
        lane = next((i for i, until in enumerate(free) if until <= min(start, left)), None)
        if lane is not None:
            free[lane] = max(start + need, right)
            placed.append(_FaultLabel(band, name, lane, right if at_end else start, at_end))
    return placed


def _fault_lanes(labels: Sequence[_FaultLabel], scale: _Scale) -> Markup:
    parts = []
    for label in labels:
        left, right = scale.x(label.band.begun_s), scale.x(label.band.ended_s)
        y = _LANE_PX * (label.lane + 1) + 2
        anchor, dx = ("end", -3) if label.at_end else ("start", 3)
        parts.append(
            Markup(
                '<rect class="fault-bar" x="{:.2f}%" width="{:.2f}%" y="{}" height="{}"/>'
                '<text class="fault-name" x="{:.2f}%" dx="{}" y="{}" text-anchor="{}">{}</text>'
            ).format(left, max(right - left, 0.4), y, _LANE_PX - 2, label.at * 100, dx, y + 11, anchor, label.name)
        )
    return Markup("").join(parts)


def _y_axis(chart: Chart, scale: _Scale) -> Markup:
    ticks = _log_ticks(scale.y0, scale.y1) if chart.log else nice_ticks(scale.y0, scale.y1, 4)
    parts = [
        Markup('<line class="grid{}" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>').format(
            " base" if tick == scale.y0 else "", y=scale.y(tick)
        )
        + Markup('<text class="tick" x="-6" y="{:.1f}" dy="4" text-anchor="end">{}</text>').format(
            scale.y(tick), figure(tick)
        )
        for tick in ticks
        if tick <= scale.y1 * 1.0001
    ]
    middle = scale.top + PLOT_PX / 2
    parts.append(
        Markup(
            '<text class="axis" x="-40" y="{0:.0f}" text-anchor="middle" transform="rotate(-90 -40 {0:.0f})">{1}</text>'
        ).format(middle, chart.unit)
    )
    return Markup("").join(parts)


def _x_axis(scale: _Scale) -> Markup:
    base = scale.top + PLOT_PX
    parts = []
    for tick in nice_ticks(scale.x0, scale.x1, 5):
        if scale.x0 <= tick <= scale.x1:
            x = scale.x(tick)
            anchor = "start" if x < 2 else "end" if x > 96 else "middle"
            parts.append(
                Markup('<text class="tick" x="{:.2f}%" y="{:.0f}" text-anchor="{}">{}</text>').format(
                    x, base + 14, anchor, figure(tick)
                )
            )
    parts.append(
        Markup('<text class="axis" x="50%" y="{:.0f}" text-anchor="middle">{}</text>').format(
            base + 29, "seconds since the first phase"
        )
    )
    return Markup("").join(parts)


def _lines(chart: Chart, scale: _Scale, height: float) -> Markup:
    parts = []
    for series in chart.series:
        line, runs = _path(series, scale)
        if series.area and runs:
            base = scale.top + PLOT_PX
            area = "".join(f"M{r[0][0]:.1f} {base}{_joined(r, 'L')}L{r[-1][0]:.1f} {base}Z" for r in runs)
            parts.append(Markup('<path class="{}-area" d="{}"/>').format(series.css, area))
        if line:
            parts.append(Markup('<path class="{}" d="{}"/>').format(series.css, line))
    return Markup(
        '<svg width="100%" height="{0}" viewBox="0 0 {1} {0}" preserveAspectRatio="none" aria-hidden="true">{2}</svg>'
    ).format(int(height), _SPAN, Markup("").join(parts))


def _path(series: Series, scale: _Scale) -> tuple[str, list[list[tuple[float, float]]]]:
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in series.points:
        if y is None or not math.isfinite(y):
            runs.append([])
        else:
            runs[-1].append((scale.x(x) * _SPAN / 100, scale.y(y)))
    runs = [run for run in runs if run]
    return "".join("M" + _joined(run, "L")[1:] for run in runs), runs


def _joined(run: Sequence[tuple[float, float]], letter: str) -> str:
    return "".join(f"{letter}{x:.1f} {y:.1f}" for x, y in run)


def _levels(chart: Chart, scale: _Scale) -> Markup:
    """Reference lines. Their names and values stand in the legend: beside the line they would cover the data."""
    return Markup("").join(
        Markup('<line class="{css}" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"><title>{name}</title></line>').format(
            css=level.css, y=scale.y(level.value), name=level.name
        )
        for level in chart.levels
    )
