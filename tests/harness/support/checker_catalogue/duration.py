"""Known histories: how long operations wait for their next step, and what explains it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from checker_histories import ALL, HistoryBuilder, ns
from checker_known import FAIL, NOT_CLAIMED, OPEN, PASS, PERMANENT, TRANSIENT, UNKNOWN, known

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.history import AttemptOutcome, SubmitOutcome
from taskchaos.harness.record.verdict import Rule

H = HistoryBuilder
UNCLAIMED = replace(ALL, claims=ALL.claims - {Claim.BACKOFF})
_OTHERS = (Rule.FAULTS, Rule.EVIDENCE, Rule.OVERLAP, Rule.RETRIES, Rule.DUPLICATE)


def _again(at: float, outcome: AttemptOutcome = TRANSIENT) -> H:
    """Operation 0 fails at 110 and is tried again; 1 s is claimed, 2 s are a busy machine's, 40 ms are prefetched."""
    builder = H().set(longest_wait_ns=ns(1000)).ack(0).attempt(0, outcome=outcome)
    return builder.attempt(0, at).effect(0, at + 5)


def _told(over: int, longest: float) -> str:
    noun = "task" if over == 1 else "tasks"
    return f"{over} {noun} waited for longer; the longest wait of all was {longest:.1f} s"


def _beside(builder: H, first: int, begin: float, end: float, wait: float = 1) -> H:
    """Operations every 200 ms that are begun so long after they were sent."""
    at = begin
    while at < end:
        builder.ack(first, at=at - wait).attempt(first, at).effect(first, at + 5)
        first, at = first + 1, at + 200
    return builder


@known("in time", Rule.DURATION, PASS, 0, _told(0, 0.9))
def _() -> H:
    return _again(1000)


@known("late, but not by much", Rule.DURATION, PASS, 0, _told(0, 3.0))
def _() -> H:
    return _again(3150)


@known(
    "late, and nothing to do", Rule.DURATION, FAIL, 1, _told(1, 3.0), (0, "waited 0.0 s longer than its queue explains")
)
def _() -> H:
    return _again(3151)


def _stretched() -> H:
    """An attempt that stood still for 4 s; and long after that a retry that waits while nothing is done."""
    builder = H().set(longest_wait_ns=ns(400)).done(0).ack(1, at=90).attempt(1, 100, 4100, pid=7).effect(1, 4095)
    builder.fault(120, 4090, kind="pause", stops=(7,))
    builder.ack(2, at=19_990).attempt(2, 20_000, 20_005, TRANSIENT).attempt(2, 29_000).effect(2, 29_005)
    return builder.final(read_at_ns=ns(60_000))


@known(
    "much too late, and long before a fault had stretched an attempt",
    Rule.DURATION,
    FAIL,
    1,
    _told(1, 9.0),
    (2, "waited 6.5 s longer than its queue explains"),
    expression="waits beyond 0.4 s explained",
    others=_OTHERS,
)
def _() -> H:
    return _stretched()


@known(
    "much too late, and nothing to do",
    Rule.DURATION,
    FAIL,
    1,
    _told(1, 7.9),
    (0, "waited 4.8 s longer than its queue explains"),
)
def _() -> H:
    return _again(8000)


@known(
    "overtaken by new ones", Rule.DURATION, FAIL, 1, _told(1, 7.9), (0, "waited 4.8 s longer than its queue explains")
)
def _() -> H:
    return _beside(_again(8000), 1, 200, 8000)


@known("behind a long queue", Rule.DURATION, PASS, 0, _told(0, 7.9))
def _() -> H:
    builder = _again(8000)
    for op in range(1, 40):
        builder.ack(op, at=50).attempt(op, 200 * op).effect(op, 200 * op + 5)
    return builder


def _told_late(done: float) -> H:
    """Operation 0 is sent first, and acknowledged late; the others are all sent soon after it, and begun before it."""
    builder = H().set(longest_wait_ns=ns(1000)).submit(0, SubmitOutcome.ACKNOWLEDGED, 50, done=done)
    for op in range(1, 40):
        builder.ack(op, at=60).attempt(op, 200 * op).effect(op, 200 * op + 5)
    return builder.attempt(0, 8000).effect(0, 8005)


@known("passed by others that were in the queue before", Rule.DURATION, PASS, 0, _told(0, 8.0))
def _() -> H:
    return _told_late(done=60)


@known(
    "passed by others that came later",
    Rule.DURATION,
    FAIL,
    1,
    _told(1, 8.0),
    (0, "waited 5.8 s longer than its queue explains"),
)
def _() -> H:
    return _told_late(done=59)


for _name, _build, _longest in (
    ("at its worker", lambda: _again(8000).fault(500, 7000), 7.9),
    ("at another worker", lambda: _again(8000).fault(500, 7000, target="worker-2"), 7.9),
    ("that is not healed", lambda: _again(8000).fault(500, -1, healed=False), 7.9),
    ("and what redelivery takes", lambda: _again(3300).fault(50, 111), 3.2),
    ("that ended as the attempt did", lambda: _again(3300).fault(50, 110), 3.2),
    ("that came when it was hardly late", lambda: _again(8000).fault(3150, 7000), 7.9),
    ("and the next, as redelivery could have been over", lambda: _again(9000).fault(500, 600).fault(3840, 8000), 8.9),
):

    @known(f"a fault: {_name}", Rule.DURATION, PASS, 0, _told(0, _longest), others=_OTHERS)
    def _(build: Callable[[], H] = _build) -> H:
        return build()


@known(
    "a fault, but long ago",
    Rule.DURATION,
    FAIL,
    1,
    _told(1, 7.9),
    (0, "waited 4.6 s longer than its queue explains"),
)
def _() -> H:
    return _again(8000).fault(50, 150)


for _name, _build, _longest, _over in (
    ("was late already when it came", lambda: _again(8000).fault(7050, 7100), 7.9, 3.9),
    ("began as it came", lambda: _again(8000).fault(8000, 8100), 7.9, 4.8),
    ("began before it came", lambda: _again(8000).fault(8200, 8300), 7.9, 4.8),
    ("waited for the second of two", lambda: _again(9000).fault(500, 600).fault(8000, 8500), 8.9, 4.2),
):

    @known(
        f"a fault, but it {_name}",
        Rule.DURATION,
        FAIL,
        1,
        _told(1, _longest),
        (0, f"waited {_over} s longer than its queue explains"),
        others=_OTHERS,
    )
    def _(build: Callable[[], H] = _build) -> H:
        return build()


@known(
    "a fault without evidence",
    Rule.DURATION,
    UNKNOWN,
    1,
    f"{_told(1, 7.9)}, unless worker_kill on worker-1 explains it, of which there is no evidence",
    (0, "waited 4.8 s longer than its queue explains"),
    others=_OTHERS,
)
def _() -> H:
    return _again(8000).fault(500, 7000, proven=False)


@known("the first step", Rule.DURATION, FAIL, 1, _told(1, 8.0), (1, "waited 6.0 s longer than its queue explains"))
def _() -> H:
    return _again(1000).ack(1, at=1000).attempt(1, 9000).effect(1, 9005)


@known("sent before there were workers", Rule.DURATION, PASS, 0, _told(0, 9.0))
def _() -> H:
    return H().set(longest_wait_ns=ns(1000)).ack(0, at=0).attempt(0, 9000).effect(0, 9005)


@known(
    "sent again, and tried again, in no order",
    Rule.DURATION,
    FAIL,
    1,
    _told(1, 8.0),
    (1, "waited 6.0 s longer than its queue explains"),
)
def _() -> H:
    builder = _again(1000).ack(1, at=8500).ack(1, at=1000).ack(1, at=8000)
    return (
        builder.attempt(1, 9100, outcome=TRANSIENT).attempt(1, 9000, outcome=TRANSIENT).attempt(1, 9200).effect(1, 9205)
    )


@known("never sent", Rule.DURATION, PASS, 0, _told(0, 0.9), others=(Rule.UNEXPECTED, Rule.EVIDENCE))
def _() -> H:
    return _again(1000).attempt(1, 9000).effect(1, 9005).planned(2)


@known("as new tasks are late too", Rule.DURATION, PASS, 0, _told(0, 5.0))
def _() -> H:
    return _again(5100).ack(1, at=3300).attempt(1, 5300).effect(1, 5305)


@known("as new tasks were late when it was due", Rule.DURATION, PASS, 0, _told(0, 4.0))
def _() -> H:
    return _again(4100).ack(1, at=0).attempt(1, 1000).effect(1, 1005)


for _name, _outcome in (("permanently", PERMANENT), ("by an interruption", AttemptOutcome.INTERRUPTED)):

    @known(f"failed {_name}", Rule.DURATION, FAIL, 1, _told(1, 7.9), (0, "waited 4.8 s longer than its queue explains"))
    def _(outcome: AttemptOutcome = _outcome) -> H:
        return _again(8000, outcome)


for _name, _outcome in (("crashed", AttemptOutcome.CRASHED), ("never ended", OPEN), ("succeeded", AttemptOutcome.OK)):

    @known(f"what came before {_name}", Rule.DURATION, PASS, 0, _told(0, 0.1), others=_OTHERS)
    def _(outcome: AttemptOutcome = _outcome) -> H:
        return _again(8000, outcome)


@known(
    "not claimed",
    Rule.DURATION,
    NOT_CLAIMED,
    1,
    f"the subject does not claim backoff; seen: {_told(1, 7.9)}",
    contract=UNCLAIMED,
)
def _() -> H:
    return _again(8000)


@known(
    "tasks share business keys",
    Rule.DURATION,
    NOT_CLAIMED,
    None,
    "tasks share business keys: how long one waits for another, no queue tells",
    others=(Rule.KEY_OVERLAP,),
)
def _() -> H:
    return _again(8000).set(keys=2)


@known(
    "nothing ran",
    Rule.DURATION,
    UNKNOWN,
    None,
    "no task came to a worker: check that workers ran",
    others=(Rule.LOST, Rule.EVIDENCE),
)
def _() -> H:
    return H().set(longest_wait_ns=ns(1000)).ack(0)
