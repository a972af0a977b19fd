"""Known histories: tasks that share a business key, of which one may run at a time."""

from __future__ import annotations

from dataclasses import replace

from checker_histories import ALL, HistoryBuilder
from checker_known import FAIL, NOT_CLAIMED, OPEN, PASS, TRANSIENT, UNKNOWN, known

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.verdict import Rule

H = HistoryBuilder
_HELD = "of 1 business key, two tasks ran at the same time"
_FREE = "of 2 business keys, no two tasks ran at the same time"


def _two_keys(*done: tuple[int, float]) -> H:
    """Operations and when they begin, each for 10 ms; 0 and 2 have one key, 1 and 3 the other."""
    builder = H().set(keys=2)
    for op, at in done:
        builder = builder.done(op, at=at)
    return builder


@known("one after the other, each key", Rule.KEY_OVERLAP, PASS, 0, _FREE)
def _() -> H:
    return _two_keys((0, 100), (1, 105), (2, 110), (3, 115))


@known(
    "two of one key",
    Rule.KEY_OVERLAP,
    FAIL,
    1,
    _HELD,
    (None, "key-1: worker-1 began while worker-1 still had 1.0 ms to run"),
)
def _() -> H:
    return _two_keys((0, 100), (1, 106), (2, 110), (3, 115))


@known("two attempts of one task are another rule's", Rule.KEY_OVERLAP, PASS, 0, _FREE, others=(Rule.OVERLAP,))
def _() -> H:
    return _two_keys((0, 100), (1, 105), (2, 120), (3, 125)).attempt(0, 95, 101, TRANSIENT, 1)


@known(
    "beside the second of two that do not meet it",
    Rule.KEY_OVERLAP,
    FAIL,
    1,
    _HELD,
    (None, "key-0: worker-1 began while worker-2 still had 2.0 ms to run"),
)
def _() -> H:
    builder = _two_keys((0, 100), (1, 105), (2, 130), (3, 135))
    return builder.attempt(0, 90, 95, TRANSIENT).attempt(0, 120, 132, TRANSIENT, 1)


@known("killed before the next of its key", Rule.KEY_OVERLAP, PASS, 0, _FREE)
def _() -> H:
    builder = _two_keys((0, 105), (1, 105), (2, 120), (3, 125))
    return builder.attempt(0, 50, outcome=OPEN, pid=7).fault(99, 102, kills=(7,))


@known(
    "killed after the next of its key began",
    Rule.KEY_OVERLAP,
    FAIL,
    1,
    _HELD,
    (None, "key-0: worker-1 began while worker-2 still had 4.0 ms to run"),
)
def _() -> H:
    builder = _two_keys((0, 200), (1, 105), (2, 100), (3, 125))
    return builder.attempt(0, 50, outcome=OPEN, role=1, pid=7).fault(104, 120, kills=(7,), target="worker-2")


def _overtaken() -> H:
    """Operation 0 stands still, goes on, and meets operation 2, which has the higher fence."""
    builder = _two_keys((1, 105), (2, 4000), (3, 125)).ack(0).deliver(0, 99).attempt(0, 100, 4005, pid=7)
    return builder.effect(0, 4003).said(0, at=4006).fault(200, 3500, kind="pause", stops=(7,))


@known(
    "overtaken while it stood still, with a lower fence",
    Rule.KEY_OVERLAP,
    PASS,
    0,
    f"{_FREE}; 1 beside an attempt that had been stopped for longer than its lease, with a lower fence",
)
def _() -> H:
    return _overtaken()


@known(
    "overtaken, and then held in spite of it",
    Rule.KEY_OVERLAP,
    FAIL,
    1,
    _HELD,
    (None, "key-0: worker-1 began while worker-1 still had 3.0 ms to run"),
)
def _() -> H:
    return _overtaken().done(4, at=4007)


@known("none that could meet", Rule.KEY_OVERLAP, UNKNOWN, 0, "no key had two tasks that ran: offer more")
def _() -> H:
    return _two_keys((0, 100), (1, 105))


@known("no keys", Rule.KEY_OVERLAP, NOT_CLAIMED, None, "the case has no business keys")
def _() -> H:
    return H().done(0, 1)


@known(
    "who does not claim it",
    Rule.KEY_OVERLAP,
    NOT_CLAIMED,
    1,
    f"the subject does not claim exclusive_keys; seen: {_HELD}",
    contract=replace(ALL, claims=ALL.claims - {Claim.EXCLUSIVE_KEYS}),
)
def _() -> H:
    return _two_keys((0, 100), (1, 106), (2, 110), (3, 115))
