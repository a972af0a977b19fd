"""Known histories: dead letters, which have to be due, and which it has to be possible to run again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from checker_histories import ALL, HistoryBuilder, ns
from checker_known import FAIL, FAILURE, NOT_CLAIMED, OPEN, PASS, PERMANENT, SUCCESS, TRANSIENT, UNKNOWN, known

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.history import AttemptOutcome, Redrive, SubmitOutcome
from taskchaos.harness.record.verdict import Rule

H = HistoryBuilder
INTERRUPTED, OK = AttemptOutcome.INTERRUPTED, AttemptOutcome.OK
CRASHES = replace(ALL, max_crashes=2)
ONE_TRY = replace(ALL, max_attempts=1, max_crashes=1)
UNBOUNDED = replace(ALL, claims=ALL.claims - {Claim.RETRIES_BOUNDED})
LOSES = replace(ALL, claims=ALL.claims - {Claim.NO_LOSS})

_LAST = "took effect although the subject's last word is failure"
_NOT_SHOWN = "none of them undue; whether one can be run again was not shown"
_UNDUE_1 = "1 dead letter that neither the plan nor the contract explains"


def _dead(*outcomes: AttemptOutcome, op: int = 1, submit: SubmitOutcome = SubmitOutcome.ACKNOWLEDGED) -> H:
    """Operation 0 goes the plain way; another ends in the dead letters after attempts that ended like this."""
    builder = H().done(0).submit(op, submit, 1)
    for number, outcome in enumerate(outcomes):
        at = 20 + 20 * number
        builder.deliver(op, at - 1).attempt(op, at, outcome=outcome, pid=50 + number)
    return builder.final(dead=frozenset({op}))


@known("no dead letter", Rule.DEAD_LETTER, PASS, 0, "no dead letter")
def _() -> H:
    return H().done(0)


@known("never read", Rule.DEAD_LETTER, UNKNOWN, 0, "the dead letters were not read", others=(Rule.EVIDENCE, Rule.LEAK))
def _() -> H:
    return H().done(0).final(reads=0)


for _name, _contract, _build in (
    ("permanent in the plan", ALL, lambda: _dead(PERMANENT).set(permanent=frozenset({1}))),
    ("retries used up", ALL, lambda: _dead(TRANSIENT, PERMANENT, INTERRUPTED)),
    ("more retries than claimed", replace(ALL, max_attempts=2), lambda: _dead(TRANSIENT, TRANSIENT, TRANSIENT)),
    ("crashes used up", CRASHES, lambda: _dead(OPEN, TRANSIENT, OPEN)),
    ("one try, and it failed", ONE_TRY, lambda: _dead(TRANSIENT)),
    ("one crash, and it happened", ONE_TRY, lambda: _dead(OPEN)),
    ("killed by faults", CRASHES, lambda: _dead(OPEN, OPEN).fault(25, 60, kills=(50, 51))),
    ("not in the plan at all", ALL, lambda: H().done(0).ack(1).done(2).final(dead=frozenset({-1, 3})).effect(1)),
    ("refused, so nobody's loss", ALL, lambda: _dead(submit=SubmitOutcome.REFUSED)),
):
    _number = 0 if _name.startswith("not in") else 1

    @known(
        f"due: {_name}",
        Rule.DEAD_LETTER,
        PASS,
        0,
        f"1 dead letter, {_NOT_SHOWN}" if _number else "no dead letter",
        contract=_contract,
        others=(Rule.RETRIES, Rule.EVIDENCE, Rule.OVERLAP),
    )
    def _(build: Callable[[], H] = _build) -> H:
        return build()


for _name, _contract, _build, _seen in (
    ("never tried", ALL, _dead, "dead after 0 of 3 attempts, 0 crashes"),
    ("once", ALL, lambda: _dead(TRANSIENT), "dead after 1 of 3 attempts, 0 crashes"),
    ("retries left", ALL, lambda: _dead(TRANSIENT, PERMANENT), "dead after 2 of 3 attempts, 0 crashes"),
    ("crashes not claimed", ALL, lambda: _dead(OPEN, OPEN, OPEN), "dead after 0 of 3 attempts, 3 crashes"),
    ("crashes left", CRASHES, lambda: _dead(OPEN), "dead after 0 of 3 attempts, 1 of 2 crashes"),
    ("each left", CRASHES, lambda: _dead(TRANSIENT, OPEN, TRANSIENT), "dead after 2 of 3 attempts, 1 of 2 crashes"),
    ("only one may crash", ONE_TRY, _dead, "dead after 0 of 1 attempt, 0 of 1 crash"),
    ("ended well", ALL, lambda: _dead(OK, TRANSIENT, TRANSIENT), "dead after 2 of 3 attempts, 0 crashes"),
    ("no bound claimed", UNBOUNDED, lambda: _dead(*[TRANSIENT] * 3), "dead after 3 attempts, 0 crashes"),
    ("no bound, one try", UNBOUNDED, lambda: _dead(TRANSIENT, OPEN), "dead after 1 attempt, 1 crash"),
    ("an unsure submit", ALL, lambda: _dead(submit=SubmitOutcome.UNKNOWN), "dead after 0 of 3 attempts, 0 crashes"),
    ("admitted", ALL, lambda: _dead(PERMANENT).said(1, FAILURE), "dead after 1 of 3 attempts, 0 crashes"),
    (
        "another is permanent",
        ALL,
        lambda: _dead(PERMANENT).set(permanent=frozenset({0})),
        "dead after 1 of 3 attempts, 0 crashes",
    ),
):

    @known(
        f"not due: {_name}",
        Rule.DEAD_LETTER,
        FAIL,
        1,
        _UNDUE_1,
        (1, _seen),
        contract=_contract,
        others=(Rule.EVIDENCE, Rule.OVERLAP),
    )
    def _(build: Callable[[], H] = _build) -> H:
        return build()


@known(
    "one due, two not",
    Rule.DEAD_LETTER,
    FAIL,
    2,
    "2 dead letters that neither the plan nor the contract explains",
    (1, "dead after 1 of 3 attempts, 0 crashes"),
    (2, "dead after 0 of 3 attempts, 0 crashes"),
)
def _() -> H:
    builder = _dead(TRANSIENT).ack(2, 3)
    for at in (20, 40, 60):
        builder.attempt(3, at, outcome=TRANSIENT)
    return builder.final(dead=frozenset({1, 2, 3}))


@known(
    "not due, and no loss is claimed to be none",
    Rule.DEAD_LETTER,
    NOT_CLAIMED,
    1,
    f"the subject does not claim no_loss; seen: {_UNDUE_1}",
    contract=LOSES,
)
def _() -> H:
    return _dead()


@known(
    "not due, but as many records are torn",
    Rule.DEAD_LETTER,
    UNKNOWN,
    1,
    f"{_UNDUE_1}, unless their attempts are among the 1 torn record; see why the ledger was cut",
    (1, "dead after 0 of 3 attempts, 0 crashes"),
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return _dead().set(torn_records=1)


@known(
    "more not due than records torn",
    Rule.DEAD_LETTER,
    FAIL,
    2,
    "2 dead letters that neither the plan nor the contract explains",
    (1, "dead after 0 of 3 attempts, 0 crashes"),
    (2, "dead after 0 of 3 attempts, 0 crashes"),
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return _dead().ack(2).final(dead=frozenset({1, 2})).set(torn_records=1)


@known(
    "not due, with an empty ledger",
    Rule.DEAD_LETTER,
    UNKNOWN,
    1,
    f"{_UNDUE_1}, but no worker wrote to the ledger; see why",
    (0, "dead after 0 of 3 attempts, 0 crashes"),
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return H().ack(0).final(dead=frozenset({0}))


# ---------------------------------------------------------------- run again


def _again(effect: bool = True, error: str = "", *, op: int = 1, due: bool = True) -> H:
    """A dead letter is run again at 20000: delivered, begun, done, told; all of that is no part of the case."""
    builder = _dead(TRANSIENT, TRANSIENT, *([TRANSIENT] if due else []))
    builder.deliver(op, 20_000).attempt(op, 20_000).said(op, SUCCESS, 20_000)
    if effect:
        builder.effect(op, 20_000)
    return builder.final(redrive=Redrive(op, ns(20_000), effect, error))


@known("run again", Rule.DEAD_LETTER, PASS, 0, "1 dead letter, none of them undue; one was run again and took effect")
def _() -> H:
    return _again()


for _name, _build, _what in (
    ("without effect", lambda: _again(effect=False), "could not be run again: it took no effect"),
    ("not at all", lambda: _again(False, "no such key"), "could not be run again: no such key"),
    ("with an error", lambda: _again(True, "gone"), "could not be run again: gone"),
):

    @known(f"run again {_name}", Rule.DEAD_LETTER, FAIL, 1, f"dead letter 1 {_what}", (1, _what))
    def _(build: Callable[[], H] = _build) -> H:
        return build()


@known(
    "run again without effect, and not due",
    Rule.DEAD_LETTER,
    FAIL,
    1,
    f"dead letter 1 could not be run again: gone; {_UNDUE_1}",
    (1, "dead after 2 of 3 attempts, 0 crashes; could not be run again: gone"),
)
def _() -> H:
    return _again(False, "gone", due=False)


@known(
    "one run again without effect, another not due",
    Rule.DEAD_LETTER,
    FAIL,
    2,
    f"dead letter 1 could not be run again: gone; {_UNDUE_1}",
    (1, "could not be run again: gone"),
    (2, "dead after 0 of 3 attempts, 0 crashes"),
)
def _() -> H:
    return _again(False, "gone").ack(2).final(dead=frozenset({1, 2}))


@known(
    "what was run again is no false failure",
    Rule.FALSE_FAILURE,
    PASS,
    0,
    f"0 tasks {_LAST}",
)
def _() -> H:
    return _again()


@known(
    "what was run again is no attempt too many",
    Rule.RETRIES,
    PASS,
    3,
    "0 tasks over the limit; the most attempts are 3",
)
def _() -> H:
    return _again()


@known(
    "others go on meanwhile",
    Rule.DUPLICATE,
    FAIL,
    1,
    "1 task took effect more than once",
    (0, "2 effects within 19895 ms"),
)
def _() -> H:
    return _again().effect(0, 20_000)


@known(
    "an effect before it was run again",
    Rule.FALSE_FAILURE,
    FAIL,
    1,
    "1 task took effect although the subject's last word is failure",
    (1, "a dead letter, but it took effect"),
)
def _() -> H:
    return _again().effect(1, 19_999.9)


# ---------------------------------------------------------------- dead, but done


def _done_and_dead() -> H:
    """Operation 1 takes effect in silence, and is in the dead letters."""
    return H().ack(0, 1).attempt(0).effect(0).attempt(1).effect(1).final(dead=frozenset({1, 7}))


@known(
    "dead, but done, and the subject says nothing else",
    Rule.FALSE_FAILURE,
    FAIL,
    1,
    "1 task took effect although the subject's last word is failure",
    (1, "a dead letter, but it took effect"),
)
def _() -> H:
    return _done_and_dead()


@known(
    "dead, but done, beside one that failed in words",
    Rule.FALSE_FAILURE,
    FAIL,
    2,
    "2 tasks took effect although the subject's last word is failure",
    (0, "failure claimed, but it took effect"),
    (1, "a dead letter, but it took effect"),
)
def _() -> H:
    return _done_and_dead().said(0, FAILURE, 111)


@known(
    "dead, but done, is no loss",
    Rule.DEAD_LETTER,
    PASS,
    0,
    f"1 dead letter, {_NOT_SHOWN}",
    others=(Rule.FALSE_FAILURE,),
)
def _() -> H:
    return _done_and_dead()


@known("dead in silence, not done", Rule.FALSE_FAILURE, PASS, 0, f"0 tasks {_LAST}")
def _() -> H:
    return H().ack(0, 1).attempt(0).effect(0).final(dead=frozenset({1})).set(permanent=frozenset({1}))


@known(
    "dead, but done after its failure",
    Rule.ZOMBIE,
    FAIL,
    1,
    "1 task took effect after the subject's final word",
    (1, "effect 5.0 ms after failure was claimed"),
)
def _() -> H:
    return _done_and_dead().said(1, FAILURE, 100)


@known(
    "dead, but done, and never submitted",
    Rule.UNEXPECTED,
    FAIL,
    1,
    "1 task ran without ever being submitted",
    (1, "in the plan, never submitted"),
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return H().done(0, 2).attempt(1).effect(1).final(dead=frozenset({1}))


@known(
    "dead, but done after its failure, is a zombie only",
    Rule.FALSE_FAILURE,
    PASS,
    0,
    f"0 tasks {_LAST}",
    others=(Rule.ZOMBIE,),
)
def _() -> H:
    return _done_and_dead().said(1, FAILURE, 100)
