"""Known histories: what all tasks depend on is down for a while, and how hard it is tried meanwhile and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from checker_histories import ALL, HistoryBuilder, ns
from checker_known import FAIL, FAILURE, NOT_CLAIMED, PASS, TRANSIENT, UNKNOWN, known

from taskchaos.harness.backoff import BackoffLaw, JitterKind, LawKind
from taskchaos.harness.contract import Claim
from taskchaos.harness.record.history import AttemptOutcome, Outage, SubmitOutcome
from taskchaos.harness.record.verdict import Rule

H = HistoryBuilder
DOWN, UP = 1000, 2000
UNBOUNDED = replace(ALL, claims=ALL.claims - {Claim.RETRIES_BOUNDED})
UNCLAIMED = replace(ALL, claims=ALL.claims - {Claim.BACKOFF})
SILENT = replace(UNCLAIMED, backoff=None)
#: Waits so long that hardly one retry comes in the time.
SLOW = replace(UNBOUNDED, backoff=BackoffLaw(base_s=4.0, cap_s=8.0))
#: Every 200 ms, to the millisecond.
FIXED = replace(UNBOUNDED, backoff=BackoffLaw(LawKind.FIXED, base_s=0.2, cap_s=0.2, jitter=JitterKind.NONE))
ONCE = replace(ALL, max_attempts=1)
_OTHERS = (Rule.RETRIES, Rule.BACKOFF)


def _down(
    number: int,
    *again: float,
    back: float | Sequence[float] | None = 50,
    sent: SubmitOutcome = SubmitOutcome.ACKNOWLEDGED,
    before: Sequence[float] = (),
) -> H:
    """Operations that fail one after the other from the beginning of the outage on, and again so many ms after that.

    back: when they come back, in ms after the heal; several are taken in turn. before: all of them had failed so many
    ms before it.
    """
    builder = H().set(outage=Outage(ns(DOWN), ns(UP)), planned_outage=True, longest_wait_ns=ns(9000))
    for op in range(number):
        at = DOWN + 5 * op
        begun = min([at, *(DOWN - ms for ms in before)])
        builder.submit(op, sent, begun - 1, done=begun)
        for ms in before:
            builder.attempt(op, DOWN - ms, DOWN - ms + 1, TRANSIENT)
        for after in (0, *again):
            builder.attempt(op, at + after, at + after + 1, TRANSIENT)
        times = [back] if isinstance(back, (int, float)) else back
        if times is not None:
            until = UP + times[op % len(times)]
            builder.attempt(op, until, until + 1).effect(op, until)
    return builder


def _told(retries: str, number: int, allowed: str, back: int, waiting: int, most: int) -> str:
    noun = "task" if number == 1 else "tasks"
    down = f"{retries} retries/s of {number} {noun} while it was down, {allowed}/s allowed"
    return f"{down}; {back} of {waiting} came back within 0.5 s, {most} allowed"


@known("as the law says", Rule.RETRY_STORM, PASS, 40.0, _told("40.0", 40, "113.2", 40, 40, 57))
def _() -> H:
    return _down(40, 150, back=range(0, 400, 10))


@known(
    "a loop",
    Rule.RETRY_STORM,
    FAIL,
    1000.0,
    _told("1000.0", 40, "488.8", 40, 40, 57),
    contract=UNBOUNDED,
    others=_OTHERS,
)
def _() -> H:
    return _down(40, *range(10, 500, 20))


@known(
    "a loop, where attempts are counted",
    Rule.RETRY_STORM,
    FAIL,
    200.0,
    _told("200.0", 40, "113.2", 0, 0, 0),
    others=_OTHERS,
)
def _() -> H:
    return _down(40, *range(10, 100, 20))


@known("back at once", Rule.RETRY_STORM, FAIL, 0.0, _told("0.0", 40, "76.5", 40, 40, 23), contract=SLOW, others=_OTHERS)
def _() -> H:
    return _down(40)


@known("back bit by bit", Rule.RETRY_STORM, PASS, 0.0, _told("0.0", 40, "76.5", 10, 40, 23), contract=SLOW)
def _() -> H:
    return _down(40, back=range(50, 2050, 50))


@known(
    "never back", Rule.RETRY_STORM, PASS, 0.0, _told("0.0", 40, "76.5", 0, 40, 23), contract=SLOW, others=(Rule.LOST,)
)
def _() -> H:
    return _down(40, back=None)


@known("for half a second", Rule.RETRY_STORM, PASS, 80.0, _told("80.0", 40, "213.8", 1, 40, 57))
def _() -> H:
    return _down(40, 150, back=range(0, 400, 10)).set(outage=Outage(ns(DOWN), ns(DOWN + 500)))


@known(
    "for a third of a second",
    Rule.RETRY_STORM,
    PASS,
    133.3,
    _told("133.3", 40, "288.0", 0, 40, 57),
    others=(Rule.BACKOFF,),
)
def _() -> H:
    return _down(40, 100, back=range(0, 400, 10)).set(outage=Outage(ns(DOWN), ns(DOWN + 300)))


@known("many bit by bit", Rule.RETRY_STORM, PASS, 0.0, _told("0.0", 100, "125.9", 20, 100, 42), contract=SLOW)
def _() -> H:
    return _down(100, back=range(50, 3050, 50))


@known(
    "every 200 ms, as claimed", Rule.RETRY_STORM, PASS, 160.0, _told("160.0", 40, "273.1", 40, 40, 57), contract=FIXED
)
def _() -> H:
    return _down(40, 200, 400, 600, 800, back=range(0, 200, 5))


# ---------------------------------------------------------------- attempts are used up, or had failed before it


def _admitted(builder: H) -> H:
    """All of them are given up when it is up again, in so many words."""
    for op in sorted(set(builder.build().attempts.op)):
        builder.said(op, FAILURE, UP + 100)
    return builder


@known("used up meanwhile", Rule.RETRY_STORM, PASS, 80.0, _told("80.0", 40, "113.2", 0, 0, 0))
def _() -> H:
    return _admitted(_down(40, 150, 400, back=None))


@known("one attempt each", Rule.RETRY_STORM, PASS, 0.0, _told("0.0", 40, "0.0", 0, 0, 0), contract=ONCE)
def _() -> H:
    return _admitted(_down(40, back=None))


@known("had failed once before", Rule.RETRY_STORM, PASS, 40.0, _told("40.0", 40, "56.6", 0, 0, 0))
def _() -> H:
    return _admitted(_down(40, 300, back=None, before=[4]))


@known(
    "had failed once before, and no number is claimed",
    Rule.RETRY_STORM,
    PASS,
    40.0,
    _told("40.0", 40, "450.8", 40, 40, 57),
    contract=UNBOUNDED,
)
def _() -> H:
    return _down(40, 300, back=range(0, 400, 10), before=[4])


@known(
    "had failed more often before than is claimed",
    Rule.RETRY_STORM,
    FAIL,
    40.0,
    _told("40.0", 40, "0.0", 0, 0, 0),
    others=_OTHERS,
)
def _() -> H:
    return _admitted(_down(40, 300, back=None, before=[350, 150, 4]))


_FEW = "only {} failed by the outage, 20 are needed"


@known("just enough", Rule.RETRY_STORM, PASS, 0.0, _told("0.0", 20, "63.5", 20, 20, 32))
def _() -> H:
    return _down(20)


for _name, _build, _number in (
    ("too few", lambda: _down(19), "19 tasks"),
    ("of one sort", lambda: _down(1), "1 task"),
    ("a fault met them all", lambda: _down(40).fault(900, 1300), "0 tasks"),
    ("their submits are unsure", lambda: _down(40, sent=SubmitOutcome.UNKNOWN), "0 tasks"),
    (
        "one was interrupted as well",
        lambda: _down(20).attempt(0, DOWN + 100, DOWN + 101, AttemptOutcome.INTERRUPTED),
        "19 tasks",
    ),
    ("it was never down", lambda: _down(40).set(outage=None), "0 tasks"),
    ("it was down later", lambda: _down(40).set(outage=Outage(ns(5000), ns(6000))), "0 tasks"),
):

    @known(_name, Rule.RETRY_STORM, UNKNOWN, None, _FEW.format(_number), others=(Rule.EVIDENCE, Rule.LOST))
    def _(build: Callable[[], H] = _build) -> H:
        return build()


@known("a fault came when it was up again", Rule.RETRY_STORM, PASS, 0.0, _told("0.0", 40, "113.2", 40, 40, 57))
def _() -> H:
    return _down(40).fault(2001, 2300)


@known("nothing was down", Rule.RETRY_STORM, NOT_CLAIMED, None, "nothing that the tasks depend on was down")
def _() -> H:
    return _down(40).set(outage=None, planned_outage=False)


@known("no law", Rule.RETRY_STORM, NOT_CLAIMED, None, "the subject names no law of waiting", contract=SILENT)
def _() -> H:
    return _down(40)


@known(
    "not claimed",
    Rule.RETRY_STORM,
    NOT_CLAIMED,
    200.0,
    f"the subject does not claim backoff; seen: {_told('200.0', 40, '113.2', 0, 0, 0)}",
    contract=UNCLAIMED,
    others=_OTHERS,
)
def _() -> H:
    return _down(40, *range(10, 100, 20))


@known(
    "not claimed, and too few",
    Rule.RETRY_STORM,
    NOT_CLAIMED,
    None,
    f"the subject does not claim backoff; seen: {_FEW.format('19 tasks')}",
    contract=UNCLAIMED,
)
def _() -> H:
    return _down(19)


# ---------------------------------------------------------------- what else an outage is for


@known(
    "nobody felt the outage",
    Rule.EVIDENCE,
    UNKNOWN,
    1,
    "what the tasks depend on was to be down, and no attempt failed meanwhile: have some due then",
    others=(Rule.RETRY_STORM,),
)
def _() -> H:
    return H().done(0).set(outage=Outage(ns(DOWN), ns(UP)), planned_outage=True)


@known(
    "one attempt felt the outage",
    Rule.EVIDENCE,
    PASS,
    0,
    "1 task submitted, records whole",
    others=(Rule.RETRY_STORM,),
)
def _() -> H:
    return _down(1)


_DOWN_FROM, _FELT = Outage(ns(DOWN), ns(UP)), "1 task submitted, records whole"
_NOT_FELT = "what the tasks depend on was to be down, and no attempt failed meanwhile: have some due then"
for _when, _at, _end, _felt in (
    ("as it began", DOWN, TRANSIENT, True),
    ("before it", DOWN - 1, TRANSIENT, False),
    ("in it, ended otherwise", DOWN + 1, AttemptOutcome.INTERRUPTED, False),
):

    @known(
        f"an attempt that ended {_when}",
        Rule.EVIDENCE,
        PASS if _felt else UNKNOWN,
        int(not _felt),
        _FELT if _felt else _NOT_FELT,
        others=(Rule.RETRY_STORM, Rule.RETRIES, Rule.BACKOFF),
    )
    def _(at: float = _at, end: AttemptOutcome = _end) -> H:
        builder = H().ack(0).attempt(0, at - 5, at, end).attempt(0, UP + 5).effect(0, UP + 10)
        return builder.set(outage=_DOWN_FROM, planned_outage=True, longest_wait_ns=ns(9000))


def _failed(attempts: int, failures: bytes = b"") -> H:
    """Operation 1 fails so often, and is not seen again."""
    builder = H().done(0).ack(1).set(failures=failures)
    for number in range(attempts):
        builder.attempt(1, 1100 + 100 * number, outcome=TRANSIENT)
    return builder


def _given_up(attempts: int, failures: bytes = b"") -> H:
    """The same, given up in so many words."""
    return _failed(attempts, failures).said(1, FAILURE, 2000)


_LOST = "1 of 2 acknowledged tasks lost, all at the end, behind all that was done"
_NOT_LOST = "nothing is missing; no fault bit, so this gives no bound"
_OUTAGE = Outage(ns(DOWN), ns(UP))
for _name, _build, _contract, _lost in (
    ("by an outage", lambda: _given_up(3).set(outage=_OUTAGE), ALL, False),
    ("by an outage, with an attempt left", lambda: _given_up(2).set(outage=_OUTAGE), ALL, True),
    ("by an outage, and no number is claimed", lambda: _given_up(3).set(outage=_OUTAGE), UNBOUNDED, True),
    ("by an outage, in silence", lambda: _failed(3).set(outage=_OUTAGE), ALL, True),
    ("as often as planned", lambda: _given_up(3, bytes([0, 3])), ALL, False),
    ("as often as planned, in silence", lambda: _failed(3, bytes([0, 3])), ALL, True),
    ("more often than planned", lambda: _given_up(3, bytes([0, 2])), ALL, True),
):

    @known(
        f"given up as all attempts failed: {_name}",
        Rule.LOST,
        FAIL if _lost else PASS,
        int(_lost),
        _LOST if _lost else _NOT_LOST,
        *(
            [(1, f"attempt at worker-1 ended transient{'' if 'silence' in _name else ', subject said failure'}")]
            * _lost
        ),
        contract=_contract,
        others=(Rule.RETRY_STORM, Rule.EVIDENCE),
    )
    def _(build: Callable[[], H] = _build) -> H:
        return build()
