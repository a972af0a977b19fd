"""The picture of a case as inline SVG, drawn so that one drawing reads well at 300 and at 1000 pixels.

Panels stand above one another on one axis of time, and below them the lanes of faults. Text keeps its size because
nothing is scaled: x positions are percentages of the plot and y positions are pixels; only data live in nested
viewBoxes that stretch, with strokes that do not. Axis labels overflow into the margin that the style sheet reserves.
Colours are classes, so light, dark and print share one drawing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from taskchaos.harness.record.result import Band
from taskchaos.harness.report.phrases import figure

PLOT_PX = 120
TOP_PX = 18  # for the names of phases
_HEAD_PX, _STRIP_PX, _GAP_PX = 18, 18, 8
_LANE_PX, _BAR_PX = 24, 6
_AXIS_PX = 36
_SPAN = 1000  # width of the stretching viewBox
#: Plot widths that labels are placed for: a phone's and a desktop's; and the width of a character.
_NARROW_PX, _WIDE_PX, _CHAR_PX = 280, 900, 6.3
_MAX_NAME = 42  # characters of a lane's name; the caption has it whole


@dataclass(frozen=True, slots=True)
class Series:
    """A line of steps (from, to, value) in order of time; a value of None breaks it."""

    css: str
    steps: Sequence[tuple[float, float, float | None]]
    area: bool = False


@dataclass(frozen=True, slots=True)
class Level:
    """A horizontal reference line."""

    name: str
    css: str
    value: float


@dataclass(frozen=True, slots=True)
class Dots:
    """Points of one colour."""

    css: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Sign:
    """A sign above the plot of a panel, for what has no place in it."""

    sign: str
    css: str
    x: float
    title: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot. `log`: the y axis is logarithmic."""

    title: str
    series: Sequence[Series] = ()
    levels: Sequence[Level] = ()
    dots: Sequence[Dots] = ()
    marks: Sequence[Sign] = ()
    log: bool = False

    @property
    def above_px(self) -> int:
        """What stands above its plot."""
        return _HEAD_PX + (_STRIP_PX if self.marks else 0)


@dataclass(frozen=True, slots=True)
class Lane:
    """A row of bars below the panels. `strong`: they are shaded through all panels; else they are dim."""

    name: str
    bars: Sequence[Band]
    strong: bool = True


@dataclass(frozen=True, slots=True)
class Picture:
    """All of it, over `span` (seconds). described_by: the id of the text that says what it shows."""

    title: str
    described_by: str
    span: tuple[float, float]
    panels: Sequence[Panel]
    phases: Sequence[Band] = ()
    lanes: Sequence[Lane] = ()


@dataclass(frozen=True, slots=True)
class _Time:
    """Maps seconds to percent."""

    x0: float
    x1: float

    def __call__(self, value: float) -> float:
        return min(max((value - self.x0) / (self.x1 - self.x0), 0.0), 1.0) * 100


@dataclass(frozen=True, slots=True)
class _Height:
    """Maps values to pixels, from `top` down."""

    y0: float
    y1: float
    log: bool
    top: float

    def __call__(self, value: float) -> float:
        if self.log:
            part = math.log(max(value, self.y0) / self.y0) / math.log(self.y1 / self.y0)
        else:
            part = (value - self.y0) / (self.y1 - self.y0)
        return self.top + PLOT_PX * (1 - min(max(part, 0.0), 1.0))


def draw(picture: Picture) -> Markup:
    """The picture as one `<svg>` element."""
    x0, x1 = picture.span
    x = _Time(x0, x1 if x1 > x0 else x0 + 1)
    tops, below = [], TOP_PX
    for panel in picture.panels:
        tops.append(below)
        below += panel.above_px + PLOT_PX + _GAP_PX
    height = below + _LANE_PX * len(picture.lanes) + _AXIS_PX
    parts = [*_phases(picture.phases, x, below), *_shades(picture.lanes, x, below)]
    for panel, top in zip(picture.panels, tops, strict=True):
        parts += _panel(panel, x, top)
    parts += [*_lanes(picture.lanes, x, below), *_x_axis(x, below + _LANE_PX * len(picture.lanes))]
    return Markup(
        '<svg class="chart" role="img" aria-label="{}" aria-describedby="{}" height="{}" width="100%">{}</svg>'
    ).format(picture.title, picture.described_by, height, Markup("").join(parts))


def sparkline(values: Sequence[float], bars: Sequence[tuple[float, float]], title: str) -> Markup:
    """A small shape of a curve for a list: values are shares, of which 1 is the dotted line; bars from 0 to 1."""
    if len(values) < 2:
        return Markup("")
    step, most = 100 / len(values), 1.25
    path = "".join(f"V{18 - 16 * min(v, most) / most:.0f}H{(i + 1) * step:.0f}" for i, v in enumerate(values))
    marks = "".join(f"M{100 * begin:.1f} 19.2H{max(100 * end, 100 * begin + 1.5):.1f}" for begin, end in bars)
    return Markup(
        '<svg class="spark" viewBox="0 0 100 20" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<path class="s-effects" d="M0 18{}V18"/><path class="s-whole" d="M0 {:.1f}H100"/>{}</svg>'
    ).format(
        title,
        Markup(path),
        18 - 16 / most,
        Markup('<path class="s-faults" d="{}"/>').format(Markup(marks)) if marks else "",
    )


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


def _phases(phases: Sequence[Band], x: _Time, below: float) -> Iterator[Markup]:
    """Alternating stripes with names above."""
    for i, band in enumerate(phases):
        left, right = x(band.begun_s), x(band.ended_s)
        yield Markup('<rect class="phase p{}" x="{:.2f}%" width="{:.2f}%" y="0" height="{:.0f}"/>').format(
            i % 2, left, max(right - left, 0), below
        )
        css = _label_class(band.label, right - left)
        if css is not None:
            yield Markup('<text class="phase-name{}" x="{:.2f}%" dx="4" y="12">{}</text>').format(css, left, band.label)


def _label_class(label: str, percent: float) -> str | None:
    """Whether a label fits its band: everywhere, on wide screens only, or nowhere (the caption names it)."""
    need = len(label) * _CHAR_PX + 6
    if percent / 100 * _NARROW_PX >= need:
        return ""
    return " wide" if percent / 100 * _WIDE_PX >= need else None


def _shades(lanes: Sequence[Lane], x: _Time, below: float) -> Iterator[Markup]:
    """What a strong lane shades of all panels."""
    for lane in lanes:
        for bar in lane.bars if lane.strong else ():
            left, right = x(bar.begun_s), x(bar.ended_s)
            yield Markup('<rect class="fault" x="{:.2f}%" width="{:.2f}%" y="{}" height="{:.0f}"/>').format(
                left, max(right - left, 0.25), TOP_PX, below - TOP_PX
            )


def _lanes(lanes: Sequence[Lane], x: _Time, top: float) -> Iterator[Markup]:
    """Each lane's name above its bars, so that no bar is too short for it."""
    for number, lane in enumerate(lanes):
        y = top + _LANE_PX * number
        first = x(min(bar.begun_s for bar in lane.bars))
        name = lane.name if len(lane.name) <= _MAX_NAME else lane.name[: _MAX_NAME - 1] + "…"
        room = 100 * (1 - (len(name) * _CHAR_PX + 6) / _NARROW_PX)
        bars = (_bar(bar, x, y + 14) for bar in lane.bars)
        yield Markup('<g class="lane{}"><text x="{:.2f}%" y="{:.0f}">{}</text>{}</g>').format(
            "" if lane.strong else " dim", max(min(first, room), 0), y + 11, name, Markup("").join(bars)
        )


def _bar(bar: Band, x: _Time, y: float) -> Markup:
    """With its seconds, for the page's script."""
    left, right = x(bar.begun_s), x(bar.ended_s)
    return Markup(
        '<rect class="bar" x="{:.2f}%" width="{:.2f}%" y="{:.0f}" height="{}" data-b="{:.3f}" data-e="{:.3f}"/>'
    ).format(left, max(right - left, 0.4), y, _BAR_PX, bar.begun_s, bar.ended_s)


def _panel(panel: Panel, x: _Time, top: float) -> Iterator[Markup]:
    y = _height(panel, top + panel.above_px)
    yield Markup('<text class="head" x="0" dx="4" y="{:.0f}">{}</text>').format(top + 13, panel.title)
    for mark in panel.marks:
        yield Markup('<text class="m {}" x="{:.2f}%" y="{:.0f}">{}<title>{}</title></text>').format(
            mark.css, x(mark.x), top + _HEAD_PX + 13, mark.sign, mark.title
        )
    ticks = _log_ticks(y.y0, y.y1) if panel.log else nice_ticks(y.y0, y.y1, 4)
    for tick in ticks:
        if tick <= y.y1 * 1.0001:
            yield Markup('<text class="tick y" x="-6" y="{:.0f}" dy="4">{}</text>').format(y(tick), figure(tick))
    yield _data(panel, x, y, [y(tick) for tick in ticks if tick <= y.y1 * 1.0001])
    for level in panel.levels:
        # Names and values stand in the legend: beside the line they would cover the data.
        yield Markup(
            '<line class="{css}" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"><title>{name}</title></line>'
        ).format(css=level.css, y=y(level.value), name=level.name)


def _height(panel: Panel, top: float) -> _Height:
    values = [y for s in panel.series for *_, y in s.steps if y is not None and math.isfinite(y)]
    values += [level.value for level in panel.levels] + [y for dots in panel.dots for _, y in dots.points]
    if panel.log:
        positive = [v for v in values if v > 0] or [1.0, 10.0]
        low = 10 ** math.floor(math.log10(min(positive)))
        high = 10 ** math.ceil(math.log10(max(positive)))
        return _Height(low, high if high > low else low * 10, True, top)
    ticks = nice_ticks(0.0, max(values, default=1.0) * 1.08 or 1.0, 4)
    return _Height(0.0, ticks[-1], False, top)


def _data(panel: Panel, x: _Time, y: _Height, grid: Sequence[float]) -> Markup:
    lines = "".join(f"M0 {at:.0f}H{_SPAN}" for at in grid)
    parts = [Markup('<path class="grid" d="{}"/>').format(lines)]
    for dots in panel.dots:
        places = sorted({(round(x(at) * _SPAN / 100), round(y(value))) for at, value in dots.points})
        steps = "".join(f"m{right - left} {low - high}h0" for (left, high), (right, low) in pairwise([(0, 0), *places]))
        parts.append(Markup('<path class="{}" d="M0 0{}"/>').format(dots.css, steps))
    for series in panel.series:
        if line := _line(series, x, y, y.top + PLOT_PX):
            parts.append(Markup('<path class="{}" d="{}"/>').format(series.css, line))
    bottom = int(y.top + PLOT_PX + _GAP_PX)
    return Markup(
        '<svg width="100%" height="{0}" viewBox="0 0 {1} {0}" preserveAspectRatio="none" aria-hidden="true">{2}</svg>'
    ).format(bottom, _SPAN, Markup("").join(parts))


def _line(series: Series, x: _Time, y: _Height, base: float) -> str:
    """Steps, each from where it begins to where it ends; an area is closed at the base, where a style fills it."""
    path, last = "", None
    for begin, end, value in series.steps:
        if value is None or not math.isfinite(value):
            path += f"V{base:.0f}" if series.area and last is not None else ""
            last = None
            continue
        left, right, high = round(x(begin) * _SPAN / 100), round(x(end) * _SPAN / 100), round(y(value))
        if last is None:
            path += f"M{left} {base:.0f}V{high}" if series.area else f"M{left} {high}"
        elif high != last:
            path += f"V{high}"
        path += f"H{right}"
        last = high
    return path + (f"V{base:.0f}" if series.area and last is not None else "")


def _x_axis(x: _Time, top: float) -> Iterator[Markup]:
    for tick in nice_ticks(x.x0, x.x1, 5):
        if x.x0 <= tick <= x.x1:
            left = x(tick)
            anchor = "start" if left < 2 else "end" if left > 96 else "middle"
            yield Markup('<text class="tick" x="{:.2f}%" y="{:.0f}" text-anchor="{}">{}</text>').format(
                left, top + 14, anchor, figure(tick)
            )
    yield Markup('<text class="axis" x="50%" y="{:.0f}" text-anchor="middle">{}</text>').format(
        top + 30, "seconds since the first phase"
    )
