"""Known histories: how often, when and for whom bodies ran."""

from __future__ import annotations

from collections.abc import Callable

from checker_histories import AT_LEAST_ONCE, HistoryBuilder
from checker_known import (
    FAIL,
    OPEN,
    PASS,
    TRANSIENT,
    UNKNOWN,
    known,
)

from taskchaos.harness.record.history import NEVER, SubmitOutcome
from taskchaos.harness.record.verdict import Rule

H = HistoryBuilder

# ---------------------------------------------------------------- duplicate


@known("once", Rule.DUPLICATE, PASS, 0, "0 tasks took effect more than once")
def _() -> H:
    return H().done(0)


@known("twice", Rule.DUPLICATE, FAIL, 1, "1 task took effect more than once", (0, "2 effects within 60 ms"))
def _() -> H:
    return H().done(0, 1).attempt(0, 150, 160).effect(0, 165).fault(100, 300)


@known("three times", Rule.DUPLICATE, FAIL, 1, "1 task took effect more than once", (0, "3 effects within 95 ms"))
def _() -> H:
    return H().done(0).effect(0, 150).effect(0, 200)


def _told(left: int, explained: int) -> str:
    noun = "task" if left == 1 else "tasks"
    told = "without a fault to explain it" if left else "unexplained"
    return f"{noun} took effect more than once {told}; {explained} explained by faults or unsure submits"


def _twice(at: float = 500) -> H:
    """Operation 0: submitted at 0..1, delivered at 99, run at 100..110 and again."""
    return H().done(0).attempt(0, at).effect(0, at + 5)


def _hung() -> H:
    """As `_twice`, submitted once more at 50, which never returned."""
    return _twice().submit(0, SubmitOutcome.ACKNOWLEDGED, 50, done=NEVER)


def _moved() -> H:
    """Operation 0 runs at worker-1, then at worker-2."""
    return H().done(0).attempt(0, 500, role=1).effect(0, 505)


def _came() -> H:
    """Operation 0 runs twice at worker-1; it came to worker-2 as well."""
    return _twice().deliver(0, 400, role=1)


def _bare() -> H:
    """Operation 0 takes effect twice, and no worker has written that it had it."""
    return H().done(1).ack(0).effect(0).effect(0, 505)


def _told_last() -> H:
    """Operation 0 takes effect twice, and its only delivery on record is as late as the second effect."""
    return H().ack(0).effect(0).effect(0, 505).deliver(0, 505)


def _results_cut() -> H:
    return _twice().fault(50, 98, target="worker-1-results")


def _late() -> H:
    """As `_twice`, submitted at 90."""
    return H().ack(0, at=90).deliver(0, 99).attempt(0).effect(0).attempt(0, 500).effect(0, 505)


def _unseen() -> H:
    """Operation 0: submitted at 20 and again at 70, no delivery recorded, run at 100 and 500."""
    return H().ack(0, at=70).ack(0, at=20).attempt(0, 500).effect(0, 505).attempt(0, 100).effect(0, 105)


for _name, _build, _left, _explained in (
    ("between the two effects", lambda: _twice().fault(200, 300), 0, 1),
    ("after the delivery", lambda: _twice().fault(50, 99), 0, 1),
    ("just before the delivery, at that worker", lambda: _twice().fault(50, 74.5), 0, 1),
    ("before the delivery, too long ago for its length", lambda: _twice().fault(50, 74.4), 1, 0),
    ("just before the delivery, at another worker", lambda: _twice().fault(50, 98, target="worker-2"), 1, 0),
    ("just before the delivery, at that worker's result path", lambda: _results_cut(), 1, 0),
    ("just before a delivery after the last effect", lambda: _twice().deliver(0, 700).fault(600, 650), 1, 0),
    ("just before a delivery with the last effect", lambda: _told_last().fault(400, 452.5), 0, 1),
    ("just before a delivery with the last effect, too long ago", lambda: _told_last().fault(400, 452.4), 1, 0),
    ("until a submit, not long before the delivery", lambda: _late().fault(30, 90), 0, 1),
    ("before the submit, not long before the delivery", lambda: _late().fault(30, 89), 1, 0),
    ("during the submit", lambda: _twice().fault(1, 2, target="producer-1"), 0, 1),
    ("just after the submit's end, long ago", lambda: _twice().fault(2, 3, target="producer-1"), 1, 0),
    ("during the submit, of a server", lambda: _twice().fault(1, 2, target="redis"), 0, 1),
    ("during the submit, of another producer", lambda: _twice().fault(1, 2, target="producer-2"), 1, 0),
    ("during the submit, of the worker", lambda: _twice().fault(1, 2), 1, 0),
    ("during a submit that never returned", lambda: _hung().fault(50, 50, target="producer-1"), 0, 1),
    ("after a submit that never returned", lambda: _hung().fault(50.1, 60, target="producer-1"), 1, 0),
    ("of another worker, between the two effects", lambda: _twice().fault(200, 300, target="worker-2"), 1, 0),
    (
        "of another worker, between the two effects, beside one of its own that was over",
        lambda: _twice().fault(200, 300, target="worker-2").fault(600, 700),
        1,
        0,
    ),
    ("of another worker that ran it too", lambda: _moved().fault(200, 300, target="worker-2"), 0, 1),
    ("of another worker that it came to", lambda: _came().fault(200, 300, target="worker-2"), 0, 1),
    ("of a result path, between the two effects", lambda: _twice().fault(200, 300, target="worker-1-results"), 0, 1),
    ("of a server, between the two effects", lambda: _twice().fault(200, 300, target="redis"), 0, 1),
    ("of a server, before the delivery", lambda: _twice().fault(50, 98, target="redis"), 1, 0),
    ("of a server, seen by no worker", lambda: _bare().fault(200, 300, target="redis"), 0, 1),
    ("of a worker, seen by no worker", lambda: _bare().fault(200, 300), 1, 0),
    ("of the producer, between the two effects", lambda: _twice().fault(200, 300, target="producer-1"), 1, 0),
    ("until the last effect", lambda: _twice().fault(505, 600), 0, 1),
    ("after the last effect", lambda: _twice().fault(506, 600), 1, 0),
    ("without any fault", _twice, 1, 0),
    ("never healed", lambda: _twice().fault(50, NEVER), 0, 1),
    ("while on the broker, delivery not recorded", lambda: _unseen().fault(50, 60), 0, 1),
    ("before the submit, delivery not recorded", lambda: _unseen().fault(10, 19), 1, 0),
    ("none, but an unsure submit", lambda: _twice().submit(0, SubmitOutcome.UNKNOWN, 7), 0, 1),
):

    @known(
        f"at least once, fault {_name}",
        Rule.DUPLICATE,
        FAIL if _left else PASS,
        _left,
        f"{_left} {_told(_left, _explained)}",
        *([(0, "2 effects within 400 ms")] if _left else []),
        contract=AT_LEAST_ONCE,
        expression="unexplained duplicates = 0",
        others=(Rule.FAULTS, Rule.EVIDENCE),
    )
    def _(build: Callable[[], H] = _build) -> H:
        return build()


# ---------------------------------------------------------------- unexpected, resurrected


@known("all submitted", Rule.UNEXPECTED, PASS, 0, "everything that ran was submitted", others=(Rule.EVIDENCE,))
def _() -> H:
    return H().done(0).submit(1, SubmitOutcome.UNKNOWN, 1).submit(2, SubmitOutcome.PENDING, 1).effect(1).effect(2)


@known(
    "never submitted",
    Rule.UNEXPECTED,
    FAIL,
    5,
    "5 tasks ran without ever being submitted",
    (-1, "not in the plan"),
    (1, "in the plan, never submitted"),
    (2, "in the plan, never submitted"),
    (4, "not in the plan"),
    (70, "not in the plan"),
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    builder = H().done(0, 3).attempt(1).effect(2).attempt(4).effect(70).effect(70).effect(-1)
    return builder.deliver(50, 1).deliver(-50, 1).said(51)


@known(
    "submits torn",
    Rule.UNEXPECTED,
    UNKNOWN,
    1,
    "1 task ran without ever being submitted, unless their submits are among the 1 torn record; "
    "see why the ledger was cut",
    (1, "in the plan, never submitted"),
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return H().done(0, 2).attempt(1).effect(1).set(torn_records=1)


@known(
    "submits torn, but outside the plan",
    Rule.UNEXPECTED,
    FAIL,
    1,
    "1 task ran without ever being submitted",
    (2, "not in the plan"),
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return H().done(0, 1).effect(2).set(torn_records=1)


@known("refused and gone", Rule.RESURRECTED, PASS, 0, "0 refused submits took effect", others=(Rule.EVIDENCE,))
def _() -> H:
    return H().done(0).submit(1, SubmitOutcome.REFUSED, 1).submit(2, SubmitOutcome.REFUSED, 2).ack(2).effect(2)


@known(
    "refused, yet done",
    Rule.RESURRECTED,
    FAIL,
    1,
    "1 refused submit took effect",
    (1, "its submit was refused, yet it took effect"),
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return H().done(0).submit(1, SubmitOutcome.REFUSED, 1).effect(1).effect(1, 200)


# ---------------------------------------------------------------- retries


@known("within the limit", Rule.RETRIES, PASS, 3, "0 tasks over the limit; the most attempts are 3")
def _() -> H:
    return H().done(0).attempt(0, 50, 51, TRANSIENT).attempt(0, 60, 61, TRANSIENT)


@known(
    "redelivered after it was done",
    Rule.RETRIES,
    PASS,
    3,
    "0 tasks over the limit; the most attempts are 3",
    others=(Rule.DUPLICATE,),
)
def _() -> H:
    builder = H().done(0).attempt(0, 50, 51, TRANSIENT).attempt(0, 60, 61, TRANSIENT)
    return builder.attempt(0, 200, 201).effect(0, 200).attempt(0, 300, 301).effect(0, 300)


@known("one attempt each", Rule.RETRIES, PASS, 1, "0 tasks over the limit; the most attempts are 1")
def _() -> H:
    return H().done(0, 1)


@known(
    "over the limit",
    Rule.RETRIES,
    FAIL,
    4,
    "1 task over the limit; the most attempts are 4",
    (0, "4 attempts that no fault met"),
    others=(Rule.FAULTS,),
)
def _() -> H:
    builder = H().done(0).attempt(0, 50, 51, TRANSIENT).attempt(0, 60, 61, TRANSIENT).attempt(0, 70, 71, TRANSIENT)
    return builder.fault(72, 99).fault(111, 112)


@known("over the limit by faults", Rule.RETRIES, PASS, 3, "0 tasks over the limit; the most attempts are 3")
def _() -> H:
    builder = H().done(0).attempt(0, 50, 51, TRANSIENT).attempt(0, 60, 61, TRANSIENT).attempt(0, 70, 71, TRANSIENT)
    return builder.attempt(0, 80, 81, outcome=OPEN, pid=7).fault(71, 72).fault(85, 86, kills=(7,))


def _four(role: int = 0) -> H:
    """Four attempts, at worker-1 except the third, from 70 to 71; a fault is yet to meet that one."""
    builder = H().done(0).attempt(0, 50, 51, TRANSIENT).attempt(0, 60, 61, TRANSIENT)
    return builder.attempt(0, 70, 71, TRANSIENT, role)


for _name, _build, _met in (
    ("of the worker", lambda: _four().fault(71, 72), True),
    ("of its result path", lambda: _four().fault(61.5, 70, target="worker-1-results"), True),
    ("of a server", lambda: _four().fault(71, 72, target="redis"), True),
    ("of a server, beside another of the worker", lambda: _four().fault(1, 2).fault(71, 72, target="redis"), True),
    ("of the worker, around a shorter one", lambda: _four().fault(65, 71).fault(66, 67), True),
    ("of another worker", lambda: _four().fault(71, 72, target="worker-2"), False),
    ("of another worker's result path", lambda: _four().fault(71, 72, target="worker-2-results"), False),
    ("of the other worker, which made it", lambda: _four(role=1).fault(71, 72, target="worker-2"), True),
    ("of a worker that has written nothing", lambda: _four().fault(71, 72, target="worker-3"), False),
    ("of a producer", lambda: _four().fault(71, 72, target="producer-1"), False),
    ("of the worker, between attempts", lambda: _four().fault(61.1, 69.9), False),
):

    @known(
        f"one attempt met by a fault {_name}",
        Rule.RETRIES,
        PASS if _met else FAIL,
        3 if _met else 4,
        f"{0 if _met else 1} task{'s' if _met else ''} over the limit; the most attempts are {3 if _met else 4}",
        *([] if _met else [(0, "4 attempts that no fault met")]),
    )
    def _(build: Callable[[], H] = _build) -> H:
        return build()


@known(
    "many over the limit",
    Rule.RETRIES,
    FAIL,
    4,
    "40 tasks over the limit; the most attempts are 4",
    *((op, "4 attempts that no fault met") for op in range(32)),
    found=40,
    others=(Rule.BACKOFF,),
)
def _() -> H:
    builder = H().done(*range(40))
    for op in range(40):
        for at in (50, 60, 70):
            builder.attempt(op, at, at + 1, TRANSIENT)
    return builder


@known(
    "ended by themselves, before their process was killed",
    Rule.RETRIES,
    FAIL,
    4,
    "1 task over the limit; the most attempts are 4",
    (0, "4 attempts that no fault met"),
    others=(Rule.FAULTS,),
)
def _() -> H:
    return _four().fault(200, 300, kills=(1,))


@known(
    "killed by an unproven fault",
    Rule.RETRIES,
    PASS,
    3,
    "0 tasks over the limit; the most attempts are 3",
    others=(Rule.FAULTS,),
)
def _() -> H:
    builder = H().done(0).attempt(0, 50, 51, TRANSIENT).attempt(0, 60, 61, TRANSIENT)
    return builder.attempt(0, 80, outcome=OPEN, pid=7).fault(85, 86, kills=(7,), proven=False)


@known("effects only", Rule.RETRIES, PASS, 0, "0 tasks over the limit; the most attempts are 0")
def _() -> H:
    return H().ack(0).effect(0)
