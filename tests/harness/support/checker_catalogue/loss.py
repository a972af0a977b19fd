"""Known histories: what is lost."""

from __future__ import annotations

from collections.abc import Callable

from checker_histories import HistoryBuilder
from checker_known import (
    FAIL,
    FAILURE,
    OPEN,
    PASS,
    PERMANENT,
    REJECTED,
    RETRY,
    TRANSIENT,
    UNKNOWN,
    known,
)

from taskchaos.harness.record.history import AttemptOutcome, SubmitOutcome
from taskchaos.harness.record.verdict import Rule

H = HistoryBuilder

# ---------------------------------------------------------------- lost

_LOST_1 = "1 of 3 acknowledged tasks lost, none at the end, so not merely slow"


@known(
    "missing with an empty ledger",
    Rule.LOST,
    UNKNOWN,
    2,
    "2 tasks missing, but no worker wrote to the ledger; see why",
    (0, "never delivered, never attempted"),
    (1, "never delivered, never attempted"),
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return H().ack(0, 1)


@known("nothing lost", Rule.LOST, PASS, 0, "nothing is missing; no fault bit, so this gives no bound")
def _() -> H:
    return H().done(0, 1, 2)


@known(
    "nothing lost in three faults",
    Rule.LOST,
    PASS,
    0,
    "nothing is missing; 95 % bound: at most 63.2 % per fault (3 faults)",
)
def _() -> H:
    return H().done(0, 1, 2).fault(20, 30).fault(40, 50).fault(105, 110)


@known(
    "only faults that are sound give a bound",
    Rule.LOST,
    PASS,
    0,
    "nothing is missing; 95 % bound: at most 95.0 % per fault (1 fault)",
    others=(Rule.FAULTS,),
)
def _() -> H:
    builder = H().done(0, 1, 2).fault(20, 30).fault(106, 120).fault(20, 30, proven=False).fault(20, 30, held=False)
    return builder.fault(20, 30, healed=False).fault(20, 30, unused=True, proven=False)


@known("never delivered", Rule.LOST, FAIL, 1, _LOST_1, (1, "never delivered, never attempted"))
def _() -> H:
    return H().done(0, 2).ack(1)


@known("delivered only", Rule.LOST, FAIL, 1, _LOST_1, (1, "delivered to worker-2, never attempted"))
def _() -> H:
    return H().done(0, 2).ack(1).deliver(1, 50).deliver(1, 60, role=1)


@known(
    "worker killed",
    Rule.LOST,
    FAIL,
    1,
    _LOST_1,
    (1, "delivered to worker-2, attempt at worker-2 open when its process was killed"),
)
def _() -> H:
    return H().done(0, 2).ack(1).deliver(1, 190, role=1).attempt(1, 195, outcome=OPEN, role=1, pid=7).fault(kills=(7,))


@known(
    "gave up on a transient error",
    Rule.LOST,
    FAIL,
    1,
    _LOST_1,
    (1, "delivered to worker-1, attempt at worker-1 ended transient, subject said failure"),
)
def _() -> H:
    builder = H().done(0, 2).ack(1).deliver(1, 20).attempt(1, 25, outcome=TRANSIENT)
    return builder.said(1, RETRY, 35).said(1, FAILURE, 36)


@known(
    "process ended by itself",
    Rule.LOST,
    FAIL,
    1,
    _LOST_1,
    (1, "attempt at worker-1 never ended"),
)
def _() -> H:
    return H().done(0, 2).ack(1).attempt(1, 195, outcome=OPEN, pid=8).fault(kills=(7,))


@known(
    "at the beginning, between and at the end",
    Rule.LOST,
    FAIL,
    4,
    "4 of 6 acknowledged tasks lost, 2 at the end, 1 at the beginning",
    (0, "never delivered, never attempted"),
    (2, "never delivered, never attempted"),
    (4, "never delivered, never attempted"),
    (5, "never delivered, never attempted"),
)
def _() -> H:
    return H().done(1, 3).ack(0, 2, 4, 5)


@known(
    "all lost",
    Rule.LOST,
    FAIL,
    1,
    "1 of 1 acknowledged task lost, so none is left",
    (0, "attempt at worker-1 ended transient"),
)
def _() -> H:
    return H().ack(0).attempt(0, outcome=TRANSIENT)


@known("permanent, admitted", Rule.LOST, PASS, 0, "nothing is missing; no fault bit, so this gives no bound")
def _() -> H:
    builder = H().done(0).ack(1).attempt(1, outcome=PERMANENT).said(1, FAILURE)
    return builder.ack(2).attempt(2, outcome=PERMANENT).said(2, REJECTED).set(permanent=frozenset({1, 2}))


@known("permanent, result failure", Rule.LOST, PASS, 0, "nothing is missing; no fault bit, so this gives no bound")
def _() -> H:
    builder = H().done(0).ack(1).attempt(1, outcome=PERMANENT).final(results={1: FAILURE, 99: FAILURE})
    return builder.set(permanent=frozenset({1, 99}))


@known(
    "permanent, not admitted",
    Rule.LOST,
    FAIL,
    1,
    "1 of 2 acknowledged tasks lost, all at the end, behind all that was done",
    (1, "attempt at worker-1 ended permanent"),
)
def _() -> H:
    return H().done(0).ack(1).attempt(1, outcome=PERMANENT).set(permanent=frozenset({1}))


@known(
    "permanent, admitted before it was tried",
    Rule.LOST,
    FAIL,
    1,
    "1 of 2 acknowledged tasks lost, all at the end, behind all that was done",
    (1, "attempt at worker-1 ended transient, subject said failure"),
)
def _() -> H:
    return H().done(0).ack(1).attempt(1, outcome=TRANSIENT).said(1, FAILURE).set(permanent=frozenset({1}))


@known(
    "permanent error of a task that is not",
    Rule.LOST,
    FAIL,
    1,
    "1 of 5 acknowledged tasks lost, none at the end, so not merely slow",
    (1, "attempt at worker-1 ended permanent, subject said failure"),
)
def _() -> H:
    builder = H().done(0, 2).ack(1).attempt(1, outcome=PERMANENT).said(1, FAILURE)
    return builder.ack(3).attempt(3, outcome=PERMANENT).said(3, FAILURE).set(permanent=frozenset({3})).done(4)


@known("dead letter that is due", Rule.LOST, PASS, 0, "nothing is missing; no fault bit, so this gives no bound")
def _() -> H:
    return H().done(0).ack(1).said(1, FAILURE).final(dead=frozenset({1, 99})).set(permanent=frozenset({1}))


@known(
    "dead letter that is not due is lost by another rule",
    Rule.LOST,
    PASS,
    0,
    "nothing is missing; no fault bit, so this gives no bound",
    others=(Rule.DEAD_LETTER,),
)
def _() -> H:
    return H().done(0).ack(1).said(1, FAILURE).final(dead=frozenset({1, 99}))


@known(
    "pending by id",
    Rule.LOST,
    PASS,
    0,
    "nothing is missing; no fault bit, so this gives no bound",
    others=(Rule.STUCK, Rule.CONVERGED, Rule.LEAK),
)
def _() -> H:
    return H().done(0).ack(1).not_converged(pending=frozenset({1}))


for _name, _change, _doubt in (
    ("one read", {"reads": 1}, "only 1 final read"),
    ("still moving", {"quiet": False}, "things still moved"),
    ("not healed", {"healed": False}, "the world was not healed"),
):
    _others = (Rule.STUCK, Rule.CONVERGED, Rule.LEAK, *((Rule.EVIDENCE,) if "reads" in _change else ()))

    @known(
        f"missing, {_name}",
        Rule.LOST,
        UNKNOWN,
        1,
        f"1 task missing, but {_doubt}; drain for longer",
        (1, "never delivered, never attempted"),
        others=_others,
    )
    def _(change: dict[str, object] = _change) -> H:
        return H().done(0, 2).ack(1).not_converged(**change)

    @known(
        f"none missing, {_name}",
        Rule.LOST,
        UNKNOWN,
        0,
        f"nothing is missing so far, but {_doubt}; drain for longer",
        others=_others,
    )
    def _(change: dict[str, object] = _change) -> H:
        return H().done(0, 1).not_converged(**change)


@known(
    "room behind nameless entries",
    Rule.LOST,
    UNKNOWN,
    2,
    "2 tasks missing, but 2 nameless broker entries and 0 torn records leave room for that",
    (1, "never delivered, never attempted"),
    (3, "never delivered, never attempted"),
    others=(Rule.STUCK, Rule.CONVERGED, Rule.LEAK),
)
def _() -> H:
    return H().done(0, 2).ack(1, 3).not_converged(opaque_pending=2)


@known(
    "room behind torn records",
    Rule.LOST,
    UNKNOWN,
    1,
    "1 task missing, but 0 nameless broker entries and 1 torn record leave room for that",
    (1, "never delivered, never attempted"),
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return H().done(0, 2).ack(1).set(torn_records=1)


@known(
    "more than the room",
    Rule.LOST,
    FAIL,
    2,
    "2 of 5 acknowledged tasks lost, none at the end, so not merely slow; "
    "at least 1, because 1 may be behind unreadable records",
    (1, "never delivered, never attempted"),
    (3, "never delivered, never attempted"),
    others=(Rule.STUCK, Rule.CONVERGED, Rule.LEAK),
)
def _() -> H:
    return H().done(0, 2, 4).ack(1, 3).not_converged(opaque_pending=1)


@known(
    "may still run",
    Rule.LOST,
    UNKNOWN,
    1,
    "1 task may still run (attempt open, process not killed); drain for longer",
    (1, "attempt at worker-1 never ended"),
    others=(Rule.STUCK, Rule.CONVERGED, Rule.LEAK),
)
def _() -> H:
    return H().done(0, 2).ack(1).attempt(1, 195, outcome=OPEN, pid=8).not_converged()


@known(
    "one may still run, one is gone",
    Rule.LOST,
    FAIL,
    1,
    "1 of 5 acknowledged tasks lost, none at the end, so not merely slow",
    (3, "attempt at worker-1 open when its process was killed"),
    others=(Rule.STUCK, Rule.CONVERGED, Rule.LEAK),
)
def _() -> H:
    builder = H().done(0, 2, 4).ack(1, 3).attempt(1, 195, outcome=OPEN, pid=8).attempt(3, 195, outcome=OPEN, pid=7)
    return builder.fault(kills=(7,)).not_converged()


@known(
    "no acknowledged submit",
    Rule.LOST,
    UNKNOWN,
    0,
    "no submit was acknowledged, so nothing could be lost: check the stack",
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return H().submit(0, SubmitOutcome.UNKNOWN, 1).attempt(0)


@known("two reads are enough", Rule.LOST, FAIL, 1, _LOST_1, (1, "never delivered, never attempted"))
def _() -> H:
    return H().done(0, 2).ack(1).final(reads=2)


@known("dead letters at the edges", Rule.LOST, PASS, 0, "nothing is missing; no fault bit, so this gives no bound")
def _() -> H:
    return H().ack(0).done(1).ack(2).final(dead=frozenset({0, 2, 3, -1})).set(permanent=frozenset({0, 2}))


@known("permanent at the edges", Rule.LOST, PASS, 0, "nothing is missing; no fault bit, so this gives no bound")
def _() -> H:
    builder = H().ack(0).attempt(0, outcome=PERMANENT).said(0, FAILURE).done(1).ack(2)
    return builder.attempt(2, outcome=PERMANENT).said(2, FAILURE).set(permanent=frozenset({0, 2, 3, -1}))


@known(
    "the latest is what counts",
    Rule.LOST,
    FAIL,
    1,
    _LOST_1,
    (1, "delivered to role 3, attempt at role -1 ended interrupted, subject said retry"),
)
def _() -> H:
    builder = H().done(0, 2).ack(1).deliver(1, 20, role=1).deliver(1, 30, role=3).attempt(1, 25, outcome=TRANSIENT)
    builder.attempt(1, 50, outcome=AttemptOutcome.INTERRUPTED, role=-1)
    return builder.said(1, FAILURE, 40).said(1, RETRY, 60)


@known(
    "submitted with a survivor, after an unsure one",
    Rule.LOST,
    FAIL,
    2,
    "2 of 4 acknowledged tasks lost, none at the end, so not merely slow",
    (1, "never delivered, never attempted"),
    (3, "never delivered, never attempted"),
)
def _() -> H:
    return H().done(0, 2).ack(1, at=0).ack(3, at=2)


@known(
    "unsure submits are no survivors",
    Rule.LOST,
    FAIL,
    1,
    "1 of 2 acknowledged tasks lost, none at the end, so not merely slow, 1 at the beginning",
    (1, "never delivered, never attempted"),
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return H().submit(0, SubmitOutcome.UNKNOWN, 0).effect(0).ack(1).done(2)


for _name, _build, _others in (
    ("deliveries", lambda: H().deliver(0, 5), (Rule.EVIDENCE,)),
    ("attempts outside the plan", lambda: H().attempt(7).planned(1), (Rule.EVIDENCE, Rule.UNEXPECTED)),
    ("effects outside the plan", lambda: H().effect(7).planned(1), (Rule.EVIDENCE, Rule.UNEXPECTED)),
):

    @known(
        f"workers wrote only {_name}",
        Rule.LOST,
        FAIL,
        1,
        "1 of 1 acknowledged task lost, so none is left",
        (0, f"{'delivered to worker-1' if _name == 'deliveries' else 'never delivered'}, never attempted"),
        others=_others,
    )
    def _(build: Callable[[], H] = _build) -> H:
        return build().ack(0)


@known(
    "workers wrote only effects",
    Rule.LOST,
    FAIL,
    1,
    "1 of 2 acknowledged tasks lost, all at the end, behind all that was done",
    (1, "never delivered, never attempted"),
)
def _() -> H:
    return H().ack(0, 1).effect(0)


@known(
    "tried twice, but never acknowledged",
    Rule.LOST,
    PASS,
    0,
    "nothing is missing; no fault bit, so this gives no bound",
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    builder = H().done(0).submit(1, SubmitOutcome.UNKNOWN, 1)
    return builder.attempt(1, 50, 60, TRANSIENT).attempt(1, 70, 80, TRANSIENT)
