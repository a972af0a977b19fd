"""Known histories of loads that were late: when their throughput is unknown, and when it fails all the same."""

from __future__ import annotations

from checker_histories import HistoryBuilder, ns
from checker_known import FAIL, PASS, UNKNOWN, known

from harness.contract import PhaseName
from harness.history import Phase
from harness.verdict import Rule

H = HistoryBuilder
BASELINE, FAULT = PhaseName.BASELINE, PhaseName.FAULT


def _late(sends: int, phase_begun: float = 0) -> H:
    """Some of 200 sends in a baseline of 2 s begin 101 ms after they are due; 100 ms is in time."""
    builder = H().slo(100).phase(FAULT, -5000, 0, 100).phase(BASELINE, 0, 2000, 200)
    for op in range(200):
        due = phase_begun + op * 10
        builder.ack(op, due=due, at=due + (101 if op < sends else 100)).attempt(op, op * 10, op * 10 + 5)
        builder.effect(op, op * 10 + 5)
    return builder


@known("1 % late", Rule.THROUGHPUT, PASS, 100.0, "baseline 100.0/s >= 95.0/s")
def _() -> H:
    return _late(2)


@known("late in another phase", Rule.THROUGHPUT, PASS, 100.0, "baseline 100.0/s >= 95.0/s")
def _() -> H:
    return _late(200, phase_begun=-3000)


_LATE = "lower the rate or free the machine (baseline 100.0/s >= 95.0/s)"


@known(
    "more than 1 % late",
    Rule.THROUGHPUT,
    UNKNOWN,
    100.0,
    f"load generator was late: 3 late and 0 dropped of 200 sends; {_LATE}",
)
def _() -> H:
    return _late(3)


@known(
    "late and dropped",
    Rule.THROUGHPUT,
    UNKNOWN,
    100.0,
    f"load generator was late: 2 late and 1 dropped of 200 sends; {_LATE}",
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return _late(2).set(dropped_sends=1, phases=_late(2).build().phases[1:])


@known("dropped in another phase", Rule.THROUGHPUT, PASS, 100.0, "baseline 100.0/s >= 95.0/s")
def _() -> H:
    return _late(2).set(dropped_sends=100).planned(300)


@known(
    "dropped in the judged phase",
    Rule.THROUGHPUT,
    UNKNOWN,
    100.0,
    "load generator was late: 0 late and 3 dropped of 203 sends; "
    "lower the rate or free the machine (baseline 100.0/s >= 96.4/s)",
)
def _() -> H:
    builder = _late(0).set(dropped_sends=3).planned(203)
    return builder.set(phases=(Phase(BASELINE, ns(0), ns(2000), 203),))


def _behind(effects: int, late: int = 3) -> H:
    """Baseline of 2 s with 200 sends, three of them late, and so many effects in it; the others come afterwards."""
    builder = H().slo(100).phase(BASELINE, 0, 2000, 200).phase(PhaseName.DRAIN, 2000, 4000)
    for op in range(200):
        due, at = op * 10, op * 2000 / effects if op < effects else 2500 + op
        builder.ack(op, due=due, at=due + (101 if op < late else 100)).attempt(op, at, at + 1).effect(op, at)
    return builder


@known(
    "late, and not half of what was sent",
    Rule.THROUGHPUT,
    FAIL,
    47.0,
    "baseline 47.0/s < 95.0/s; the load generator was late (3 late and 0 dropped of 200 sends), but the rate is not "
    "half of what it did send",
)
def _() -> H:
    return _behind(94)


@known(
    "late, and half of what was sent",
    Rule.THROUGHPUT,
    UNKNOWN,
    47.5,
    "load generator was late: 3 late and 0 dropped of 200 sends; lower the rate or free the machine "
    "(baseline 47.5/s < 95.0/s)",
)
def _() -> H:
    return _behind(95)


@known(
    "not half of what was planned, but of what was sent",
    Rule.THROUGHPUT,
    UNKNOWN,
    40.0,
    "load generator was late: 200 late and 0 dropped of 200 sends; lower the rate or free the machine "
    "(baseline 40.0/s < 95.0/s)",
)
def _() -> H:
    """The first 120 begin in the baseline, the rest long after it."""
    builder = H().slo(100).phase(BASELINE, 0, 2000, 200).phase(PhaseName.DRAIN, 2000, 9000)
    for op in range(200):
        at = 1000 + op * 5 if op < 120 else 5000 + op
        done = at + 600 if op >= 80 else at + 1
        builder.ack(op, due=min(op * 10, at - 101), at=at).attempt(op, done, done + 1).effect(op, done)
    return builder


@known("in time, and not half of what was sent", Rule.THROUGHPUT, FAIL, 40.0, "baseline 40.0/s < 95.0/s")
def _() -> H:
    return _behind(80, late=0)
