"""For every rule, histories that break it beside clean twins, each with the whole result that is expected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from checker_histories import ALL, AT_LEAST_ONCE, READ_AT, HistoryBuilder

from harness.contract import Contract
from harness.history import NEVER, AttemptOutcome, ClaimKind, History, SubmitOutcome
from harness.verdict import Outcome, Rule, RuleResult, Sample

PASS, FAIL, UNKNOWN, NOT_CLAIMED = Outcome.PASS, Outcome.FAIL, Outcome.UNKNOWN, Outcome.NOT_CLAIMED
OPEN, TRANSIENT, PERMANENT = AttemptOutcome.OPEN, AttemptOutcome.TRANSIENT, AttemptOutcome.PERMANENT
SUCCESS, FAILURE, RETRY = ClaimKind.SUCCESS, ClaimKind.FAILURE, ClaimKind.RETRY
REJECTED, REVOKED = ClaimKind.REJECTED, ClaimKind.REVOKED


@dataclass(frozen=True)
class Known:
    """A history with the result that one rule must give; `others` are the further rules that may not pass."""

    name: str
    history: History
    result: RuleResult
    contract: Contract = ALL
    others: frozenset[Rule] = frozenset()


KNOWN: list[Known] = []


def known(
    name: str,
    rule: Rule,
    outcome: Outcome,
    observed: float | None,
    reason: str,
    *samples: tuple[int | None, str],
    contract: Contract = ALL,
    others: tuple[Rule, ...] = (),
    expression: str = "",
) -> Callable[[Callable[[], HistoryBuilder]], None]:
    """Registers the history that the decorated function builds."""

    def register(build: Callable[[], HistoryBuilder]) -> None:
        found = tuple(Sample(*sample) for sample in samples)
        result = RuleResult(rule, outcome, expression or EXPRESSIONS[rule], observed, reason, found)
        KNOWN.append(Known(name, build().build(), result, contract, frozenset(others)))

    return register


EXPRESSIONS = {
    Rule.LOST: "lost = 0",
    Rule.STUCK: "stuck = 0",
    Rule.DUPLICATE: "effects per operation <= 1",
    Rule.OVERLAP: "overlapping attempts = 0",
    Rule.UNEXPECTED: "unexpected = 0",
    Rule.RESURRECTED: "resurrected = 0",
    Rule.FALSE_SUCCESS: "false successes = 0",
    Rule.FALSE_FAILURE: "false failures = 0",
    Rule.ZOMBIE: "zombie effects = 0",
    Rule.LEAK: "keys left = 0",
    Rule.RETRIES: "attempts per operation <= 3",
    Rule.EVIDENCE: "gaps in the evidence = 0",
    Rule.FAULTS: "planned faults proven and healed",
    Rule.CONVERGED: "converged",
    Rule.WORKERS: "unexplained worker deaths = 0",
    Rule.THROUGHPUT: "effects/s >= 100, or 95 % of the offered rate",
    Rule.RECOVERY: "back at 95 % of baseline within 1 s",
}
H = HistoryBuilder

# ---------------------------------------------------------------- lost

_LOST_1 = "1 acknowledged operation lost in submit order: 0 prefix, 1 middle, 0 postfix"


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
    return H().done(0, 1, 2).fault(200, 210).fault(220, 230).fault(240, 250)


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
    "prefix, middle and postfix",
    Rule.LOST,
    FAIL,
    4,
    "4 acknowledged operations lost in submit order: 1 prefix, 1 middle, 2 postfix",
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
    "1 acknowledged operation lost in submit order: all of them",
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
    "1 acknowledged operation lost in submit order: 0 prefix, 0 middle, 1 postfix",
    (1, "attempt at worker-1 ended permanent"),
)
def _() -> H:
    return H().done(0).ack(1).attempt(1, outcome=PERMANENT).set(permanent=frozenset({1}))


@known(
    "permanent, admitted before it was tried",
    Rule.LOST,
    FAIL,
    1,
    "1 acknowledged operation lost in submit order: 0 prefix, 0 middle, 1 postfix",
    (1, "attempt at worker-1 ended transient, subject said failure"),
)
def _() -> H:
    return H().done(0).ack(1).attempt(1, outcome=TRANSIENT).said(1, FAILURE).set(permanent=frozenset({1}))


@known(
    "permanent error of an operation that is not",
    Rule.LOST,
    FAIL,
    1,
    _LOST_1,
    (1, "attempt at worker-1 ended permanent, subject said failure"),
)
def _() -> H:
    builder = H().done(0, 2).ack(1).attempt(1, outcome=PERMANENT).said(1, FAILURE)
    return builder.ack(3).attempt(3, outcome=PERMANENT).said(3, FAILURE).set(permanent=frozenset({3})).done(4)


@known("dead letter", Rule.LOST, PASS, 0, "nothing is missing; no fault bit, so this gives no bound")
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
        f"1 operation missing, but {_doubt}; drain for longer",
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
    "2 operations missing, but 2 nameless broker entries and 0 torn records leave room for that",
    others=(Rule.STUCK, Rule.CONVERGED, Rule.LEAK),
)
def _() -> H:
    return H().done(0, 2).ack(1, 3).not_converged(opaque_pending=2)


@known(
    "room behind torn records",
    Rule.LOST,
    UNKNOWN,
    1,
    "1 operation missing, but 0 nameless broker entries and 1 torn record leave room for that",
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return H().done(0, 2).ack(1).set(torn_records=1)


@known(
    "more than the room",
    Rule.LOST,
    FAIL,
    2,
    "2 acknowledged operations lost in submit order: 0 prefix, 2 middle, 0 postfix; "
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
    "1 operation may still run (attempt open, process not killed); drain for longer",
    others=(Rule.STUCK, Rule.CONVERGED, Rule.LEAK),
)
def _() -> H:
    return H().done(0, 2).ack(1).attempt(1, 195, outcome=OPEN, pid=8).not_converged()


@known(
    "one may still run, one is gone",
    Rule.LOST,
    FAIL,
    1,
    "1 acknowledged operation lost in submit order: 0 prefix, 1 middle, 0 postfix",
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
    return H().ack(0).done(1).ack(2).final(dead=frozenset({0, 2, 3, -1}))


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
    (1, "delivered to role 5, attempt at role -1 ended interrupted, subject said retry"),
)
def _() -> H:
    builder = H().done(0, 2).ack(1).deliver(1, 20, role=1).deliver(1, 30, role=5).attempt(1, 25, outcome=TRANSIENT)
    builder.attempt(1, 50, outcome=AttemptOutcome.INTERRUPTED, role=-1)
    return builder.said(1, FAILURE, 40).said(1, RETRY, 60)


@known(
    "submitted with a survivor, after an unsure one",
    Rule.LOST,
    FAIL,
    2,
    "2 acknowledged operations lost in submit order: 0 prefix, 2 middle, 0 postfix",
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
    "1 acknowledged operation lost in submit order: 1 prefix, 0 middle, 0 postfix",
    (1, "never delivered, never attempted"),
)
def _() -> H:
    return H().submit(0, SubmitOutcome.UNKNOWN, 0).effect(0).ack(1).done(2)


# ---------------------------------------------------------------- stuck

_BUSY = (Rule.CONVERGED, Rule.LEAK)


@known("broker empty", Rule.STUCK, PASS, 0, "nothing is left on the broker")
def _() -> H:
    return H().done(0)


@known(
    "overdue",
    Rule.STUCK,
    FAIL,
    1,
    "1 acknowledged operation on the broker after every redelivery time-out",
    (1, "still on the broker"),
    others=_BUSY,
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
        "still pending: 1 operation; drain for longer",
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
    "converged, yet pending",
    Rule.STUCK,
    UNKNOWN,
    1,
    "still pending: 1 operation; drain for longer",
)
def _() -> H:
    return H().done(0).ack(1).final(pending=frozenset({1}))


@known(
    "stuck at the edges",
    Rule.STUCK,
    FAIL,
    2,
    "2 acknowledged operations on the broker after every redelivery time-out",
    (0, "still on the broker"),
    (2, "still on the broker"),
    others=_BUSY,
)
def _() -> H:
    return H().ack(0, 2).done(1).not_converged(pending=frozenset({0, 2, 3}), overdue=True)


# ---------------------------------------------------------------- duplicate


@known("once", Rule.DUPLICATE, PASS, 0, "0 operations took effect more than once")
def _() -> H:
    return H().done(0)


@known("twice", Rule.DUPLICATE, FAIL, 1, "1 operation took effect more than once", (0, "2 effects within 60 ms"))
def _() -> H:
    return H().done(0, 1).attempt(0, 150, 160).effect(0, 165).fault(140, 300)


def _told(left: int, explained: int) -> str:
    noun = "operation" if left == 1 else "operations"
    told = "without a fault to explain it" if left else "unexplained"
    return f"{noun} took effect more than once {told}; {explained} explained by faults or unsure submits"


def _twice(at: float = 500) -> H:
    """Operation 0: submitted at 0..1, delivered at 99, run at 100..110 and again."""
    return H().done(0).attempt(0, at).effect(0, at + 5)


def _unseen() -> H:
    """Operation 0: submitted at 20 and again at 70, no delivery recorded, run at 100 and 500."""
    return H().ack(0, at=70).ack(0, at=20).attempt(0, 500).effect(0, 505).attempt(0, 100).effect(0, 105)


for _name, _build, _left, _explained in (
    ("between the two effects", lambda: _twice().fault(200, 300), 0, 1),
    ("after the delivery", lambda: _twice().fault(50, 99), 0, 1),
    ("before the delivery", lambda: _twice().fault(50, 98), 1, 0),
    ("during the submit", lambda: _twice().fault(1, 2), 0, 1),
    ("just before the submit's end, long ago", lambda: _twice().fault(2, 3), 1, 0),
    ("until the last effect", lambda: _twice().fault(505, 600), 0, 1),
    ("after the last effect", lambda: _twice().fault(506, 600), 1, 0),
    ("without any fault", _twice, 1, 0),
    ("not proven", lambda: _twice().fault(200, 300, proven=False), 1, 0),
    ("never healed", lambda: _twice().fault(50, NEVER), 0, 1),
    ("while on the broker, delivery not recorded", lambda: _unseen().fault(50, 60), 0, 1),
    ("before the submit, delivery not recorded", lambda: _unseen().fault(10, 19), 1, 0),
    ("none, but an unsure submit", lambda: _twice().submit(0, SubmitOutcome.UNKNOWN, 7), 0, 1),
):

    @known(
        f"at least once, fault {_name}",
        Rule.DUPLICATE,
        FAIL if _left else PASS,
        _left,
        f"{_left} {_told(_left, _explained)}",
        *([(0, "2 effects within 400 ms")] if _left else []),
        contract=AT_LEAST_ONCE,
        expression="unexplained duplicates = 0",
        others=(Rule.FAULTS,),
    )
    def _(build: Callable[[], H] = _build) -> H:
        return build()


# ---------------------------------------------------------------- overlap


@known("one after the other", Rule.OVERLAP, PASS, 0, "0 operations ran twice at the same time")
def _() -> H:
    return H().done(0).attempt(0, 110, 120, TRANSIENT, 1)


@known(
    "at the same time",
    Rule.OVERLAP,
    FAIL,
    1,
    "1 operation ran twice at the same time",
    (0, "worker-2 began while worker-1 still had 1.0 ms to run"),
)
def _() -> H:
    return H().done(0).attempt(0, 109, 120, TRANSIENT, 1).attempt(0, 119.5, 121, TRANSIENT, 1)


@known(
    "one inside the first of three",
    Rule.OVERLAP,
    FAIL,
    1,
    "1 operation ran twice at the same time",
    (0, "worker-1 began while worker-2 still had 50.0 ms to run"),
)
def _() -> H:
    builder = H().ack(0).attempt(0, 10, 20, TRANSIENT).attempt(0, 30, 150, TRANSIENT, 1)
    return builder.attempt(0, 100, 110).effect(0, 105)


@known("killed before the next", Rule.OVERLAP, PASS, 0, "0 operations ran twice at the same time")
def _() -> H:
    return H().done(0).attempt(0, 50, outcome=OPEN, pid=7).fault(100, 200, kills=(7,)).fault(20, 30, kills=(7,))


@known("killed in a loop that began earlier", Rule.OVERLAP, PASS, 0, "0 operations ran twice at the same time")
def _() -> H:
    return H().done(0).attempt(0, 50, outcome=OPEN, pid=7).fault(20, 200, kills=(7,))


@known(
    "killed after the next began",
    Rule.OVERLAP,
    FAIL,
    1,
    "1 operation ran twice at the same time",
    (0, "worker-1 began while worker-2 still had 1.0 ms to run"),
)
def _() -> H:
    return H().done(0).attempt(0, 50, outcome=OPEN, role=1, pid=7).fault(101, 200, kills=(7,)).fault(300, kills=(7,))


@known(
    "never ended",
    Rule.OVERLAP,
    FAIL,
    1,
    "1 operation ran twice at the same time",
    (0, "worker-1 began while worker-2 had an attempt that never ended"),
)
def _() -> H:
    return H().done(0).attempt(0, 50, outcome=OPEN, role=1, pid=8).fault(101, 200, kills=(7,))


@known("never ended, after the others", Rule.OVERLAP, PASS, 0, "0 operations ran twice at the same time")
def _() -> H:
    return H().done(0).attempt(0, 150, outcome=OPEN, role=1, pid=8)


@known(
    "the long first one meets the third",
    Rule.OVERLAP,
    FAIL,
    1,
    "1 operation ran twice at the same time",
    (0, "worker-1 began while worker-2 still had 890.0 ms to run"),
)
def _() -> H:
    builder = H().ack(0).attempt(0, 10, 1000, TRANSIENT, 1).attempt(0, 110, 120, TRANSIENT)
    return builder.attempt(0, 500, 510).effect(0, 505)


@known(
    "never ended and never read",
    Rule.OVERLAP,
    FAIL,
    1,
    "1 operation ran twice at the same time",
    (0, "worker-1 began while worker-2 had an attempt that never ended"),
)
def _() -> H:
    return H().done(0).attempt(0, 50, outcome=OPEN, role=1, pid=8).final(read_at_ns=NEVER)


@known("begun after the final read", Rule.OVERLAP, PASS, 0, "0 operations ran twice at the same time")
def _() -> H:
    return H().done(0).attempt(0, READ_AT + 50, outcome=OPEN, pid=8)


# ---------------------------------------------------------------- unexpected, resurrected


@known("all submitted", Rule.UNEXPECTED, PASS, 0, "everything that ran was submitted")
def _() -> H:
    return H().done(0).submit(1, SubmitOutcome.UNKNOWN, 1).submit(2, SubmitOutcome.PENDING, 1).effect(1).effect(2)


@known(
    "never submitted",
    Rule.UNEXPECTED,
    FAIL,
    5,
    "5 operations ran without ever being submitted",
    (-1, "not in the plan"),
    (1, "in the plan, never submitted"),
    (2, "in the plan, never submitted"),
    (4, "not in the plan"),
    (70, "not in the plan"),
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    builder = H().done(0, 3).attempt(1).effect(2).attempt(4).effect(70).effect(70).effect(-1)
    return builder.deliver(50, 1).deliver(-50, 1).said(51)


@known(
    "submits torn",
    Rule.UNEXPECTED,
    UNKNOWN,
    1,
    "1 operation ran without ever being submitted, unless their submits are among the 1 torn record; "
    "see why the ledger was cut",
    (1, "in the plan, never submitted"),
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return H().done(0, 2).attempt(1).effect(1).set(torn_records=1)


@known(
    "submits torn, but outside the plan",
    Rule.UNEXPECTED,
    FAIL,
    1,
    "1 operation ran without ever being submitted",
    (2, "not in the plan"),
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return H().done(0, 1).effect(2).set(torn_records=1)


@known("refused and gone", Rule.RESURRECTED, PASS, 0, "0 refused submits took effect")
def _() -> H:
    return H().done(0).submit(1, SubmitOutcome.REFUSED, 1).submit(2, SubmitOutcome.REFUSED, 2).ack(2).effect(2)


@known(
    "refused, yet done",
    Rule.RESURRECTED,
    FAIL,
    1,
    "1 refused submit took effect",
    (1, "its submit was refused, yet it took effect"),
)
def _() -> H:
    return H().done(0).submit(1, SubmitOutcome.REFUSED, 1).effect(1).effect(1, 200)


# ---------------------------------------------------------------- what the subject says


@known("success kept", Rule.FALSE_SUCCESS, PASS, 0, "every success that was claimed took effect")
def _() -> H:
    return H().done(0, 1).final(results={1: SUCCESS})


@known(
    "success without effect",
    Rule.FALSE_SUCCESS,
    FAIL,
    2,
    "2 successes claimed without an effect",
    (1, "success claimed, no effect recorded"),
    (2, "success claimed, no effect recorded"),
)
def _() -> H:
    builder = H().done(0).submit(1, SubmitOutcome.UNKNOWN, 1).submit(2, SubmitOutcome.UNKNOWN, 1)
    return builder.attempt(1).said(1).final(results={2: SUCCESS})


@known(
    "success and torn records",
    Rule.FALSE_SUCCESS,
    UNKNOWN,
    1,
    "1 success claimed without an effect, unless the effects are among the 1 torn record; see why the ledger was cut",
    (1, "success claimed, no effect recorded"),
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return H().done(0).submit(1, SubmitOutcome.UNKNOWN, 1).said(1).set(torn_records=1)


for _rule in (Rule.FALSE_SUCCESS, Rule.FALSE_FAILURE, Rule.ZOMBIE):

    @known("silent subject", _rule, NOT_CLAIMED, None, "the subject says nothing about results")
    def _() -> H:
        return H().ack(0).attempt(0).effect(0).said(0, RETRY)


_LAST = "took effect although the subject's last word is failure"


@known("failure taken back", Rule.FALSE_FAILURE, PASS, 0, f"0 operations {_LAST}")
def _() -> H:
    builder = H().done(0, 1, 2, 3).said(0, FAILURE, 110.5).said(1, REJECTED, 111).said(2, FAILURE, 200)
    return (
        builder.final(results={2: SUCCESS})
        .ack(4)
        .attempt(4, outcome=TRANSIENT)
        .said(4, FAILURE)
        .final(dead=frozenset({4}))
    )


@known(
    "failure, though done",
    Rule.FALSE_FAILURE,
    FAIL,
    3,
    f"3 operations {_LAST}",
    (0, "failure claimed, but it took effect"),
    (1, "failure claimed, but it took effect"),
    (2, "failure claimed, but it took effect"),
)
def _() -> H:
    return H().done(0, 1, 2).said(0, FAILURE, 112).said(1, REJECTED, 112).final(results={2: FAILURE})


_FINAL = "took effect after the subject's final word"


@known("last effect with the final word", Rule.ZOMBIE, PASS, 0, f"0 operations {_FINAL}")
def _() -> H:
    return H().done(0, 1).said(0, FAILURE, 105).said(1, REJECTED, 1).said(1, RETRY, 2)


@known(
    "effect after the final word",
    Rule.ZOMBIE,
    FAIL,
    4,
    f"4 operations {_FINAL}",
    (0, "effect 1.0 ms after failure was claimed"),
    (1, "effect 5.0 ms after revoked was claimed"),
    (2, "effect 2.0 ms after success was claimed"),
    (3, "effect 50.0 ms after failure was claimed"),
)
def _() -> H:
    builder = H().done(0, 1).said(0, FAILURE, 104).said(1, REVOKED, 100).said(1, FAILURE, 101)
    builder.ack(2).attempt(2).effect(2, 113).said(2)
    return builder.done(3).said(3, FAILURE, 150).said(3, SUCCESS, 150).effect(3, 200)


@known(
    "second effect after failure is a zombie only",
    Rule.DUPLICATE,
    PASS,
    0,
    "0 operations took effect more than once",
    others=(Rule.ZOMBIE,),
)
def _() -> H:
    return H().done(0).said(0, FAILURE, 150).effect(0, 200)


@known(
    "submitted twice, lost once",
    Rule.LOST,
    FAIL,
    1,
    "1 acknowledged operation lost in submit order: 1 prefix, 0 middle, 0 postfix",
    (1, "never delivered, never attempted"),
)
def _() -> H:
    return H().ack(1, at=90).ack(1, at=1).done(3).ack(0, at=50).done(2).effect(0)


@known(
    "second effect after success",
    Rule.DUPLICATE,
    FAIL,
    1,
    "1 operation took effect more than once",
    (0, "2 effects within 200 ms"),
)
def _() -> H:
    return H().done(0).effect(0, 305)


@known(
    "never submitted is no zombie",
    Rule.UNEXPECTED,
    FAIL,
    1,
    "1 operation ran without ever being submitted",
    (0, "in the plan, never submitted"),
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return H().done(1).effect(0, 200).said(0, FAILURE, 100).said(0, FAILURE, 300)


@known(
    "two final words at once",
    Rule.ZOMBIE,
    FAIL,
    1,
    f"1 operation {_FINAL}",
    (0, "effect 5.0 ms after failure was claimed"),
)
def _() -> H:
    return H().done(0).said(0, REVOKED, 100).said(0, FAILURE, 100)


@known(
    "results at the edges",
    Rule.FALSE_SUCCESS,
    FAIL,
    1,
    "1 success claimed without an effect",
    (0, "success claimed, no effect recorded"),
)
def _() -> H:
    return H().submit(0, SubmitOutcome.UNKNOWN, 0).done(1).final(results={0: SUCCESS, 2: SUCCESS, -1: SUCCESS})


@known("claims without effects are no zombies", Rule.ZOMBIE, PASS, 0, f"0 operations {_FINAL}")
def _() -> H:
    return H().done(0).submit(1, SubmitOutcome.UNKNOWN, 1).said(1, FAILURE, 100)


@known("retry and success at the same time as failure", Rule.FALSE_FAILURE, PASS, 0, f"0 operations {_LAST}")
def _() -> H:
    return H().done(0).said(0, FAILURE, 111).said(0, RETRY, 150)


@known(
    "a retry takes no failure back",
    Rule.FALSE_FAILURE,
    FAIL,
    1,
    f"1 operation {_LAST}",
    (0, "failure claimed, but it took effect"),
)
def _() -> H:
    return H().done(0).said(0, FAILURE, 120).said(0, RETRY, 150).said(0, REVOKED, 160)


# ---------------------------------------------------------------- retries


@known("within the limit", Rule.RETRIES, PASS, 3, "0 operations over the limit; the most attempts are 3")
def _() -> H:
    return H().done(0).attempt(0, 50, 51, TRANSIENT).attempt(0, 60, 61, TRANSIENT)


@known("one attempt each", Rule.RETRIES, PASS, 1, "0 operations over the limit; the most attempts are 1")
def _() -> H:
    return H().done(0, 1)


@known(
    "over the limit",
    Rule.RETRIES,
    FAIL,
    4,
    "1 operation over the limit; the most attempts are 4",
    (0, "4 attempts that no fault met"),
)
def _() -> H:
    builder = H().done(0).attempt(0, 50, 51, TRANSIENT).attempt(0, 60, 61, TRANSIENT).attempt(0, 70, 71, TRANSIENT)
    return builder.fault(72, 99).fault(111, 112)


@known("over the limit by faults", Rule.RETRIES, PASS, 3, "0 operations over the limit; the most attempts are 3")
def _() -> H:
    builder = H().done(0).attempt(0, 50, 51, TRANSIENT).attempt(0, 60, 61, TRANSIENT).attempt(0, 70, 71, TRANSIENT)
    return builder.attempt(0, 80, 81, outcome=OPEN, pid=7).fault(71, 72).fault(85, 86, kills=(7,))


@known(
    "killed by an unproven fault",
    Rule.RETRIES,
    PASS,
    3,
    "0 operations over the limit; the most attempts are 3",
    others=(Rule.FAULTS,),
)
def _() -> H:
    builder = H().done(0).attempt(0, 50, 51, TRANSIENT).attempt(0, 60, 61, TRANSIENT)
    return builder.attempt(0, 80, outcome=OPEN, pid=7).fault(85, 86, kills=(7,), proven=False)


@known("effects only", Rule.RETRIES, PASS, 0, "0 operations over the limit; the most attempts are 0")
def _() -> H:
    return H().ack(0).effect(0)


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
