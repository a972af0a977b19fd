"""Known histories: what is sent to be run later, and begins too early, in time, or late."""

from __future__ import annotations

from dataclasses import replace

from checker_histories import ALL, HistoryBuilder, load, ns
from checker_known import FAIL, NOT_CLAIMED, PASS, TRANSIENT, UNKNOWN, known

from taskchaos.harness.contract import Claim, PhaseName
from taskchaos.harness.record.history import AttemptOutcome
from taskchaos.harness.record.verdict import Rule

H = HistoryBuilder
LATER = 5000
_AT_ONCE = "waits beyond 0 s explained"
_IN_TIME = "each of 1 task began when it was due, or later"
_EARLY = "1 task of 1 began too early"


def _later(*begun: float, sent: float = 0) -> H:
    """Operation 0 is sent to be run later, and its attempts begin so long after it was due; operation 1 is plain."""
    builder = H().set(delays_ns={0: ns(LATER)}).done(1).ack(0, at=sent)
    for after in begun:
        builder.attempt(0, sent + LATER + after, outcome=AttemptOutcome.OK if after == begun[-1] else TRANSIENT)
    return builder.effect(0, sent + LATER + 100) if begun else builder


@known("when it was due", Rule.EARLY, PASS, 0, _IN_TIME)
def _() -> H:
    return _later(0)


@known("late", Rule.EARLY, PASS, 0, _IN_TIME)
def _() -> H:
    return _later(50)


@known("as much early as clocks may be apart", Rule.EARLY, PASS, 0, _IN_TIME)
def _() -> H:
    return _later(-10)


@known("a little earlier than that", Rule.EARLY, FAIL, 1, _EARLY, (0, "began 0.011 s before it was due"))
def _() -> H:
    return _later(-11)


@known(
    "its first attempt of two",
    Rule.EARLY,
    FAIL,
    1,
    _EARLY,
    (0, "began 0.300 s before it was due"),
    others=(Rule.BACKOFF,),
)
def _() -> H:
    return _later(-300, 50)


@known("sent again later: the first counts", Rule.EARLY, PASS, 0, _IN_TIME)
def _() -> H:
    return _later(0).ack(0, at=LATER - 100)


@known(
    "never tried",
    Rule.EARLY,
    UNKNOWN,
    0,
    "nothing that was to be run later was tried: check that workers ran",
    others=(Rule.LOST,),
)
def _() -> H:
    return _later()


@known("nothing is sent so", Rule.EARLY, NOT_CLAIMED, None, "the case sends nothing to be run later")
def _() -> H:
    return H().done(0)


@known(
    "not claimed",
    Rule.EARLY,
    NOT_CLAIMED,
    1,
    f"the subject does not claim eta; seen: {_EARLY}",
    contract=replace(ALL, claims=ALL.claims - {Claim.ETA}),
)
def _() -> H:
    return _later(-300)


# ---------------------------------------------------------------- what other rules make of the time until it is due


def _waited(over: int, longest: float) -> str:
    noun = "task" if over == 1 else "tasks"
    return f"{over} {noun} waited for longer; the longest wait of all was {longest:.1f} s"


@known(
    "until it is due it waits for nobody",
    Rule.DURATION,
    PASS,
    0,
    _waited(0, 2.0),
    expression=_AT_ONCE,
)
def _() -> H:
    return _later(2040)


@known(
    "from when it is due it waits as others do",
    Rule.DURATION,
    FAIL,
    1,
    _waited(1, 2.0),
    (0, "waited 0.0 s longer than its queue explains"),
    expression=_AT_ONCE,
)
def _() -> H:
    return _later(2050)


@known(
    "who held it until then was killed",
    Rule.DURATION,
    PASS,
    0,
    _waited(0, 2.0),
    expression=_AT_ONCE,
)
def _() -> H:
    """A lease is 100 ms: it may come as much later."""
    return _later(2050).fault(at=4000, until=4950, kills=(7,))


@known(
    "another that was due later is run before it",
    Rule.DURATION,
    FAIL,
    1,
    _waited(1, 2.6),
    (0, "waited 0.1 s longer than its queue explains"),
    expression=_AT_ONCE,
)
def _() -> H:
    """Others have been waiting for two seconds, so the workers are never idle."""
    builder = _later(2600).set(delays_ns={0: ns(LATER), 2: ns(LATER)})
    builder.ack(2, at=500).attempt(2, LATER + 500).effect(2, LATER + 505)
    for op in range(3, 17):
        at = LATER + 200 * (op - 3)
        builder.ack(op, at=at - 2000).attempt(op, at).effect(op, at + 5)
    return builder


def _rates(late_ms: float, *, delayed: bool = True) -> H:
    """A phase in which every operation is sent to be run later, and begins so much after that."""
    builder = H().slo(80).phase(PhaseName.BASELINE, 0, 1000, 100)
    number = load(builder, 0, 1000, 100, LATER + late_ms)
    return builder.set(delays_ns=dict.fromkeys(range(number), ns(LATER)) if delayed else {})


_EXPRESSION = "effects/s >= 80, or 95 % of the offered rate"
_OTHERS = (Rule.EARLY, Rule.DURATION, Rule.RECOVERY)
_BY_COMPLETION = ", by completion, less the waits that the subject claims"


@known(
    "a rate of what is due later",
    Rule.THROUGHPUT,
    PASS,
    100.0,
    f"baseline 100.0/s >= 80.0/s{_BY_COMPLETION}",
    expression=_EXPRESSION,
    others=_OTHERS,
)
def _() -> H:
    return _rates(5)


@known(
    "a rate of what is done too late",
    Rule.THROUGHPUT,
    FAIL,
    65.972,
    f"baseline 66.0/s < 80.0/s{_BY_COMPLETION}",
    expression=_EXPRESSION,
    others=_OTHERS,
)
def _() -> H:
    return _rates(500)


@known(
    "a rate of what was due at once",
    Rule.THROUGHPUT,
    FAIL,
    0.0,
    "baseline 0.0/s < 80.0/s",
    expression=_EXPRESSION,
    others=_OTHERS,
)
def _() -> H:
    return _rates(5, delayed=False)
