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

from harness.history import NEVER, SubmitOutcome
from harness.verdict import Rule

H = HistoryBuilder

# ---------------------------------------------------------------- duplicate


@known("once", Rule.DUPLICATE, PASS, 0, "0 operations took effect more than once")
def _() -> H:
    return H().done(0)


@known("twice", Rule.DUPLICATE, FAIL, 1, "1 operation took effect more than once", (0, "2 effects within 60 ms"))
def _() -> H:
    return H().done(0, 1).attempt(0, 150, 160).effect(0, 165).fault(140, 300)


def _told(left: int, explained: int) -> str:
    noun = "operation" if left == 1 else "operations"
    told = "without a fault to explain it" if left else "unexplained"
    return f"{noun} took effect more than once {told}; {explained} explained by faults or unsure submits"


def _twice(at: float = 500) -> H:
    """Operation 0: submitted at 0..1, delivered at 99, run at 100..110 and again."""
    return H().done(0).attempt(0, at).effect(0, at + 5)


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
    ("before the submit, not long before the delivery", lambda: _late().fault(30, 89), 1, 0),
    ("during the submit", lambda: _twice().fault(1, 2), 0, 1),
    ("just before the submit's end, long ago", lambda: _twice().fault(2, 3), 1, 0),
    ("until the last effect", lambda: _twice().fault(505, 600), 0, 1),
    ("after the last effect", lambda: _twice().fault(506, 600), 1, 0),
    ("without any fault", _twice, 1, 0),
    ("not proven", lambda: _twice().fault(200, 300, proven=False), 1, 0),
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
        others=(Rule.FAULTS,),
    )
    def _(build: Callable[[], H] = _build) -> H:
        return build()


# ---------------------------------------------------------------- unexpected, resurrected


@known("all submitted", Rule.UNEXPECTED, PASS, 0, "everything that ran was submitted")
def _() -> H:
    return H().done(0).submit(1, SubmitOutcome.UNKNOWN, 1).submit(2, SubmitOutcome.PENDING, 1).effect(1).effect(2)


@known(
    "never submitted",
    Rule.UNEXPECTED,
    FAIL,
    5,
    "5 operations ran without ever being submitted",
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
    "1 operation ran without ever being submitted, unless their submits are among the 1 torn record; "
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
    "1 operation ran without ever being submitted",
    (2, "not in the plan"),
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return H().done(0, 1).effect(2).set(torn_records=1)


@known("refused and gone", Rule.RESURRECTED, PASS, 0, "0 refused submits took effect")
def _() -> H:
    return H().done(0).submit(1, SubmitOutcome.REFUSED, 1).submit(2, SubmitOutcome.REFUSED, 2).ack(2).effect(2)


@known(
    "refused, yet done",
    Rule.RESURRECTED,
    FAIL,
    1,
    "1 refused submit took effect",
    (1, "its submit was refused, yet it took effect"),
)
def _() -> H:
    return H().done(0).submit(1, SubmitOutcome.REFUSED, 1).effect(1).effect(1, 200)


# ---------------------------------------------------------------- retries


@known("within the limit", Rule.RETRIES, PASS, 3, "0 operations over the limit; the most attempts are 3")
def _() -> H:
    return H().done(0).attempt(0, 50, 51, TRANSIENT).attempt(0, 60, 61, TRANSIENT)


@known("one attempt each", Rule.RETRIES, PASS, 1, "0 operations over the limit; the most attempts are 1")
def _() -> H:
    return H().done(0, 1)


@known(
    "over the limit",
    Rule.RETRIES,
    FAIL,
    4,
    "1 operation over the limit; the most attempts are 4",
    (0, "4 attempts that no fault met"),
)
def _() -> H:
    builder = H().done(0).attempt(0, 50, 51, TRANSIENT).attempt(0, 60, 61, TRANSIENT).attempt(0, 70, 71, TRANSIENT)
    return builder.fault(72, 99).fault(111, 112)


@known("over the limit by faults", Rule.RETRIES, PASS, 3, "0 operations over the limit; the most attempts are 3")
def _() -> H:
    builder = H().done(0).attempt(0, 50, 51, TRANSIENT).attempt(0, 60, 61, TRANSIENT).attempt(0, 70, 71, TRANSIENT)
    return builder.attempt(0, 80, 81, outcome=OPEN, pid=7).fault(71, 72).fault(85, 86, kills=(7,))


@known(
    "killed by an unproven fault",
    Rule.RETRIES,
    PASS,
    3,
    "0 operations over the limit; the most attempts are 3",
    others=(Rule.FAULTS,),
)
def _() -> H:
    builder = H().done(0).attempt(0, 50, 51, TRANSIENT).attempt(0, 60, 61, TRANSIENT)
    return builder.attempt(0, 80, outcome=OPEN, pid=7).fault(85, 86, kills=(7,), proven=False)


@known("effects only", Rule.RETRIES, PASS, 0, "0 operations over the limit; the most attempts are 0")
def _() -> H:
    return H().ack(0).effect(0)
