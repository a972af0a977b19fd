"""Known histories: whether the plan was carried out, and the records are whole."""

from __future__ import annotations

from collections.abc import Callable

from checker_histories import HistoryBuilder
from checker_known import PASS, UNKNOWN, known

from taskchaos.harness.record.history import NEVER, SubmitOutcome
from taskchaos.harness.record.verdict import Rule

H = HistoryBuilder
PENDING, UNSURE, REFUSED = SubmitOutcome.PENDING, SubmitOutcome.UNKNOWN, SubmitOutcome.REFUSED


@known("complete", Rule.EVIDENCE, PASS, 0, "2 tasks submitted, records whole")
def _() -> H:
    return H().done(0, 1)


for _name, _build, _reason in (
    ("one read", lambda: H().done(0).final(reads=1), "1 final read, 2 are needed"),
    ("torn", lambda: H().done(0).set(torn_records=2), "2 ledger lines could not be read"),
    ("both dropped and sent", lambda: H().done(0).drop(0), "1 task both dropped and sent"),
    (
        "its effect as well",  # that ran because it was sent: what is missing is the plan that it was sent by
        lambda: H().done(0).done(1).planned(1),
        "1 task outside the plan",
    ),
    (
        "fewer gone through",
        lambda: H().done(0).set(gone_through=0),
        "the producers went through 0 tasks, the plan has 1",
    ),
    ("submit outside the plan", lambda: H().done(0).ack(1).planned(1), "1 task outside the plan"),
    ("drops outside the plan", lambda: H().done(0).drop(1, -1).planned(1), "2 tasks outside the plan"),
    (
        "a producer that ended early",
        lambda: H().done(0).set(producers=("producer-1", "producer-2")),
        "producer-2 did not go through its part of the plan",
    ),
):

    @known(_name, Rule.EVIDENCE, UNKNOWN, 1, _reason)
    def _(build: Callable[[], H] = _build) -> H:
        return build()


@known(
    "empty",
    Rule.EVIDENCE,
    UNKNOWN,
    4,
    "no task was planned; nothing was submitted: check the workload; "
    "no attempt and no effect was recorded: check that workers ran; 0 final reads, 2 are needed",
    others=tuple(Rule),
)
def _() -> H:
    return H().set(final=H().build().final.__class__())


@known(
    "nothing acknowledged",
    Rule.EVIDENCE,
    UNKNOWN,
    2,
    "no submit was acknowledged: check the stack before the fault; 1 task refused",
    (0, "refused"),
    others=(Rule.LOST,),
)
def _() -> H:
    return H().submit(0, REFUSED, 1).attempt(0)


@known(
    "everything at once",
    Rule.EVIDENCE,
    UNKNOWN,
    5,
    "2 tasks never offered; 2 tasks never answered: submit() did not return; "
    "1 task left unknown: submit() raised; 3 tasks refused; "
    "2 tasks dropped: the load was too late, free the machine",
    (1, "never answered: submit() did not return"),
    (2, "left unknown: submit() raised"),
    (3, "refused"),
    (4, "dropped: the load was too late, free the machine"),
    (5, "never offered"),
    (6, "refused"),
    (7, "never answered: submit() did not return"),
    (8, "dropped: the load was too late, free the machine"),
    (9, "refused"),
    (10, "never offered"),
)
def _() -> H:
    builder = H().done(0).submit(1, PENDING, 1).submit(2, UNSURE, 2).submit(3, REFUSED, 3).drop(4)
    builder.submit(6, REFUSED, 6).submit(7, UNSURE, 7).submit(7, PENDING, 8).drop(8).submit(9, REFUSED, 9)
    return builder.planned(11)


@known(
    "what submits said",
    Rule.EVIDENCE,
    UNKNOWN,
    2,
    "3 tasks left unknown: submit() raised (OSError: twice); 2 tasks refused (too large)",
    (1, "left unknown: submit() raised (OSError: twice)"),
    (2, "left unknown: submit() raised (another)"),
    (3, "left unknown: submit() raised (OSError: twice)"),
    (4, "refused (too large)"),
    (5, "refused"),
)
def _() -> H:
    """Of the last one it was not kept."""
    builder = H().done(0)
    for op, outcome in ((1, UNSURE), (2, UNSURE), (3, UNSURE), (4, REFUSED), (5, REFUSED)):
        builder.submit(op, outcome, op)
    said = {1: "OSError: twice", 2: "another", 3: "OSError: twice", 4: "too large"}
    return builder.set(submit_errors=said)


@known("not answered once, acknowledged then", Rule.EVIDENCE, PASS, 0, "2 tasks submitted, records whole")
def _() -> H:
    return H().done(0, 1).submit(1, UNSURE, 2).submit(0, REFUSED, 3)


# ---------------------------------------------------------------- what faults explain


def _sent(outcome: SubmitOutcome = UNSURE, done: float | None = None) -> H:
    """Operation 1 is submitted at 5000; a fault of its producer is yet to come."""
    return H().done(0).submit(1, outcome, 5000, done=done)


def _by(builder: H, at: float, until: float, target: str = "producer-1", **more: bool) -> H:
    return builder.fault(at, until, kind="refused", target=target, **more)


_RAISED, _HUNG = "left unknown: submit() raised", "never answered: submit() did not return"
_DROPPED = "dropped: the load was too late, free the machine"

for _name, _build, _why in (
    ("during a submit", lambda: _by(_sent(), 4990, 5010), ""),
    ("of a server during a submit", lambda: _by(_sent(), 4990, 5010, "redis"), ""),
    ("of a worker during a submit", lambda: _by(_sent(), 4990, 5010, "worker-1"), _RAISED),
    ("of a silent worker during a submit", lambda: _by(_sent(), 4990, 5010, "worker-9-results"), _RAISED),
    ("of another producer during a submit", lambda: _by(_sent(), 4990, 5010, "producer-2"), _RAISED),
    ("unproven during a submit", lambda: _by(_sent(), 4990, 5010, proven=False), _RAISED),
    ("vanished during a submit", lambda: _by(_sent(), 4990, 5010, held=False), _RAISED),
    ("never healed", lambda: _by(_sent(), 100, NEVER), ""),
    ("from the end of a submit on", lambda: _by(_sent(REFUSED), 5001, 5010), ""),
    ("after the end of a submit", lambda: _by(_sent(REFUSED), 5001.1, 5010), "refused"),
    ("a second after a submit that never returned", lambda: _by(_sent(PENDING), 6000, 6010), ""),
    ("more than a second after it", lambda: _by(_sent(PENDING), 6000.1, 6010), _HUNG),
    ("a second into a long submit", lambda: _by(_sent(done=7000), 6000, 6010), ""),
    ("more than a second into it", lambda: _by(_sent(done=7000), 6000.1, 6010), _RAISED),
    ("ended a second before", lambda: _by(_sent(), 3900, 4000), ""),
    ("ended more than a second before", lambda: _by(_sent(), 3900, 3999.9), _RAISED),
    ("ended as long ago as it was", lambda: _by(_sent(), 1000, 3000), ""),
    ("ended longer ago than it was", lambda: _by(_sent(), 1000.1, 3000), _RAISED),
    ("begun as a dropped one would be late", lambda: _by(H().done(0).drop(1, due=5000), 5100, 5200), ""),
    ("begun after a dropped one was late", lambda: _by(H().done(0).drop(1, due=5000), 5100.1, 5200), _DROPPED),
    ("ended a second before a dropped one", lambda: _by(H().done(0).drop(1, due=5000), 3900, 4000), ""),
):

    @known(
        f"fault {_name}",
        Rule.EVIDENCE,
        UNKNOWN if _why else PASS,
        1 if _why else 0,
        f"1 task {_why}"
        if _why
        else f"{1 if 'dropped' in _name else 2} task{'' if 'dropped' in _name else 's'} submitted, "
        "records whole; 1 not acknowledged because of faults",
        *([(1, _why)] if _why else []),
        others=(Rule.FAULTS,),
    )
    def _(build: Callable[[], H] = _build) -> H:
        return build()


@known(
    "fault began to bite while it was injected",
    Rule.EVIDENCE,
    PASS,
    0,
    "3 tasks submitted, records whole; 1 not acknowledged because of faults",
)
def _() -> H:
    builder = _sent(done=5001).ack(2, at=6450).attempt(2, 6500).effect(2, 6505)
    return builder.fault(6400, 6600, target="producer-1", began=4995)


@known(
    "one submit excused, the other not",
    Rule.EVIDENCE,
    UNKNOWN,
    1,
    "1 task left unknown: submit() raised",
    (1, "left unknown: submit() raised"),
    others=(Rule.FAULTS,),
)
def _() -> H:
    return _by(_sent().submit(1, UNSURE, 100), 4990, 5010)


@known(
    "two producers, in turn",
    Rule.EVIDENCE,
    UNKNOWN,
    2,
    "1 task never offered; 1 task dropped: the load was too late, free the machine",
    (3, "never offered"),
    (5, "dropped: the load was too late, free the machine"),
    others=(Rule.FAULTS,),
)
def _() -> H:
    builder = H().done(0, 1, 2).drop(4, 5).done(6, 7).planned(9)
    builder.set(producers=("producer-1", "producer-2"), finished=frozenset({"producer-1", "producer-2"}))
    return _by(builder, 2.5, 10)


# ---------------------------------------------------------------- never offered, and when that was


def _known_until(last: int, planned: int, step: float = 10, missing: tuple[int, ...] = ()) -> H:
    """Operations that are due one after the other; those that are missing, and those after the last, were not begun."""
    builder = H().planned(planned)
    for op in range(last + 1):
        if op not in missing:
            builder.ack(op, due=op * step, at=op * step).attempt(op, 100 + op).effect(op, 105 + op)
    return builder


def _slowing() -> H:
    """Due at 0, 10 and 100: one in 50."""
    return (
        H()
        .done(0)
        .ack(1, at=10)
        .attempt(1, 115)
        .effect(1, 116)
        .ack(2, at=100)
        .attempt(2, 130)
        .effect(2, 131)
        .planned(6)
    )


def _first_missing() -> H:
    return _known_until(9, 20, missing=(0, 1, 2))


def _dropped_last() -> H:
    return _known_until(1, 6).drop(4, due=40)


for _name, _build, _left in (
    ("from when the first of them was due", lambda: _by(_known_until(9, 20), 100, 200), ()),
    ("just after the first of them was due", lambda: _by(_known_until(9, 20), 100.1, 200), (10,)),
    ("long after all were due", lambda: _by(_known_until(9, 20), 1000, 2000), tuple(range(10, 20))),
    ("before the last that was sent", lambda: _by(_known_until(9, 20), 55, 200), ()),
    ("before everything", lambda: _by(_known_until(3, 4, missing=(0,)), -10, -5), ()),
    ("before a hole", lambda: _by(_known_until(9, 10, missing=(5, 6)), 45, 200), ()),
    ("in a hole", lambda: _by(_known_until(9, 10, missing=(5, 6)), 50, 200), ()),
    ("with the first after a hole", lambda: _by(_known_until(9, 10, missing=(5, 6)), 70, 200), ()),
    ("after the first after a hole", lambda: _by(_known_until(9, 10, missing=(5, 6)), 70.1, 200), (5, 6)),
    ("while all were due at once", lambda: _by(_known_until(9, 12, step=0), 1, 200), (10, 11)),
    ("after the only one that was sent", lambda: _by(_known_until(0, 3), 1, 200), (1, 2)),
    ("after the last that was dropped", lambda: _by(_dropped_last(), 50, 200), (2, 3)),
    ("later, after an earlier one", lambda: _by(_by(_known_until(9, 20), 1000, 2000), 100, 200), ()),
    ("after the last, the first ones missing", lambda: _by(_first_missing(), 150, 200), (0, 1, 2, 10, 11, 12, 13, 14)),
    ("after the last of a load that slows down", lambda: _by(_slowing(), 180, 200), (3,)),
    ("of a server", lambda: _by(_known_until(9, 20), 100, 200, "redis"), ()),
    ("of a worker", lambda: _by(_known_until(9, 12), 100, 200, "worker-1"), (10, 11)),
    ("not proven", lambda: _by(_known_until(9, 12), 100, 200, proven=False), (10, 11)),
):
    _total = _build().build()
    _sends = len(_total.submits.op)
    _excused = _total.planned - _sends - len(_total.drops.op) - len(_left)

    @known(
        f"never offered, fault {_name}",
        Rule.EVIDENCE,
        UNKNOWN if _left else PASS,
        (1 if _left else 0),
        f"{len(_left)} task{'' if len(_left) == 1 else 's'} never offered"
        if _left
        else f"{_sends} tasks submitted, records whole; {_excused} not acknowledged because of faults",
        *[(op, "never offered") for op in _left],
        others=(Rule.FAULTS,),
    )
    def _(build: Callable[[], H] = _build) -> H:
        return build()


for _name, _target, _gap in (
    ("of it", "producer-1", ""),
    ("of a server", "redis", ""),
    ("of a worker", "worker-1", "producer-1 did not go through its part of the plan"),
):

    @known(
        f"a producer that did not finish, after a fault {_name}",
        Rule.EVIDENCE,
        UNKNOWN if _gap else PASS,
        1 if _gap else 0,
        _gap or "1 task submitted, records whole",
    )
    def _(target: str = _target) -> H:
        return _by(H().done(0).set(finished=frozenset()), 50, 60, target)


@known("all gone through", Rule.EVIDENCE, PASS, 0, "2 tasks submitted, records whole")
def _() -> H:
    return H().done(0, 1).set(gone_through=2)


@known(
    "one of two producers did not finish after a fault, and never said how many it had gone through",
    Rule.EVIDENCE,
    PASS,
    0,
    "2 tasks submitted, records whole",
)
def _() -> H:
    builder = H().done(0, 1).set(producers=("producer-1", "producer-2"), gone_through=1)
    return _by(builder, 50, 60, "producer-2")


@known(
    "a producer that did not finish, after a fault of it without evidence",
    Rule.EVIDENCE,
    UNKNOWN,
    1,
    "producer-1 did not go through its part of the plan",
    others=(Rule.FAULTS,),
)
def _() -> H:
    return _by(H().done(0).set(finished=frozenset()), 50, 60, proven=False)


@known(
    "nothing was sent at all, and a producer had a fault",
    Rule.EVIDENCE,
    UNKNOWN,
    3,
    "nothing was submitted: check the workload; 2 tasks never offered; "
    "no attempt and no effect was recorded: check that workers ran",
    (0, "never offered"),
    (1, "never offered"),
    others=(Rule.LOST, Rule.FAULTS),
)
def _() -> H:
    return _by(H().planned(2), 50, 60)


@known(
    "never offered, nobody knows by whom, fault of a producer",
    Rule.EVIDENCE,
    UNKNOWN,
    1,
    "2 tasks never offered",
    (10, "never offered"),
    (11, "never offered"),
    others=(Rule.FAULTS,),
)
def _() -> H:
    return _by(_known_until(9, 12).set(producers=()), 100, 200)


@known(
    "never offered, nobody knows by whom, fault of a server",
    Rule.EVIDENCE,
    PASS,
    0,
    "10 tasks submitted, records whole; 2 not acknowledged because of faults",
)
def _() -> H:
    return _by(_known_until(9, 12).set(producers=()), 100, 200, "redis")
