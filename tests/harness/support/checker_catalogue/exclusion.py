"""Known histories: attempts of one operation beside and after each other."""

from __future__ import annotations

from collections.abc import Callable

from checker_histories import NO_FENCES, READ_AT, HistoryBuilder
from checker_known import (
    FAIL,
    NOT_CLAIMED,
    OPEN,
    PASS,
    TRANSIENT,
    UNKNOWN,
    known,
)

from taskchaos.harness.clock import NS_PER_MS
from taskchaos.harness.record.history import NEVER, UNFENCED
from taskchaos.harness.record.verdict import Rule

H = HistoryBuilder
FREE = "0 tasks ran twice at the same time"

# ---------------------------------------------------------------- overlap


@known("one after the other", Rule.OVERLAP, PASS, 0, "0 tasks ran twice at the same time")
def _() -> H:
    return H().done(0).attempt(0, 110, 120, TRANSIENT, 1)


@known(
    "at the same time",
    Rule.OVERLAP,
    FAIL,
    1,
    "1 task ran twice at the same time",
    (0, "worker-2 began while worker-1 still had 1.0 ms to run"),
)
def _() -> H:
    return H().done(0).attempt(0, 109, 120, TRANSIENT, 1).attempt(0, 119.5, 121, TRANSIENT, 1)


@known(
    "one inside the first of three",
    Rule.OVERLAP,
    FAIL,
    1,
    "1 task ran twice at the same time",
    (0, "worker-1 began while worker-2 still had 50.0 ms to run"),
)
def _() -> H:
    builder = H().ack(0).attempt(0, 10, 20, TRANSIENT).attempt(0, 30, 150, TRANSIENT, 1)
    return builder.attempt(0, 100, 110).effect(0, 105)


@known("ended by its subject, and seen for the last time before the next", Rule.OVERLAP, PASS, 0, FREE)
def _() -> H:
    return H().done(0).attempt(0, 50, outcome=OPEN, pid=7).set(gone={7: 100 * NS_PER_MS, 1: 0})


@known("ended by its subject before it was ever seen", Rule.OVERLAP, PASS, 0, FREE)
def _() -> H:
    return H().done(0).attempt(0, 50, outcome=OPEN, pid=7).set(gone={7: 0})


@known(
    "ended by its subject, and seen after the next had begun",
    Rule.OVERLAP,
    FAIL,
    1,
    "1 task ran twice at the same time",
    (0, "worker-1 began while worker-1 still had 1.0 ms to run"),
)
def _() -> H:
    return H().done(0).attempt(0, 50, outcome=OPEN, pid=7).set(gone={7: 101 * NS_PER_MS})


@known("killed before the next", Rule.OVERLAP, PASS, 0, "0 tasks ran twice at the same time")
def _() -> H:
    return H().done(0).attempt(0, 50, outcome=OPEN, pid=7).fault(100, 200, kills=(7,)).fault(20, 30, kills=(7,))


@known("killed in a loop that began earlier", Rule.OVERLAP, PASS, 0, "0 tasks ran twice at the same time")
def _() -> H:
    return H().done(0).attempt(0, 50, outcome=OPEN, pid=7).fault(20, 200, kills=(7,))


@known(
    "killed after the next began",
    Rule.OVERLAP,
    FAIL,
    1,
    "1 task ran twice at the same time",
    (0, "worker-1 began while worker-2 still had 1.0 ms to run"),
)
def _() -> H:
    return (
        H().done(0).attempt(0, 50, outcome=OPEN, role=1, pid=7).fault(101, 200, kills=(7,)).fault(101, 103, kills=(7,))
    )


@known(
    "never ended",
    Rule.OVERLAP,
    FAIL,
    1,
    "1 task ran twice at the same time",
    (0, "worker-1 began while worker-2 had an attempt that never ended"),
)
def _() -> H:
    return H().done(0).attempt(0, 50, outcome=OPEN, role=1, pid=8).fault(101, 200, kills=(7,))


@known("never ended, after the others", Rule.OVERLAP, PASS, 0, "0 tasks ran twice at the same time")
def _() -> H:
    return H().done(0).attempt(0, 150, outcome=OPEN, role=1, pid=8)


@known(
    "the long first one meets the third",
    Rule.OVERLAP,
    FAIL,
    1,
    "1 task ran twice at the same time",
    (0, "worker-1 began while worker-2 still had 890.0 ms to run"),
)
def _() -> H:
    builder = H().ack(0).attempt(0, 10, 1000, TRANSIENT, 1).attempt(0, 110, 120, TRANSIENT)
    return builder.attempt(0, 500, 510).effect(0, 505)


@known(
    "never ended and never read",
    Rule.OVERLAP,
    FAIL,
    1,
    "1 task ran twice at the same time",
    (0, "worker-1 began while worker-2 had an attempt that never ended"),
)
def _() -> H:
    return H().done(0).attempt(0, 50, outcome=OPEN, role=1, pid=8).final(read_at_ns=NEVER)


@known("begun after the final read", Rule.OVERLAP, PASS, 0, "0 tasks ran twice at the same time")
def _() -> H:
    return H().done(0).attempt(0, READ_AT + 50, outcome=OPEN, pid=8)


STOPPED = (
    "0 tasks ran twice at the same time; "
    "1 beside an attempt that had been stopped for longer than its lease, with a lower fence"
)


def _stopped(
    at: float = 120,
    until: float = 220,
    *,
    begun: float = 110,
    by: float = 200,
    fences: tuple[int, int] = (1, 2),
    stops: tuple[int, ...] = (7, 8),
    proven: bool = True,
) -> H:
    """Operation 0 begins on worker-2, whose process 7 stands still; worker-1 runs it meanwhile; then 7 goes on."""
    first, second = fences
    builder = (
        H()
        .ack(0)
        .attempt(0, begun, 250, TRANSIENT, 1, 7, first)
        .fault(at, until, stops=stops, proven=proven, kind="pause", target="worker-2")
    )
    return builder.attempt(0, by, by + 10, pid=1, fence=second).effect(0, by + 5)


@known("beside one that was stopped past its lease", Rule.OVERLAP, PASS, 0, STOPPED)
def _() -> H:
    return _stopped()


@known("begun with the stop", Rule.OVERLAP, PASS, 0, STOPPED)
def _() -> H:
    return _stopped(by=120)


@known("and once more, when both are over", Rule.OVERLAP, PASS, 0, STOPPED)
def _() -> H:
    return _stopped().attempt(0, 400, pid=1, fence=3, outcome=TRANSIENT)


@known("begun after the stop, while the stopped one still runs", Rule.OVERLAP, PASS, 0, STOPPED)
def _() -> H:
    return _stopped(by=230)


@known("the stopped one begins late", Rule.OVERLAP, PASS, 0, STOPPED)
def _() -> H:
    return _stopped(begun=220, by=215)


@known("never resumed", Rule.OVERLAP, PASS, 0, STOPPED, others=(Rule.FAULTS,))
def _() -> H:
    return _stopped(until=NEVER)


for _name, _build, _left in (
    ("stopped for less than a lease", lambda: _stopped(until=219), 50.0),
    ("begun before the stop", lambda: _stopped(by=119), 131.0),
    ("begun after the stop had ended", lambda: _stopped(begun=221, by=230), 20.0),
    ("the stopped one has the higher fence", lambda: _stopped(fences=(2, 1)), 50.0),
):

    @known(
        _name,
        Rule.OVERLAP,
        FAIL,
        1,
        "1 task ran twice at the same time",
        (0, f"worker-1 began while worker-2 still had {_left} ms to run"),
        others=(Rule.FENCE,),
    )
    def _(build: Callable[[], H] = _build) -> H:
        return build()


for _name, _build in (
    ("stopped, without a fence", lambda: _stopped(fences=(UNFENCED, 2))),
    ("stopped, with the same fence", lambda: _stopped(fences=(2, 2))),
    ("another process was stopped", lambda: _stopped(stops=(8,))),
):

    @known(
        _name,
        Rule.OVERLAP,
        FAIL,
        1,
        "1 task ran twice at the same time",
        (0, "worker-1 began while worker-2 still had 50.0 ms to run"),
        others=(Rule.FENCE,),
    )
    def _(build: Callable[[], H] = _build) -> H:
        return build()


@known(
    "the stop is not proven",
    Rule.OVERLAP,
    UNKNOWN,
    1,
    "1 task ran twice at the same time, unless pause on worker-2 explains it, of which there is no evidence",
    (0, "worker-1 began while worker-2 still had 50.0 ms to run"),
    others=(Rule.FAULTS,),
)
def _() -> H:
    return _stopped(proven=False)


@known(
    "stopped, but fences are not claimed",
    Rule.OVERLAP,
    FAIL,
    1,
    "1 task ran twice at the same time",
    (0, "worker-1 began while worker-2 still had 50.0 ms to run"),
    contract=NO_FENCES,
)
def _() -> H:
    return _stopped()


@known(
    "a third meets one that was not stopped",
    Rule.OVERLAP,
    FAIL,
    1,
    "1 task ran twice at the same time",
    (0, "worker-1 began while worker-1 still had 5.0 ms to run"),
)
def _() -> H:
    return _stopped().attempt(0, 205, 207, TRANSIENT, pid=2, fence=3)


@known(
    "the stopped one meets a third with a lower fence",
    Rule.OVERLAP,
    FAIL,
    1,
    "1 task ran twice at the same time",
    (0, "worker-1 began while worker-2 still had 20.0 ms to run"),
    others=(Rule.FENCE,),
)
def _() -> H:
    return _stopped(fences=(2, 3)).attempt(0, 230, 235, TRANSIENT, pid=1, fence=1)


@known(
    "a third with a lower fence meets two, and is told about the one that runs longer",
    Rule.OVERLAP,
    FAIL,
    1,
    "1 task ran twice at the same time",
    (0, "worker-2 began while worker-1 still had 70.0 ms to run"),
    others=(Rule.FENCE,),
)
def _() -> H:
    builder = H().ack(0).attempt(0, 110, 250, TRANSIENT, 1, 7, 2).fault(120, 220, stops=(7,), target="worker-2")
    return builder.attempt(0, 200, 300, pid=1, fence=3).effect(0, 205).attempt(0, 230, 235, TRANSIENT, 1, fence=1)


_NO_END = "had an attempt that never ended"

for _name, _build, _left in (
    (
        "killed, before that with the same pid",
        lambda: H().fault(20, 30, kills=(7,)).fault(150, 160, kills=(7,)),
        "still had 50.0 ms to run",
    ),
    ("killed by a fault that was never injected", lambda: H().fault(-1, -1, kills=(7,)), _NO_END),
):

    @known(
        _name,
        Rule.OVERLAP,
        FAIL,
        1,
        "1 task ran twice at the same time",
        (0, f"worker-1 began while worker-2 {_left}"),
        others=(Rule.FAULTS,),
    )
    def _(build: Callable[[], H] = _build) -> H:
        return build().done(0).attempt(0, 50, outcome=OPEN, role=1, pid=7)


@known("killed as it began, and again later", Rule.OVERLAP, PASS, 0, "0 tasks ran twice at the same time")
def _() -> H:
    builder = H().done(0).attempt(0, 50, outcome=OPEN, role=1, pid=7)
    return builder.fault(50, 60, kills=(7,)).fault(101, 160, kills=(7,))


# ---------------------------------------------------------------- fence

NONE_WRONG = "0 tasks ran with a fence that was missing or not above those before"
TWO_WRONG = NONE_WRONG.replace("0", "2")
ONE_WRONG = "1 task ran with a fence that was missing or not above those before"


@known("rising", Rule.FENCE, PASS, 0, NONE_WRONG)
def _() -> H:
    return H().done(0, 1).attempt(0, 50, 60, TRANSIENT, fence=3)


@known("missing", Rule.FENCE, FAIL, 2, TWO_WRONG, (0, "an attempt without a fence"), (2, "an attempt without a fence"))
def _() -> H:
    builder = H().done(0, 1).attempt(0, 50, 60, TRANSIENT, fence=UNFENCED)
    return builder.ack(2).attempt(2, fence=UNFENCED).effect(2)


@known("the same twice", Rule.FENCE, FAIL, 1, ONE_WRONG, (0, "fence 5 after 5"))
def _() -> H:
    return H().ack(0).attempt(0, 50, 60, TRANSIENT, fence=5).attempt(0, 100, fence=5).effect(0)


@known("falling after two", Rule.FENCE, FAIL, 1, ONE_WRONG, (0, "fence 5 after 6"))
def _() -> H:
    builder = H().ack(0).attempt(0, 50, 60, TRANSIENT, fence=4).attempt(0, 70, 80, TRANSIENT, fence=6)
    return builder.attempt(0, 100, fence=5).effect(0)


@known("overtaken before it began, while it was stopped", Rule.FENCE, PASS, 0, NONE_WRONG)
def _() -> H:
    return _stopped(begun=220, by=205)


@known(
    "overtaken before it began, stopped for less than a lease",
    Rule.FENCE,
    FAIL,
    1,
    ONE_WRONG,
    (0, "fence 1 after 2"),
)
def _() -> H:
    return _stopped(at=121, begun=220, by=205)


@known(
    "overtaken before it began, while it may have been stopped",
    Rule.FENCE,
    UNKNOWN,
    1,
    f"{ONE_WRONG}, unless pause on worker-2 explains it, of which there is no evidence",
    (0, "fence 1 after 2"),
    others=(Rule.FAULTS,),
)
def _() -> H:
    return _stopped(begun=220, by=205, proven=False)


@known(
    "overtaken before it was stopped",
    Rule.FENCE,
    FAIL,
    1,
    ONE_WRONG,
    (0, "fence 1 after 2"),
)
def _() -> H:
    return _stopped(begun=220, by=205, fences=(1, 3)).attempt(0, 100, 105, TRANSIENT, fence=2)


@known(
    "none at all",
    Rule.FENCE,
    NOT_CLAIMED,
    1,
    "the subject does not claim fenced; seen: no attempt carried a fence",
    contract=NO_FENCES,
)
def _() -> H:
    return H().ack(0).attempt(0, fence=UNFENCED).effect(0)
