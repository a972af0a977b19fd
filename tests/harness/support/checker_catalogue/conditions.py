"""Known histories: whether a case can be judged at all."""

from __future__ import annotations

from checker_histories import HistoryBuilder
from checker_known import (
    FAIL,
    OPEN,
    PASS,
    UNKNOWN,
    known,
)

from taskchaos.harness.record.verdict import Rule

H = HistoryBuilder

# ---------------------------------------------------------------- conditions


@known("no key left", Rule.LEAK, PASS, 0, "0 keys left although nothing is pending")
def _() -> H:
    return H().done(0)


@known(
    "keys left",
    Rule.LEAK,
    FAIL,
    2,
    "2 keys left although nothing is pending",
    (None, "lock:a"),
    (None, "lock:b"),
)
def _() -> H:
    return H().done(0).final(leaks=("lock:b", "lock:a"))


@known(
    "keys while busy",
    Rule.LEAK,
    UNKNOWN,
    1,
    "1 key left, but not converged; drain for longer",
    (None, "lock:a"),
    others=(Rule.CONVERGED, Rule.STUCK),
)
def _() -> H:
    return H().done(0).not_converged(leaks=("lock:a",))


@known(
    "no key seen while busy",
    Rule.LEAK,
    UNKNOWN,
    None,
    "not converged, so what is left may still be in use; drain for longer",
    others=(Rule.CONVERGED, Rule.STUCK),
)
def _() -> H:
    return H().done(0).not_converged()


for _leaks, _converged in (((), True), ((), False), (("lock:a",), True)):

    @known(
        "never read",
        Rule.LEAK,
        UNKNOWN,
        len(_leaks) or None,
        "not read",
        *((None, key) for key in _leaks),
        others=(Rule.CONVERGED, Rule.STUCK, Rule.EVIDENCE, Rule.DEAD_LETTER, Rule.LOST),
    )
    def _(leaks: tuple[str, ...] = _leaks, converged: bool = _converged) -> H:
        return H().done(0).final(reads=0, leaks=leaks, converged=converged)


@known("at rest", Rule.CONVERGED, PASS, 1, "at rest over 3 readings")
def _() -> H:
    return H().done(0)


@known(
    "not at rest",
    Rule.CONVERGED,
    UNKNOWN,
    0,
    "not converged: workers busy; drain for longer",
    others=(Rule.STUCK, Rule.LEAK),
)
def _() -> H:
    return H().done(0).not_converged()


@known(
    "not at rest, and what keeps it from that",
    Rule.CONVERGED,
    UNKNOWN,
    0,
    "not converged: no reason recorded; drain for longer",
    (0, "still on the broker"),
    (1, "still on the broker"),
    (2, "an attempt that never ended"),
    (3, "still on the broker"),
    others=(Rule.STUCK, Rule.LEAK, Rule.LOST),
)
def _() -> H:
    builder = H().done(0).ack(1).attempt(1, outcome=OPEN).ack(2).attempt(2, outcome=OPEN).ack(3).ack(4)
    builder.attempt(4, outcome=OPEN, pid=7).fault(1, 200, kills=(7,))
    return builder.not_converged(reason="", pending=frozenset({-1, 0, 1, 3, 5}))


@known("workers alive", Rule.WORKERS, PASS, 0, "no worker ended by itself")
def _() -> H:
    return H().done(0)


@known(
    "worker died",
    Rule.WORKERS,
    FAIL,
    1,
    "1 worker ended although no fault ended it; see the worker's log",
    (None, "worker-2: exit code 1"),
)
def _() -> H:
    return H().done(0).set(deaths=("worker-2: exit code 1",))
