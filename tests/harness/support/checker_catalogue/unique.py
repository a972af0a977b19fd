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
_ONE = "each of 1 task that were submitted twice is one task"
_TWO = "1 task of 1 that were submitted twice took effect twice"
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
    "0 tasks took effect more than once unexplained; 1 explained by faults or unsure submits",
    expression="unexplained duplicates = 0",
    contract=replace(ONCE, claims=ONCE.claims - {Claim.UNIQUE}),
)
def _() -> H:
    return _ran_again(_twice())


_MET = "1 task ran twice at the same time"
_APART = "0 tasks ran twice at the same time"
_TWO_TASKS = replace(ONCE, claims=ONCE.claims - {Claim.UNIQUE})
for _rule, _expression, _said, _reason, _note in (
    (Rule.OVERLAP, "overlapping attempts = 0", _APART, _MET, "worker-1 began while worker-1 still had 5.0 ms to run"),
    (
        Rule.FENCE,
        "fences rise",
        "0 tasks ran with a fence that was missing or not above those before",
        "1 task ran with a fence that was missing or not above those before",
        "fence 1 after 100000000",
    ),
):
    for _claimed in (False, True):

        @known(
            f"two submits at the same time, {'one task' if _claimed else 'two tasks'}",
            _rule,
            FAIL if _claimed else PASS,
            int(_claimed),
            _reason if _claimed else _said,
            *([(0, _note)] if _claimed else []),
            expression=_expression,
            contract=ONCE if _claimed else _TWO_TASKS,
            others=(Rule.OVERLAP, Rule.FENCE, Rule.UNIQUE),
        )
        def _() -> H:
            return _twice().attempt(0, 105, 115, fence=1).effect(0, 112)

        @known(
            f"beside two submits, {'one task' if _claimed else 'two tasks'}",
            _rule,
            FAIL,
            1,
            _reason,
            (1, _note),
            expression=_expression,
            contract=ONCE if _claimed else _TWO_TASKS,
            others=(Rule.OVERLAP, Rule.FENCE, Rule.DUPLICATE),
        )
        def _() -> H:
            return _twice().attempt(1, 105, 115, fence=1).effect(1, 112)


@known(
    "beside what was submitted twice",
    Rule.DUPLICATE,
    FAIL,
    1,
    "1 task took effect more than once without a fault to explain it; 0 explained by faults or unsure submits",
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
