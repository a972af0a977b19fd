"""Known histories: whether a case can be judged at all."""

from __future__ import annotations

from collections.abc import Callable

from checker_histories import HistoryBuilder
from checker_known import (
    FAIL,
    PASS,
    UNKNOWN,
    known,
)

from harness.history import SubmitOutcome
from harness.verdict import Rule

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
    others=(Rule.CONVERGED, Rule.STUCK),
)
def _() -> H:
    return H().done(0).not_converged(leaks=("lock:a",))


@known("complete", Rule.EVIDENCE, PASS, 0, "2 operations submitted, records whole")
def _() -> H:
    return H().done(0, 1)


for _name, _build, _reason in (
    ("one read", lambda: H().done(0).final(reads=1), "1 final read, 2 are needed"),
    ("torn", lambda: H().done(0).set(torn_records=2), "2 ledger lines could not be read"),
    ("plan not submitted", lambda: H().done(0).planned(2), "1 submitted + 0 dropped of 2 planned"),
    (
        "more dropped than planned",
        lambda: H().done(0).set(dropped_sends=1),
        "1 submitted + 1 dropped of 1 planned",
    ),
    (
        "submit outside the plan",
        lambda: H().done(0).ack(1).planned(1),
        "1 submit outside the plan",
    ),
):

    @known(_name, Rule.EVIDENCE, UNKNOWN, 1, _reason)
    def _(build: Callable[[], H] = _build) -> H:
        return build()


@known(
    "empty",
    Rule.EVIDENCE,
    UNKNOWN,
    4,
    "no operation was planned; nothing was submitted: check the workload; "
    "no attempt and no effect was recorded: check that workers ran; 0 final reads, 2 are needed",
    others=tuple(Rule),
)
def _() -> H:
    return H().set(final=H().build().final.__class__())


@known(
    "nothing acknowledged",
    Rule.EVIDENCE,
    UNKNOWN,
    1,
    "no submit was acknowledged: check the stack before the fault",
    others=(Rule.LOST,),
)
def _() -> H:
    return H().submit(0, SubmitOutcome.REFUSED, 1).attempt(0)


@known("no fault planned", Rule.FAULTS, PASS, 0, "no fault planned")
def _() -> H:
    return H().done(0)


@known("all faults sound", Rule.FAULTS, PASS, 2, "2 faults proven and healed")
def _() -> H:
    return H().done(0).fault().fault(400, 500)


@known(
    "faults without evidence",
    Rule.FAULTS,
    UNKNOWN,
    1,
    "a on worker-1: never injected; b on worker-1: no evidence that it bit; c on worker-1: heal not verified; "
    "d on worker-1: heal not verified; ...; see the fault log and run again",
    (None, "1 planned fault never injected"),
    (None, "a on worker-1: never injected"),
    (None, "b on worker-1: no evidence that it bit"),
    (None, "c on worker-1: heal not verified"),
    (None, "d on worker-1: heal not verified"),
)
def _() -> H:
    builder = H().done(0).fault(-1, -1, kind="a").fault(kind="b", proven=False).fault(kind="c", healed=False)
    return builder.fault(until=-1, kind="d").fault(kind="e").set(planned_faults=6)


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
