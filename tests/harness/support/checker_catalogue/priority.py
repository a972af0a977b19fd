"""Known histories: of what waits in the queue, the more urgent is taken first, or is left behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from checker_histories import ALL, WORKER_1, WORKER_2, HistoryBuilder
from checker_known import FAIL, NOT_CLAIMED, OPEN, PASS, TRANSIENT, UNKNOWN, known

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.history import NEVER, SubmitOutcome
from taskchaos.harness.record.verdict import Rule

H = HistoryBuilder
URGENT, LESS = 0, 1
#: What a worker may take to write down what it has taken: 250 ms, and four times the longest attempt, of 10 ms.
SLACK = 290
_AHEAD = "1 task went ahead of less urgent ones that had been sent before"
_BEHIND = "1 task waited while less urgent ones were taken"
_NONE = "no task of priority 0 went ahead of one of 3: offer more than workers can do"
_SHORT = "no task waited for long enough to be compared: offer more than workers can do, for longer"
_NOTE = "worker-1 took 1, of priority 3, while it waited 0.9 s"


def _way(builder: H, op: int, sent: float, taken: float, begun: float | None = None, role: int = WORKER_1) -> H:
    begun = taken + 1 if begun is None else begun
    return builder.ack(op, at=sent).deliver(op, taken, role).attempt(op, begun, role=role).effect(op, begun + 5)


def _ahead(builder: H) -> H:
    """At the other worker, much later, one went ahead of another."""
    return _way(_way(builder, 2, 5000, 6000, role=WORKER_2), 3, 4990, 7000, role=WORKER_2)


def _two(taken: float, begun: float | None = None, role: int = WORKER_1, sent: float = 0, urgent_at: float = 1000) -> H:
    """The urgent one is in the queue from 101 until 1000. When the other is taken, and begins."""
    builder = _way(H().set(priorities=2), URGENT, 100, urgent_at)
    return _ahead(_way(builder, LESS, sent, taken, begun, role))


def _judged(name: str, build: Callable[[], H], *, behind: bool, others: tuple[Rule, ...] = ()) -> None:
    outcome, reason = (FAIL, _BEHIND) if behind else (PASS, _AHEAD)
    samples = [(URGENT, _NOTE)] if behind else []
    known(name, Rule.PRIORITY, outcome, int(behind), reason, *samples, others=others)(build)


_judged("taken while it waits", lambda: _two(500), behind=True)
_judged("taken as soon as it surely waits", lambda: _two(101 + SLACK), behind=True)
_judged("taken when it may not have waited yet", lambda: _two(101 + SLACK - 1), behind=False)
_judged("taken as long as it surely waits", lambda: _two(1000 - SLACK), behind=True)
_judged("taken when it may not have waited any more", lambda: _two(1000 - SLACK + 1), behind=False)
_judged("taken by another worker, of which nothing tells who asked first", lambda: _two(500, None, 1), behind=False)
_judged("held back by its worker", lambda: _two(500, 1002), behind=False)
_judged("begun when the other is", lambda: _two(500, 1001), behind=False)
_judged("sent later, too", lambda: _two(500, sent=450), behind=True)


def _elsewhere() -> H:
    """The urgent one is taken by worker-2."""
    builder = _way(H().set(priorities=2), URGENT, 100, 1000, role=WORKER_2)
    return _ahead(_way(builder, LESS, 0, 500))


_judged("taken by the first worker, the urgent one by the second", _elsewhere, behind=False)


def _more_urgent() -> H:
    """It waits while more urgent ones are taken, and another that is as urgent."""
    builder = _way(_way(_way(H().set(priorities=2), LESS, 100, 1000), URGENT, 100, 500), 5, 100, 500)
    return _ahead(builder)


_judged("taken because it is more urgent, or as urgent", _more_urgent, behind=False, others=(Rule.EVIDENCE,))


def _third() -> H:
    """Of three priorities the last, beside one of the second that is taken too late to count."""
    builder = _way(_way(_way(H().set(priorities=3), 0, 100, 1000), 1, 0, 990), 2, 0, 500)
    return _way(_way(builder, 3, 5000, 6000), 4, 4990, 7000)


known(
    "taken although two are more urgent",
    Rule.PRIORITY,
    FAIL,
    2,
    "2 tasks waited while less urgent ones were taken",
    (0, "worker-1 took 2, of priority 6, while it waited 0.9 s"),
    (1, "worker-1 took 2, of priority 6, while it waited 1.0 s"),
)(_third)


def _first_not_begun() -> H:
    """Of two that were taken, the first was held back."""
    return _way(_two(500, 1002), 5, 0, 600)


known(
    "the second of two",
    Rule.PRIORITY,
    FAIL,
    1,
    _BEHIND,
    (URGENT, "worker-1 took 5, of priority 3, while it waited 0.9 s"),
    others=(Rule.EVIDENCE,),
)(_first_not_begun)

# ---------------------------------------------------------------- what counts: the first time that each was taken

_judged("it had been taken before", lambda: _two(500).deliver(URGENT, 390), behind=False)
_judged("it was taken again later", lambda: _two(500).deliver(URGENT, 2000), behind=True)
_judged("the other had been taken before", lambda: _two(500).deliver(LESS, 300), behind=False)
_judged("the other was taken again then", lambda: _two(100).deliver(LESS, 500), behind=False)


def _again(outcome: SubmitOutcome, at: float) -> H:
    return _two(500).submit(URGENT, outcome, at)


_judged("submitted again: in the queue since the first", lambda: _again(SubmitOutcome.ACKNOWLEDGED, 900), behind=True)
_judged("a submit that nobody acknowledged says nothing", lambda: _again(SubmitOutcome.UNKNOWN, 50), behind=True)


def _unsure() -> H:
    builder = H().set(priorities=2).submit(URGENT, SubmitOutcome.UNKNOWN, 100).deliver(URGENT, 1000)
    return _ahead(_way(builder.attempt(URGENT, 1001).effect(URGENT, 1006), LESS, 0, 500))


_judged("it may not have been in the queue", _unsure, behind=False, others=(Rule.EVIDENCE,))


def _no_delivery() -> H:
    builder = H().set(priorities=2).ack(URGENT, at=100).attempt(URGENT, 1001).effect(URGENT, 1006)
    return _ahead(_way(builder, LESS, 0, 500))


_judged("nobody wrote down when it was taken", _no_delivery, behind=False)

# ---------------------------------------------------------------- what a busy machine and faults explain


def _slow(until: float = 700, **fault: float) -> H:
    """A long attempt, which fails, of another at the other worker."""
    builder = _two(500).ack(4, at=3000).attempt(4, 3000, 3000 + until, TRANSIENT).attempt(4, 4000).effect(4, 4005)
    return builder.fault(**fault) if fault else builder  # type: ignore[arg-type]


_SLOW = (Rule.BACKOFF,)
_judged("attempts of 27 ms", lambda: _slow(27), behind=True, others=_SLOW)
_judged("attempts of 100 ms", lambda: _slow(100), behind=False, others=_SLOW)
_judged(
    "an attempt that a fault made long",
    lambda: _slow(at=3100, until=3200),
    behind=True,
    others=(*_SLOW, Rule.OVERLAP, Rule.FAULTS),
)
_judged(
    "an attempt that never ended",
    lambda: _two(500).attempt(LESS, 6000, NEVER, OPEN),
    behind=True,
    others=(Rule.OVERLAP, Rule.DURATION),
)
_judged("a fault while it waits", lambda: _two(500).fault(600, 700), behind=False)
_judged("a fault as it is sent", lambda: _two(500).fault(60, 100), behind=False)
_judged(
    "a fault before, for as long again", lambda: _two(500, sent=101).fault(20, 60), behind=False, others=(Rule.FAULTS,)
)
_judged(
    "a fault before, a little shorter", lambda: _two(500, sent=101).fault(20, 59), behind=True, others=(Rule.FAULTS,)
)
_judged("a fault as it is taken", lambda: _two(500).fault(1000, 1010), behind=False)
_judged("a fault after that", lambda: _two(500).fault(1001, 1003), behind=True)
_judged("a fault while the other waits", lambda: _two(500, sent=0).fault(10, 20), behind=False)
_judged("a fault of another worker", lambda: _two(500).fault(600, 700, target="worker-2"), behind=False)


@known(
    "a fault without evidence",
    Rule.PRIORITY,
    UNKNOWN,
    1,
    f"{_BEHIND}, unless worker_kill on worker-1 explains it, of which there is no evidence",
    (URGENT, _NOTE),
    others=(Rule.FAULTS,),
)
def _() -> H:
    return _two(500).fault(600, 700, proven=False)


@known(
    "as many records torn",
    Rule.PRIORITY,
    UNKNOWN,
    1,
    f"{_BEHIND}, unless their deliveries are among the 1 torn record; see why the ledger was cut",
    (URGENT, _NOTE),
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return _two(500).set(torn_records=1)


# ---------------------------------------------------------------- whether it was tried


def _tried(sent: float = 0, taken: float = 400 + SLACK, at: float = 400, role: int = WORKER_1) -> H:
    """The urgent one is sent at 100 and taken `at`; the other is sent, and taken, at these times."""
    return _way(_way(H().set(priorities=2), URGENT, 100, at), LESS, sent, taken, role=role)


for _name, _build, _why in (
    ("it went ahead", _tried, ""),
    ("hardly ahead", lambda: _tried(taken=399 + SLACK), _NONE),
    ("the other had just come to wait", lambda: _tried(at=1 + SLACK), ""),
    ("the other may not have waited yet", lambda: _tried(at=SLACK), _SHORT),
    ("the other was hardly in the queue", lambda: _tried(sent=98), ""),
    ("the other was not in the queue", lambda: _tried(sent=99), _NONE),
    ("at another worker", lambda: _tried(role=WORKER_2), _NONE),
    ("a fault met the other", lambda: _tried().fault(300, 310), _NONE),
):

    @known(
        f"evidence: {_name}",
        Rule.PRIORITY,
        UNKNOWN if _why else PASS,
        0,
        _why or _AHEAD,
    )
    def _(build: Callable[[], H] = _build) -> H:
        return build()


@known(
    "evidence: ahead of the one that was taken last",
    Rule.PRIORITY,
    PASS,
    0,
    _AHEAD,
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return _way(_tried(sent=1), 3, 2, 420)


def _of_three(*taken: float) -> H:
    """One of each of three priorities, the last sent first, taken at these times."""
    builder = H().set(priorities=3)
    for op, at in enumerate(taken):
        _way(builder, op, 20 - 10 * op, at)
    return builder


for _name, _taken, _why in (
    ("each went ahead of the next", (400, 800, 1200), ""),
    ("the first two are taken as they come", (420, 400, 1200), _NONE),
    ("the last two are taken as they come", (400, 820, 800), _NONE.replace("3", "6").replace("0", "3")),
):

    @known(
        f"evidence of three: {_name}",
        Rule.PRIORITY,
        UNKNOWN if _why else PASS,
        0,
        _why or "2 tasks went ahead of less urgent ones that had been sent before",
    )
    def _(taken: tuple[float, ...] = _taken) -> H:
        return _of_three(*taken)


def _alike() -> H:
    """Two that are as urgent."""
    return _way(_way(H().set(priorities=2), 1, 100, 400), 3, 0, 401 + SLACK)


def _only() -> H:
    """Two of the only priority that there is."""
    return _way(_way(H().set(priorities=1), 0, 100, 400), 1, 0, 401 + SLACK)


def _open() -> H:
    """It had been taken before the other was sent."""
    builder = H().set(priorities=2).ack(URGENT, at=1100).deliver(URGENT, 1150).attempt(URGENT, 1151, NEVER, OPEN)
    return builder.ack(LESS, at=1000).deliver(LESS, 1050).attempt(LESS, 1051, NEVER, OPEN)


known("evidence: ahead of one that is as urgent", Rule.PRIORITY, UNKNOWN, 0, _NONE, others=(Rule.EVIDENCE,))(_alike)
known("evidence: all are as urgent", Rule.PRIORITY, UNKNOWN, 0, _NONE)(_only)
known("evidence: no attempt ever ended", Rule.PRIORITY, UNKNOWN, 0, _NONE, others=(Rule.LOST,))(_open)


@known("no priorities", Rule.PRIORITY, NOT_CLAIMED, None, "the case has no priorities")
def _() -> H:
    return _two(500).set(priorities=0)


@known(
    "not claimed",
    Rule.PRIORITY,
    NOT_CLAIMED,
    1,
    f"the subject does not claim priority; seen: {_BEHIND}",
    contract=replace(ALL, claims=ALL.claims - {Claim.PRIORITY}),
)
def _() -> H:
    return _two(500)


# ---------------------------------------------------------------- what other rules make of those that wait for others


def _passed_by(first: int, priorities: int = 2) -> H:
    """Operation 1 waits for eight seconds, while those that were sent later are begun, each of another number."""
    builder = H().set(priorities=priorities).done(0).ack(1, at=50).attempt(1, 8000).effect(1, 8005)
    for number, at in enumerate(range(200, 8000, 200)):
        op = first + (priorities or 2) * number
        builder.ack(op, at=at - 1).attempt(op, at).effect(op, at + 5)
    return builder.planned(130)


_TOLD = "waited for longer; the longest wait of all was 8.0 s"
for _name, _first, _priorities, _over in (
    ("by more urgent ones only", 2, 2, 0),
    ("by others that are as urgent", 3, 2, 1),
    ("by less urgent ones", 2, 3, 1),
    ("by others, where all are as urgent", 2, 0, 1),
):

    @known(
        f"passed {_name}",
        Rule.DURATION,
        FAIL if _over else PASS,
        _over,
        f"{_over} task{'s' * (not _over)} {_TOLD}",
        *([(1, "waited 5.8 s longer than its queue explains")] if _over else []),
        expression="waits beyond 0 s explained",
        others=(Rule.EVIDENCE, Rule.PRIORITY),
    )
    def _(first: int = _first, priorities: int = _priorities) -> H:
        return _passed_by(first, priorities)
