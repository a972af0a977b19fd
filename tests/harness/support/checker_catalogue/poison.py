"""Known histories: operations whose bodies end their process, each time, as the plan has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from checker_histories import ALL, AT_LEAST_ONCE, READ_AT, HistoryBuilder, ns
from checker_known import FAIL, FAILURE, NOT_CLAIMED, PASS, TRANSIENT, UNKNOWN, known

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.history import AttemptOutcome, SubmitOutcome
from taskchaos.harness.record.verdict import Rule

H = HistoryBuilder
CRASHED = AttemptOutcome.CRASHED
CRASHES = replace(ALL, max_crashes=2)
LOSES = replace(ALL, claims=ALL.claims - {Claim.RETRIES_BOUNDED}, max_crashes=2)
_DUE = "1 dead letter, none of them undue; whether one can be run again was not shown"
_LOST = "1 of 2 acknowledged tasks lost, all at the end, behind all that was done"
_BOUND = "nothing is missing; no fault bit, so this gives no bound"


def _crashed(*outcomes: AttemptOutcome) -> H:
    """Operation 0 goes the plain way; 1 is poison, and its attempts ended like this."""
    builder = H().done(0).ack(1).set(poison=frozenset({1}))
    for number, outcome in enumerate(outcomes):
        builder.attempt(1, 20 + 20 * number, outcome=outcome, pid=50 + number)
    return builder


def _dead(*outcomes: AttemptOutcome) -> H:
    return _crashed(*outcomes).final(dead=frozenset({1}))


# ---------------------------------------------------------------- dead letters, lost


@known("poison: crashes used up", Rule.DEAD_LETTER, PASS, 0, _DUE, contract=CRASHES)
def _() -> H:
    return _dead(CRASHED, CRASHED)


for _name, _contract, _build, _seen in (
    ("no crash claimed", ALL, lambda: _dead(CRASHED, CRASHED), "dead after 0 of 3 attempts, 2 crashes"),
    ("crashes left", CRASHES, lambda: _dead(CRASHED), "dead after 0 of 3 attempts, 1 of 2 crashes"),
    ("each left", CRASHES, lambda: _dead(CRASHED, TRANSIENT), "dead after 1 of 3 attempts, 1 of 2 crashes"),
):

    @known(
        f"poison: {_name}",
        Rule.DEAD_LETTER,
        FAIL,
        1,
        "1 dead letter that neither the plan nor the contract explains",
        (1, _seen),
        contract=_contract,
    )
    def _(build: Callable[[], H] = _build) -> H:
        return build()


@known("poison: admitted, crashes used up", Rule.LOST, PASS, 0, _BOUND, contract=CRASHES)
def _() -> H:
    return _crashed(CRASHED, CRASHED).said(1, FAILURE)


for _name, _contract, _build, _seen in (
    ("admitted, crashes left", CRASHES, lambda: _crashed(CRASHED).said(1, FAILURE), ", subject said failure"),
    ("admitted, no crash claimed", ALL, lambda: _crashed(CRASHED).said(1, FAILURE), ", subject said failure"),
    ("nothing said", CRASHES, lambda: _crashed(CRASHED, CRASHED), ""),
    (
        "not in the plan",
        CRASHES,
        lambda: _crashed(CRASHED, CRASHED).said(1, FAILURE).set(poison=frozenset()),
        ", subject said failure",
    ),
):

    @known(
        f"poison: {_name}",
        Rule.LOST,
        FAIL,
        1,
        _LOST,
        (1, f"attempt at worker-1 ended crashed{_seen}"),
        contract=_contract,
    )
    def _(build: Callable[[], H] = _build) -> H:
        return build()


@known("poison: the first task", Rule.LOST, PASS, 0, _BOUND, contract=CRASHES)
def _() -> H:
    builder = H().ack(0).done(1).attempt(0, 20, outcome=CRASHED).attempt(0, 40, outcome=CRASHED)
    return builder.said(0, FAILURE).set(poison=frozenset({0}))


# ---------------------------------------------------------------- retries, stuck, overlap


def _told(number: int, worst: int = 1) -> str:
    return f"{number} task{'' if number == 1 else 's'} over the limit; the most attempts are {worst}"


@known("poison: crashes are no attempts", Rule.RETRIES, PASS, 1, _told(0), contract=replace(ALL, max_crashes=5))
def _() -> H:
    return _dead(*[CRASHED] * 5)


@known("poison: no bound on crashes claimed", Rule.RETRIES, PASS, 2, _told(0, 2), others=(Rule.LOST,))
def _() -> H:
    return _crashed(*[CRASHED] * 5, TRANSIENT, TRANSIENT)


@known("poison: more crashes than claimed", Rule.RETRIES, FAIL, 1, _told(1), (1, "3 crashes of 2"), contract=CRASHES)
def _() -> H:
    return _dead(CRASHED, CRASHED, CRASHED)


@known(
    "poison: more crashes, and no bound claimed",
    Rule.RETRIES,
    NOT_CLAIMED,
    1,
    f"the subject does not claim retries_bounded; seen: {_told(1)}",
    contract=LOSES,
)
def _() -> H:
    return _dead(CRASHED, CRASHED, CRASHED)


@known(
    "poison: crash after crash",
    Rule.STUCK,
    FAIL,
    1,
    "1 acknowledged task got no further for 5.0 s, 1 of them delivered again and again: longer than every "
    "redelivery timeout and the longest wait that the subject claims",
    (1, "came to a worker 2 times meanwhile"),
    others=(Rule.CONVERGED, Rule.LEAK),
)
def _() -> H:
    builder = _crashed(CRASHED).attempt(1, 6000, outcome=CRASHED).attempt(1, 7000, outcome=CRASHED)
    return builder.not_converged(stalled_since_ns=ns(READ_AT - 5000), quiet=False)


@known(
    "poison: one run after the other",
    Rule.OVERLAP,
    PASS,
    0,
    "0 tasks ran twice at the same time",
    contract=CRASHES,
)
def _() -> H:
    return _dead(CRASHED, CRASHED)


# ---------------------------------------------------------------- a poison message explains nothing


@known(
    "a message that was sent to the queue",
    Rule.DUPLICATE,
    FAIL,
    1,
    "1 task took effect more than once without a fault to explain it; 0 explained by faults or unsure submits",
    (0, "2 effects within 400 ms"),
    contract=AT_LEAST_ONCE,
    expression="unexplained duplicates = 0",
)
def _() -> H:
    return H().done(0).attempt(0, 500).effect(0, 505).fault(1, 600, kind="poison_message", target="queue")


# ---------------------------------------------------------------- evidence


@known("poison: each has crashed", Rule.EVIDENCE, PASS, 0, "2 tasks submitted, records whole", contract=CRASHES)
def _() -> H:
    return _dead(CRASHED, CRASHED)


@known(
    "poison: it took effect instead",
    Rule.EVIDENCE,
    UNKNOWN,
    1,
    "1 task had to end a process and never did: see that bodies run as planned",
)
def _() -> H:
    return H().done(0, 1).set(poison=frozenset({1}))


@known(
    "poison: the first task took effect instead",
    Rule.EVIDENCE,
    UNKNOWN,
    1,
    "1 task had to end a process and never did: see that bodies run as planned",
)
def _() -> H:
    return H().done(0, 1).set(poison=frozenset({0}))


@known(
    "poison: outside the plan, or never acknowledged",
    Rule.EVIDENCE,
    UNKNOWN,
    1,
    "1 task left unknown: submit() raised",
    (1, "left unknown: submit() raised"),
)
def _() -> H:
    return H().done(0).submit(1, SubmitOutcome.UNKNOWN, 1).set(poison=frozenset({-1, 1, 2}))
