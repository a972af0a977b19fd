"""Known histories of loads that were late: when their throughput is unknown, and when it fails all the same."""

from __future__ import annotations

from checker_histories import HistoryBuilder, ns
from checker_known import FAIL, PASS, UNKNOWN, known

from taskchaos.harness.contract import PhaseName
from taskchaos.harness.record.history import Phase
from taskchaos.harness.record.verdict import Rule

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
    return _late(2).drop(200, due=1999)


@known(
    "dropped in another phase",
    Rule.THROUGHPUT,
    PASS,
    100.0,
    "baseline 100.0/s >= 95.0/s",
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return _late(2).drop(*range(200, 300), due=-1)


@known(
    "dropped in the judged phase",
    Rule.THROUGHPUT,
    UNKNOWN,
    100.0,
    "load generator was late: 0 late and 3 dropped of 203 sends; "
    "lower the rate or free the machine (baseline 100.0/s >= 96.4/s)",
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    builder = _late(0).drop(200, 201, 202, due=1999)
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
    79.079,
    "load generator was late: 200 late and 0 dropped of 200 sends; lower the rate or free the machine "
    "(baseline 79.1/s < 95.0/s, from its first effect on)",
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


for _planned, _trouble in ((202, ""), (203, "0 late, 0 dropped and 3 never offered of 200 sends")):

    @known(
        f"{_planned - 200} never offered",
        Rule.THROUGHPUT,
        UNKNOWN if _trouble else PASS,
        100.0,
        f"load generator was late: {_trouble}; {_LATE}" if _trouble else "baseline 100.0/s >= 95.0/s",
        others=(Rule.EVIDENCE,),
    )
    def _(planned: int = _planned) -> H:
        return _late(0).planned(planned)


@known(
    "late, dropped and never offered",
    Rule.THROUGHPUT,
    UNKNOWN,
    100.0,
    f"load generator was late: 1 late, 1 dropped and 1 never offered of 200 sends; {_LATE}",
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return _late(1).drop(200, due=0).planned(202)


@known(
    "late, and too little to measure",
    Rule.THROUGHPUT,
    UNKNOWN,
    None,
    "load generator was late: 19 late and 0 dropped of 19 sends; lower the rate or free the machine "
    "(baseline has too little to measure (needs 0.2 s and 20 tasks))",
)
def _() -> H:
    builder = H().slo(100).phase(BASELINE, 0, 2000, 19)
    for op in range(19):
        builder.ack(op, due=op, at=op + 101).attempt(op, op * 100 + 200).effect(op, op * 100 + 200)
    return builder


def _two(*, healed_late: int = 3, last_due: float = 5999) -> H:
    """A good baseline, and a healed phase from 4000 to 6000 that is not half of what was sent; late there."""
    builder = H().slo(100).phase(BASELINE, 0, 2000, 200).phase(PhaseName.HEALED, 4000, 6000, 200)
    for op in range(200):
        builder.ack(op, at=op * 10).attempt(op, op * 10).effect(op, op * 10)
    for op in range(200, 400):
        due = 4000 + (op - 200) * 10
        at = due if op < 290 else 7000 + op
        builder.ack(op, due=due, at=due + (101 if op < 200 + healed_late else 0)).attempt(op, at).effect(op, at)
    return builder.ack(400, due=last_due, at=last_due + 200).attempt(400, 9000).effect(400, 9000)


@known(
    "late, and one of two phases is hopeless",
    Rule.THROUGHPUT,
    FAIL,
    45.0,
    "baseline 100.0/s >= 95.0/s; healed 45.0/s < 95.0/s; the load generator was late (5 late and 0 dropped of 400 "
    "sends), but the rate is not half of what it did send",
)
def _() -> H:
    return _two(healed_late=4)


for _due, _outcome in ((5999, "load generator was late: 5 late and 0 dropped of 400 sends; "), (6000, "")):
    _PLAIN = "baseline 100.0/s >= 95.0/s; healed 100.0/s >= 95.0/s"

    @known(
        f"late at {_due}, where a phase ends at 6000",
        Rule.THROUGHPUT,
        UNKNOWN if _outcome else PASS,
        100.0,
        f"{_outcome}lower the rate or free the machine ({_PLAIN})" if _outcome else _PLAIN,
    )
    def _(due: float = _due) -> H:
        builder = H().slo(100).phase(BASELINE, 0, 2000, 200).phase(PhaseName.HEALED, 4000, 6000, 200)
        for op in range(400):
            at = op * 10 + (2000 if op >= 200 else 0)
            builder.ack(op, due=at, at=at + (101 if op < 4 else 0)).attempt(op, at).effect(op, at)
        return builder.ack(400, due=due, at=due + 200).attempt(400, 9000).effect(400, 9000)


for _number in (10, 11):

    @known(
        f"{_number} dropped of 1000",
        Rule.THROUGHPUT,
        UNKNOWN if _number > 10 else PASS,
        500.0,
        f"load generator was late: 0 late and {_number} dropped of 1000 sends; lower the rate or free the machine "
        "(baseline 500.0/s >= 100.0/s)"
        if _number > 10
        else "baseline 500.0/s >= 100.0/s",
        others=(Rule.EVIDENCE,),
    )
    def _(number: int = _number) -> H:
        builder = H().slo(100).phase(BASELINE, 0, 2000, 1000).drop(*range(1000, 1000 + number), due=5)
        for op in range(1000):
            builder.ack(op, at=op * 2).attempt(op, op * 2).effect(op, op * 2)
        return builder


def _shifted(effects: int) -> H:
    """As `_behind`, but everything is 1 s later, and the first is sent as the phase begins."""
    builder = H().slo(100).phase(BASELINE, 1000, 3000, 200).phase(PhaseName.DRAIN, 3000, 5000)
    for op in range(200):
        due, at = 1000 + op * 10, 1000 + op * 2000 / effects if op < effects else 3500 + op
        builder.ack(op, due=due, at=due + (101 if 0 < op < 4 else 0)).attempt(op, at, at + 1).effect(op, at)
    return builder


for _number, _hopeless in ((99, True), (100, False)):

    @known(
        f"late, and {_number} of 200 done",
        Rule.THROUGHPUT,
        FAIL if _hopeless else UNKNOWN,
        _number / 2,
        f"baseline {_number / 2:.1f}/s < 95.0/s; the load generator was late (3 late and 0 dropped of 200 sends), but "
        "the rate is not half of what it did send"
        if _hopeless
        else "load generator was late: 3 late and 0 dropped of 200 sends; lower the rate or free the machine "
        f"(baseline {_number / 2:.1f}/s < 95.0/s)",
    )
    def _(number: int = _number) -> H:
        return _shifted(number)


@known(
    "late, and not half of what was sent, counting what was sent as the phase began",
    Rule.THROUGHPUT,
    FAIL,
    50.0,
    "baseline 50.0/s < 95.0/s; the load generator was late (3 late and 0 dropped of 200 sends), but the rate is not "
    "half of what it did send",
    expression="effects/s >= 200, or 95 % of the offered rate",
)
def _() -> H:
    return _shifted(100).slo(200).ack(200, at=1005).attempt(200, 4000).effect(200, 4000)
