"""Known histories: what is revoked, and begins all the same, or had begun, or is no loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from checker_histories import ALL, WORKER_1, WORKER_2, HistoryBuilder
from checker_known import FAIL, NOT_CLAIMED, PASS, TRANSIENT, UNKNOWN, known

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.history import NEVER, SubmitOutcome
from taskchaos.harness.record.verdict import Rule

H = HistoryBuilder
#: What a worker may take to write down what it has: 250 ms, and four times the longest attempt, of 10 ms.
NOTED = 290
_NEVER = "each of 1 task that were revoked in time never began"
_BEGAN = "1 task began although revoked before"
_NONE = "no revoke was heard before a worker had its task"


def _case(op: int = 0) -> H:
    """One that is revoked at 100, and heard at 110, beside one that is not; and a third, revoked in time."""
    builder = H().set(revoking=True).done(1).ack(2).revoke(2, 100, 110)
    return builder.ack(0).revoke(op, 100, 110)


def _comes(*came: float, begun: float | None = None, role: int = WORKER_1, at: int | None = None) -> H:
    """It comes to a worker at these times, and begins there (or at another) a little after the last of them."""
    builder = _case()
    for each in came:
        builder.deliver(0, each, role)
    begun = came[-1] + 5 if begun is None else begun
    return builder.attempt(0, begun, role=role if at is None else at).effect(0, begun + 5)


def _judged(name: str, build: Callable[[], H], *, began: float | None = None, others: tuple[Rule, ...] = ()) -> None:
    """began: after how long it came to its worker, if it should not have begun."""
    outcome, reason = (PASS, _NEVER) if began is None else (FAIL, _BEGAN)
    samples = [] if began is None else [(0, f"worker-1 got it {began:.1f} s after its revoke was heard, and began it")]
    known(name, Rule.REVOKED, outcome, len(samples), reason, *samples, others=others)(build)


_judged("a worker had it before", lambda: _comes(50))
_judged("a worker may have had it when it heard", lambda: _comes(110 + NOTED))
_judged("a worker got it later", lambda: _comes(110 + NOTED + 1), began=0.3)
_judged("it came again much later", lambda: _comes(50, 2000), began=1.9)
_judged("it had begun, and came again to no attempt", lambda: _comes(50, 2000, begun=60))


def _elsewhere() -> H:
    """The second worker got it later, the first had it before and begins it when the second has it."""
    return _case().deliver(0, 50, WORKER_1).deliver(0, 2000, WORKER_2).attempt(0, 2005, role=WORKER_1).effect(0, 2010)


_judged("another worker got it later", _elsewhere)


def _second_worker() -> H:
    builder = _case().deliver(0, 50, WORKER_1).deliver(0, 2000, WORKER_2)
    return builder.attempt(0, 2005, role=WORKER_2).effect(0, 2010)


known(
    "the worker that got it later begins it",
    Rule.REVOKED,
    FAIL,
    1,
    _BEGAN,
    (0, "worker-2 got it 1.9 s after its revoke was heard, and began it"),
)(_second_worker)


def _twice() -> H:
    """Of two attempts the first should not have been, either."""
    return _comes(1000).attempt(0, 800, outcome=TRANSIENT).deliver(0, 790)


_judged("the first attempt of two is told", _twice, began=0.7, others=(Rule.BACKOFF,))


def _unnoted(begun: float) -> H:
    return _case().attempt(0, begun).effect(0, begun + 5)


_judged("it may have begun before, and nobody wrote down that it came", lambda: _unnoted(110 + NOTED))
for _name, _build in (
    ("an attempt that nobody wrote down a delivery of", lambda: _unnoted(110 + NOTED + 1)),
    ("it came later to a worker that did not begin it", lambda: _comes(2000, begun=2040, at=WORKER_2)),
):
    known(
        _name,
        Rule.REVOKED,
        UNKNOWN,
        0,
        "1 task began after its revoke, and nobody wrote down when a worker got it",
    )(_build)


def _unheard(text: str = "") -> H:
    builder = H().set(revoking=True, unheard=text).done(1).ack(0).revoke(0, 100)
    return builder.deliver(0, 2000).attempt(0, 2005).effect(0, 2010)


known("not known to be heard", Rule.REVOKED, UNKNOWN, 0, _NONE)(_unheard)
known("and why", Rule.REVOKED, UNKNOWN, 0, f"{_NONE}: 1 of 2 answered")(lambda: _unheard("1 of 2 answered"))


@known("all came too late", Rule.REVOKED, UNKNOWN, 0, _NONE)
def _() -> H:
    return H().set(revoking=True).done(0).revoke(0, 150, 160)


def _had(at: float) -> H:
    """A worker has it from then on, and does not begin it."""
    return H().set(revoking=True).done(1).ack(0).revoke(0, 100, 110).deliver(0, at)


known("a worker may have had it when it heard, and did not begin it", Rule.REVOKED, UNKNOWN, 0, _NONE)(
    lambda: _had(110 + NOTED)
)
known("a worker got it later, and did not begin it", Rule.REVOKED, PASS, 0, _NEVER)(lambda: _had(110 + NOTED + 1))


@known("of one that was never acknowledged", Rule.REVOKED, UNKNOWN, 0, _NONE, others=(Rule.EVIDENCE,))
def _() -> H:
    return H().set(revoking=True).done(1).submit(0, SubmitOutcome.UNKNOWN, 0).revoke(0, 100, 110)


@known("nothing is revoked", Rule.REVOKED, NOT_CLAIMED, None, "the case revokes nothing")
def _() -> H:
    return H().done(0)


@known(
    "not claimed",
    Rule.REVOKED,
    NOT_CLAIMED,
    1,
    f"the subject does not claim revoke; seen: {_BEGAN}",
    contract=replace(ALL, claims=ALL.claims - {Claim.REVOKE}),
)
def _() -> H:
    return _comes(2000)


# ---------------------------------------------------------------- what other rules make of it

_NO_BOUND = "nothing is missing; no fault bit, so this gives no bound"


@known("revoked, and never run", Rule.LOST, PASS, 0, _NO_BOUND)
def _() -> H:
    return _case()


@known("perhaps revoked, and never run", Rule.LOST, PASS, 0, _NO_BOUND, others=(Rule.REVOKED,))
def _() -> H:
    return H().set(revoking=True).done(1).ack(0).revoke(0, 100)


@known(
    "another was revoked",
    Rule.LOST,
    FAIL,
    1,
    "1 of 4 acknowledged tasks lost, none at the end, so not merely slow",
    (2, "never delivered, never attempted"),
)
def _() -> H:
    return H().set(revoking=True).done(1, 3).ack(0, 2).revoke(0, 100, 110)


@known(
    "revoked, and still on the broker",
    Rule.STUCK,
    FAIL,
    1,
    "1 acknowledged task on the broker after every redelivery timeout",
    (0, "still on the broker"),
    others=(Rule.CONVERGED, Rule.LEAK),
)
def _() -> H:
    return _case().not_converged(pending=frozenset({0}), overdue=True)


def _in_flight(at: float, tried: float = NEVER) -> H:
    """One that is revoked at 100, and a fault from then on."""
    builder = H().set(revoking=True).ack(0).revoke(0, 100, 110).fault(at, at + 10)
    return builder if tried == NEVER else builder.deliver(0, 50).attempt(0, 55, tried, TRANSIENT)


_GAP = "worker_kill on worker-1: no task was in flight"
for _name, _build, _sound in (
    ("until its revoke", lambda: _in_flight(100), True),
    ("not after its revoke", lambda: _in_flight(101), False),
    ("until the end of its attempt", lambda: _in_flight(150, 150), True),
    ("not after the end of its attempt", lambda: _in_flight(151, 150), False),
):

    @known(
        f"in flight {_name}",
        Rule.FAULTS,
        PASS if _sound else UNKNOWN,
        int(_sound),
        "1 fault proven and healed" if _sound else f"{_GAP}; see the fault log",
        *([] if _sound else [(None, _GAP)]),
        others=(Rule.REVOKED, Rule.EVIDENCE),
    )
    def _(build: Callable[[], H] = _build) -> H:
        return build()
