"""Known histories: what is stuck, on the broker or in a circle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from checker_histories import ALL, READ_AT, HistoryBuilder, ns
from checker_known import FAIL, FAILURE, NOT_CLAIMED, OPEN, PASS, PERMANENT, TRANSIENT, UNKNOWN, known

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.history import NEVER, SubmitOutcome
from taskchaos.harness.record.verdict import Rule

H = HistoryBuilder
LOSES = replace(ALL, claims=ALL.claims - {Claim.NO_LOSS})
#: A world in which things move without end is not at rest, and what is left in it is not known.
_BUSY = (Rule.CONVERGED, Rule.LEAK, Rule.DURATION)
SINCE = READ_AT - 4000

# ---------------------------------------------------------------- on the broker


@known("broker empty", Rule.STUCK, PASS, 0, "nothing is left on the broker")
def _() -> H:
    return H().done(0)


@known(
    "overdue",
    Rule.STUCK,
    FAIL,
    1,
    "1 acknowledged task on the broker after every redelivery timeout",
    (1, "still on the broker"),
    others=(*_BUSY, Rule.EVIDENCE),
)
def _() -> H:
    pending = frozenset({-1, 1, 2, 9})
    return H().done(0).ack(1).submit(2, SubmitOutcome.UNKNOWN, 2).not_converged(pending=pending, overdue=True)


for _name, _change in (("not overdue", {"overdue": False}), ("not quiet", {"overdue": True, "quiet": False})):

    @known(
        f"pending, {_name}",
        Rule.STUCK,
        UNKNOWN,
        1,
        "still pending: 1 task; drain for longer",
        (1, "still on the broker"),
        others=(*_BUSY, Rule.LOST),
    )
    def _(change: dict[str, object] = _change) -> H:
        return H().done(0).ack(1).not_converged(pending=frozenset({1}), **change)


@known(
    "not converged, nothing pending",
    Rule.STUCK,
    UNKNOWN,
    0,
    "not converged, though nothing of the plan is pending: workers busy",
    others=_BUSY,
)
def _() -> H:
    return H().done(0).not_converged(overdue=True)


@known(
    "not converged, nothing pending, no reason",
    Rule.STUCK,
    UNKNOWN,
    0,
    "not converged, though nothing of the plan is pending: no reason recorded",
    others=_BUSY,
)
def _() -> H:
    return H().done(0).not_converged(reason="")


@known(
    "converged, yet pending",
    Rule.STUCK,
    UNKNOWN,
    1,
    "still pending: 1 task; drain for longer",
    (1, "still on the broker"),
)
def _() -> H:
    return H().done(0).ack(1).final(pending=frozenset({1}))


@known(
    "stuck at the edges",
    Rule.STUCK,
    FAIL,
    2,
    "2 acknowledged tasks on the broker after every redelivery timeout",
    (0, "still on the broker"),
    (2, "still on the broker"),
    others=_BUSY,
)
def _() -> H:
    return H().ack(0, 2).done(1).not_converged(pending=frozenset({0, 2, 3}), overdue=True)


# ---------------------------------------------------------------- in a circle


def _stalled(**final: Any) -> H:
    """Nothing has got any further for 4 s; operation 0 was done before, operation 1 is only acknowledged."""
    builder = H().done(0).ack(1)
    return builder.not_converged(**{"quiet": False, "stalled_since_ns": ns(SINCE), **final})


def _told(operations: str, again: int) -> str:
    return (
        f"{operations} got no further for 4.0 s, {again} of them delivered again and again: longer than every "
        "redelivery timeout and the longest wait that the subject claims"
    )


_ONE, _AGAIN = "1 acknowledged task", "came to a worker 1 time meanwhile"
_ANYTHING = (*_BUSY, Rule.LOST, Rule.EVIDENCE, Rule.DEAD_LETTER, Rule.OVERLAP, Rule.RETRIES)

for _name, _build, _again, _note in (
    ("delivered", lambda: _stalled().deliver(1, SINCE), 1, _AGAIN),
    ("begun", lambda: _stalled().attempt(1, SINCE, outcome=TRANSIENT), 1, _AGAIN),
    ("begun, never ended", lambda: _stalled().attempt(1, SINCE + 1, outcome=OPEN), 1, _AGAIN),
    ("on the broker", lambda: _stalled(pending=frozenset({1})), 0, "still on the broker"),
    ("delivered, and on the broker", lambda: _stalled(pending=frozenset({1})).deliver(1, SINCE + 1), 1, _AGAIN),
    ("unreadable broker", lambda: _stalled(reads=1).deliver(1, SINCE), 1, _AGAIN),
    (
        "delivered and begun",
        lambda: _stalled().deliver(1, SINCE + 1).deliver(1, SINCE + 9).attempt(1, SINCE + 2, outcome=TRANSIENT),
        1,
        "came to a worker 2 times meanwhile",
    ),
    (
        "begun more often than delivered",
        lambda: (
            _stalled()
            .deliver(1, SINCE - 1)
            .deliver(1, SINCE + 1)
            .attempt(1, SINCE + 1, outcome=TRANSIENT)
            .attempt(1, SINCE + 50, outcome=TRANSIENT)
        ),
        1,
        "came to a worker 2 times meanwhile",
    ),
    (
        "others moved",
        lambda: _stalled().deliver(1, SINCE).deliver(0, SINCE).attempt(0, SINCE, outcome=TRANSIENT),
        1,
        _AGAIN,
    ),
    (
        "one unsure, one refused, and strangers",
        lambda: (
            _stalled(pending=frozenset({1, 2, 3, 4, -1}))
            .submit(2, SubmitOutcome.UNKNOWN, 2)
            .submit(3, SubmitOutcome.REFUSED, 3)
        ),
        0,
        "still on the broker",
    ),
    (
        "a dead letter and an admitted one beside it",
        lambda: (
            _stalled(dead=frozenset({2}), pending=frozenset({1, 2, 3}))
            .ack(2, 3)
            .set(permanent=frozenset({3}))
            .deliver(2, SINCE)
            .attempt(3, SINCE, outcome=PERMANENT)
            .said(3, FAILURE, SINCE + 20)
        ),
        0,
        "still on the broker",
    ),
):

    @known(f"stalled: {_name}", Rule.STUCK, FAIL, 1, _told(_ONE, _again), (1, _note), others=_ANYTHING)
    def _(build: Callable[[], H] = _build) -> H:
        return build()


@known(
    "stalled: several",
    Rule.STUCK,
    FAIL,
    3,
    _told("3 acknowledged tasks", 2),
    (1, _AGAIN),
    (2, "still on the broker"),
    (4, "came to a worker 1 time meanwhile"),
    others=_BUSY,
)
def _() -> H:
    builder = _stalled(pending=frozenset({2})).ack(2).done(3).ack(4)
    return builder.deliver(1, SINCE).attempt(4, SINCE, outcome=TRANSIENT)


@known(
    "stalled, and no loss is claimed to be none",
    Rule.STUCK,
    NOT_CLAIMED,
    1,
    f"the subject does not claim no_loss; seen: {_told(_ONE, 1)}",
    contract=LOSES,
    others=_BUSY,
)
def _() -> H:
    return _stalled().deliver(1, SINCE)


@known(
    "stalled, but as many records are torn",
    Rule.STUCK,
    UNKNOWN,
    1,
    f"{_told(_ONE, 1)}, unless their effects are among the 1 torn record; see why the ledger was cut",
    (1, _AGAIN),
    others=(*_BUSY, Rule.EVIDENCE),
)
def _() -> H:
    return _stalled().deliver(1, SINCE).set(torn_records=1)


for _name, _build in (
    ("not healed", lambda: _stalled(healed=False).deliver(1, SINCE)),
    ("not stalled", lambda: _stalled(stalled_since_ns=NEVER).deliver(1, SINCE)),
    ("only before", lambda: _stalled().deliver(1, SINCE - 1).attempt(1, SINCE - 1, outcome=TRANSIENT)),
    ("done after all", lambda: _stalled().deliver(1, SINCE).effect(1, SINCE - 10)),
    ("given up after all", lambda: _stalled(dead=frozenset({1})).deliver(1, SINCE).set(permanent=frozenset({1}))),
):

    @known(
        f"no livelock: {_name}",
        Rule.STUCK,
        UNKNOWN,
        0,
        "not converged, though nothing of the plan is pending: workers busy",
        others=_ANYTHING,
    )
    def _(build: Callable[[], H] = _build) -> H:
        return build()


for _change in ({"overdue": True}, {"quiet": True}):

    @known(
        f"stalled, and {next(iter(_change))}",
        Rule.STUCK,
        FAIL,
        1,
        _told(_ONE, 0),
        (1, "still on the broker"),
        others=_BUSY,
    )
    def _(change: dict[str, bool] = _change) -> H:
        return _stalled(pending=frozenset({1}), **change)


@known("stalled: the first", Rule.STUCK, FAIL, 1, _told(_ONE, 0), (0, "still on the broker"), others=_BUSY)
def _() -> H:
    builder = H().ack(0).done(1)
    return builder.not_converged(quiet=False, stalled_since_ns=ns(SINCE), pending=frozenset({0, 2}))


@known(
    "overdue is said before stalled",
    Rule.STUCK,
    FAIL,
    1,
    "1 acknowledged task on the broker after every redelivery timeout",
    (1, "still on the broker"),
    others=_BUSY,
)
def _() -> H:
    return _stalled(pending=frozenset({1}), overdue=True, quiet=True)


@known(
    "what is stalled is not lost",
    Rule.LOST,
    PASS,
    0,
    "nothing is missing but what is stuck",
    others=(Rule.STUCK, *_BUSY, Rule.EVIDENCE),
)
def _() -> H:
    return _stalled(reads=1).deliver(1, SINCE)


@known(
    "what is missing beside it keeps its doubts",
    Rule.LOST,
    UNKNOWN,
    1,
    "1 task missing, but things still moved; drain for longer",
    (2, "delivered to worker-1, never attempted"),
    others=(Rule.STUCK, *_BUSY),
)
def _() -> H:
    return _stalled().deliver(1, SINCE).ack(2).deliver(2, SINCE - 1)
