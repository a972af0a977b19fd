"""The case cut into equal windows, for charts: effects per second and latency over time."""

from __future__ import annotations

from array import array
from math import ceil

from taskchaos.harness.checker.columns import first_effects, split_plan
from taskchaos.harness.clock import NS_PER_MS, NS_PER_S, seconds
from taskchaos.harness.record.history import NEVER, History
from taskchaos.harness.record.result import Window


def series(history: History, window_s: float) -> tuple[Window, ...]:
    """The windows of a case, from its first phase to its last phase or effect. Nothing when it has no phase."""
    if window_s <= 0:
        raise ValueError(f"window_s must be above 0, not {window_s}")
    if not history.phases:
        return ()
    inside, _ = split_plan(history)
    first = first_effects(inside)
    begin_ns = min(phase.begun_ns for phase in history.phases)
    end_ns = max(max(phase.ended_ns for phase in history.phases), max(first, default=NEVER) + 1)
    width_ns = max(1, round(window_s * NS_PER_S))
    # A remainder shorter than half a window would show as a spike: the last window takes it.
    count = max(1, (end_ns - begin_ns + width_ns // 2) // width_ns)
    latencies = _latencies(inside, first, begin_ns, width_ns, count)
    submits = [0] * count
    for begun_ns in inside.submits.begun_ns:
        if begin_ns <= begun_ns < end_ns:
            submits[min((begun_ns - begin_ns) // width_ns, count - 1)] += 1
    edges = [begin_ns + number * width_ns for number in range(count)] + [end_ns]
    return tuple(_window(edges[n] - begin_ns, edges[n + 1] - begin_ns, submits[n], latencies[n]) for n in range(count))


def _latencies(history: History, first: array[int], begin_ns: int, width_ns: int, count: int) -> list[array[int]]:
    """By window, the time from due to first effect of the operations that took effect in it."""
    due = array("q", first)  # an effect without a submit: no latency
    for op, due_ns in zip(history.submits.op, history.submits.due_ns, strict=True):
        if due_ns < due[op]:
            due[op] = due_ns
    found = [array("q") for _ in range(count)]
    for at_ns, due_ns in zip(first, due, strict=True):
        if at_ns >= begin_ns:
            found[min((at_ns - begin_ns) // width_ns, count - 1)].append(at_ns - due_ns)
    return found


def _window(begun_ns: int, ended_ns: int, submits: int, latencies: array[int]) -> Window:
    ordered = sorted(latencies)
    span_s = seconds(ended_ns - begun_ns)
    return Window(
        begun_s=seconds(begun_ns),
        ended_s=seconds(ended_ns),
        effects=len(ordered),
        submits=submits,
        effects_per_s=round(len(ordered) / span_s, 3) if span_s > 0 else 0.0,
        p50_ms=_percentile_ms(ordered, 0.50),
        p99_ms=_percentile_ms(ordered, 0.99),
    )


def _percentile_ms(ordered: list[int], share: float) -> float | None:
    """The nearest-rank percentile."""
    return ordered[ceil(share * len(ordered)) - 1] / NS_PER_MS if ordered else None
