"""The charts of one case, from the rows that the checker measured."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace

from markupsafe import Markup

from taskchaos.harness.record.result import Band, CaseDetail, Window
from taskchaos.harness.record.verdict import Throughput
from taskchaos.harness.report import svg
from taskchaos.harness.report.phrases import figure, one_line, rate

MAX_POINTS = 180  # more are merged: a chart is at most about 1000 pixels wide
MAX_FAULT_BANDS = 60
SPARK_POINTS = 40
#: What lies beyond, in seconds, per second or in ms, is no measurement but damage.
_LARGEST, _SMALLEST = 1e12, 1e-6


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
    )


def _bands(bands: Sequence[Band]) -> tuple[Band, ...]:
    return tuple(replace(b, label=one_line(b.label)) for b in bands if _sound(b.begun_s, b.ended_s))


def _sound(*values: float) -> bool:
    return all(math.isfinite(value) and abs(value) < _LARGEST for value in values)


def _latency(value: float | None) -> float | None:
    return value if value is not None and _sound(value) and value > _SMALLEST else None


def throughput(detail: CaseDetail, speed: Throughput, ident: str) -> Markup:
    """Effects and submits per second over time, with the target and the baseline."""
    rows = _shown(detail)
    if not rows:
        return Markup("")
    levels = []
    if speed.target_tps is not None and _sound(speed.target_tps):
        levels.append(svg.Level(f"target {rate(speed.target_tps)}", "l-target", speed.target_tps))
    if speed.baseline_tps is not None and _sound(speed.baseline_tps):
        levels.append(svg.Level(f"baseline {rate(speed.baseline_tps)}", "l-baseline", speed.baseline_tps))
    peak = max(row.effects_per_s for row in rows)
    stretch = f"{figure(rows[0].begun_s)} to {figure(rows[-1].ended_s)} s"
    described = [f"Effects per second from {stretch}, peak {rate(peak)}"]
    for name, value in (("baseline", speed.baseline_tps), ("fault", speed.fault_tps), ("healed", speed.healed_tps)):
        if value is not None:
            described.append(f"{name} {rate(value)}")
    return svg.draw(
        svg.Chart(
            title="Throughput over time",
            description=", ".join(described) + ". " + caption(detail),
            unit="per second",
            series=(
                svg.Series("submits", "s-submits", _steps(rows, [_per_s(r.submits, r) for r in rows])),
                svg.Series("effects", "s-effects", _steps(rows, [r.effects_per_s for r in rows]), area=True),
            ),
            levels=levels,
            phases=detail.phases,
            faults=merged(detail.faults),
            ident=f"{ident}-rate",
            span=span(detail),
        )
    )


def latency(detail: CaseDetail, ident: str) -> Markup:
    """Median and 99th percentile of the time from due to first effect."""
    rows = _shown(detail)
    if not any(row.p50_ms is not None for row in rows):
        return Markup("")
    worst = max((r.p99_ms for r in rows if r.p99_ms is not None), default=None)
    return svg.draw(
        svg.Chart(
            title="Latency over time",
            description=f"Time from due to first effect; worst window: p99 {figure(worst)} ms. {caption(detail)}",
            unit="ms, log scale",
            series=(
                svg.Series("p99", "s-p99", _steps(rows, [r.p99_ms for r in rows])),
                svg.Series("p50", "s-p50", _steps(rows, [r.p50_ms for r in rows])),
            ),
            phases=detail.phases,
            faults=merged(detail.faults),
            log=True,
            ident=f"{ident}-latency",
            span=span(detail),
        )
    )


def spark(detail: CaseDetail) -> Markup:
    """The shape of the throughput, for the list of cases."""
    rows = thin(detail.windows, SPARK_POINTS)
    return svg.sparkline([row.effects_per_s for row in rows], "shape of the throughput")


def figures(detail: CaseDetail) -> str:
    """What the charts show, as JSON for the page's script: end, effects/s, p50 and p99 of each window."""
    rows = [[_brief(r.ended_s), _brief(r.effects_per_s), _brief(r.p50_ms), _brief(r.p99_ms)] for r in _shown(detail)]
    return json.dumps({"span": span(detail), "rows": rows}, separators=(",", ":")) if rows else ""


def _shown(detail: CaseDetail) -> list[Window]:
    return thin(detail.windows, MAX_POINTS)


def _brief(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")


def caption(detail: CaseDetail) -> str:
    """Phases and faults in words: what the picture shows, for those who cannot see it or its small labels."""
    phases = "; ".join(f"{b.label} {_stretch(b)}" for b in detail.phases)
    bands = merged(detail.faults)
    faults = "; ".join(f"{b.label} {_stretch(b)}" for b in bands[:8])
    more = f"; and {len(bands) - 8} more" if len(bands) > 8 else ""
    parts = [f"Phases: {phases}." if phases else "", f"Faults: {faults}{more}." if faults else ""]
    return " ".join(p for p in parts if p)


def _stretch(band: Band) -> str:
    return f"{band.begun_s:.1f}–{band.ended_s:.1f} s"


def span(detail: CaseDetail) -> tuple[float, float]:
    """The stretch of time that all charts of a case share."""
    begins = [b.begun_s for b in detail.phases] + [w.begun_s for w in detail.windows]
    ends = [b.ended_s for b in detail.phases] + [w.ended_s for w in detail.windows]
    return min(begins, default=0.0), max(ends, default=1.0)


def merged(faults: Sequence[Band]) -> tuple[Band, ...]:
    """A kill loop has hundreds of faults: neighbours with one label become one band when there are too many to draw."""
    if len(faults) <= MAX_FAULT_BANDS:
        return tuple(faults)
    groups: dict[str, list[Band]] = {}
    for band in faults:
        groups.setdefault(band.label, []).append(band)
    return tuple(
        Band(f"{label} ×{len(group)}", min(b.begun_s for b in group), max(b.ended_s for b in group))
        for label, group in groups.items()
    )[:MAX_FAULT_BANDS]


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


def _steps(rows: Sequence[Window], values: Sequence[float | None]) -> list[tuple[float, float | None]]:
    """Flat over each window; the line breaks where a window is missing or has no value."""
    points: list[tuple[float, float | None]] = []
    previous = None
    for row, value in zip(rows, values, strict=True):
        if previous is not None and row.begun_s - previous > 1e-6:
            points.append((row.begun_s, None))
        points += [(row.begun_s, value), (row.ended_s, value)]
        previous = row.ended_s
    return points
