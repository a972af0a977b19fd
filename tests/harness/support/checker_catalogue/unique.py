"""Known histories: what is submitted a second time under its id, on purpose."""

from __future__ import annotations

from dataclasses import replace

from checker_histories import ALL, HistoryBuilder
from checker_known import FAIL, NOT_CLAIMED, PASS, UNKNOWN, known

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.history import SubmitOutcome
from taskchaos.harness.record.verdict import Rule

H = HistoryBuilder
ACKED = SubmitOutcome.ACKNOWLEDGED
ONCE = replace(ALL, claims=ALL.claims - {Claim.EFFECTIVELY_ONCE})
_ONE = "each of 1 operation that were submitted twice is one task"
_TWO = "1 operation of 1 that were submitted twice took effect twice"
_NOTE = "2 submits, 2 effects"


def _twice(outcome: SubmitOutcome = ACKED) -> H:
    return H().set(again=True).done(0, 1).submit(0, outcome, 120)


def _ran_again(builder: H) -> H:
    return builder.attempt(0, 130).effect(0, 135)


@known("one task", Rule.UNIQUE, PASS, 0, _ONE, contract=ONCE)
def _() -> H:
    return _twice()


@known("two tasks", Rule.UNIQUE, FAIL, 1, _TWO, (0, _NOTE), contract=ONCE)
def _() -> H:
    return _ran_again(_twice())


@known(
    "what was submitted twice explains two effects",
    Rule.DUPLICATE,
    PASS,
    0,
    "0 operations took effect more than once unexplained; 1 explained by faults or unsure submits",
    expression="unexplained duplicates = 0",
    contract=replace(ONCE, claims=ONCE.claims - {Claim.UNIQUE}),
)
def _() -> H:
    return _ran_again(_twice())


@known(
    "beside what was submitted twice",
    Rule.DUPLICATE,
    FAIL,
    1,
    "1 operation took effect more than once without a fault to explain it; 0 explained by faults or unsure submits",
    (1, "2 effects within 30 ms"),
    expression="unexplained duplicates = 0",
    contract=ONCE,
)
def _() -> H:
    return _twice().attempt(1, 130).effect(1, 135)


@known("not on purpose", Rule.UNIQUE, NOT_CLAIMED, None, "the case submits nothing twice", contract=ONCE)
def _() -> H:
    return H().done(0)


@known("a fault explains it", Rule.UNIQUE, PASS, 0, _ONE, contract=ONCE)
def _() -> H:
    return _ran_again(_twice()).fault(104, 132)


@known("only once acknowledged", Rule.UNIQUE, UNKNOWN, 0, "no second submit was acknowledged: see why", contract=ONCE)
def _() -> H:
    return _ran_again(_twice(SubmitOutcome.UNKNOWN))


@known(
    "who does not claim it",
    Rule.UNIQUE,
    NOT_CLAIMED,
    1,
    f"the subject does not claim unique; seen: {_TWO}",
    contract=replace(ONCE, claims=ONCE.claims - {Claim.UNIQUE}),
)
def _() -> H:
    return _ran_again(_twice())
