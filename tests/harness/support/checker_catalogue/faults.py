"""Known histories: which faults are sound, and what those without evidence leave open."""

from __future__ import annotations

from collections.abc import Callable

from checker_histories import AT_LEAST_ONCE, HistoryBuilder
from checker_known import FAIL, FAILURE, OPEN, PASS, PERMANENT, TRANSIENT, UNKNOWN, known

from taskchaos.harness.record.history import NEVER, SubmitOutcome
from taskchaos.harness.record.verdict import Rule

H = HistoryBuilder


@known("no fault planned", Rule.FAULTS, PASS, 0, "no fault planned")
def _() -> H:
    return H().done(0)


@known("all faults sound", Rule.FAULTS, PASS, 2, "2 faults proven and healed")
def _() -> H:
    return H().done(0).fault(1, 20).fault(105, 500)


@known(
    "faults without evidence",
    Rule.FAULTS,
    UNKNOWN,
    1,
    "a on worker-1: never injected; b on worker-1: no evidence that it bit; c on worker-1: heal not verified; "
    "d on worker-1: heal not verified; ...; see the fault log",
    (None, "1 planned fault never injected"),
    (None, "a on worker-1: never injected"),
    (None, "b on worker-1: no evidence that it bit"),
    (None, "c on worker-1: heal not verified"),
    (None, "d on worker-1: heal not verified"),
    (None, "f on worker-1: vanished before its heal"),
)
def _() -> H:
    builder = H().done(0).fault(-1, -1, kind="a").fault(kind="b", proven=False).fault(kind="c", healed=False)
    builder.fault(until=-1, kind="d").fault(50, 60, kind="e").fault(50, 60, kind="f", held=False)
    return builder.set(planned_faults=7)


@known(
    "what the missing evidence was",
    Rule.FAULTS,
    UNKNOWN,
    0,
    "a on worker-1: no evidence that it bit: nothing passed; b on worker-1: no evidence that it bit; see the fault log",
    (None, "a on worker-1: no evidence that it bit: nothing passed"),
    (None, "b on worker-1: no evidence that it bit"),
)
def _() -> H:
    builder = H().done(0).fault(kind="a", proven=False, evidence="nothing passed")
    return builder.fault(kind="b", proven=False, evidence="no evidence that it bit")


_SEE = "see the fault log"

for _number, _more in ((4, ""), (5, "; ...")):

    @known(
        f"{_number} faults without evidence",
        Rule.FAULTS,
        UNKNOWN,
        0,
        "; ".join(f"{kind} on worker-1: no evidence that it bit" for kind in "abcd") + f"{_more}; {_SEE}",
        *((None, f"{kind} on worker-1: no evidence that it bit") for kind in "abcde"[:_number]),
    )
    def _(number: int = _number) -> H:
        builder = H().done(0)
        for kind in "abcde"[:number]:
            builder.fault(kind=kind, proven=False)
        return builder


@known(
    "a fault on a link that nothing uses, beside one that bit",
    Rule.FAULTS,
    PASS,
    1,
    "1 fault proven and healed; 1 fault on links that nothing uses",
)
def _() -> H:
    return H().done(0).fault(50, 60).fault(50, 60, target="worker-1-results", unused=True, proven=False)


@known(
    "only faults on links that nothing uses",
    Rule.FAULTS,
    UNKNOWN,
    0,
    "no fault bit: 2 faults on links that nothing uses; aim at those that it uses",
)
def _() -> H:
    builder = H().done(0).fault(50, 60, unused=True, proven=False)
    return builder.fault(300, 400, unused=True, proven=False, held=False)


@known(
    "not healed, on a link that nothing uses",
    Rule.FAULTS,
    UNKNOWN,
    1,
    f"worker_kill on worker-1: heal not verified; 1 fault on links that nothing uses; {_SEE}",
    (None, "worker_kill on worker-1: heal not verified"),
)
def _() -> H:
    return H().done(0).fault(50, 60).fault(50, 60, unused=True, proven=False, healed=False)


@known("nothing used it, yet it is proven", Rule.FAULTS, PASS, 1, "1 fault proven and healed")
def _() -> H:
    return H().done(0).fault(50, 60, unused=True)


# ---------------------------------------------------------------- in flight


def _one() -> H:
    """Operation 0: submitted at 50, first effect at 105."""
    return H().ack(0, at=50).attempt(0).effect(0)


def _dead(*rows: tuple[float, float]) -> H:
    """Operation 1 fails for good in these attempts; it is in the dead letters."""
    builder = H().ack(1, at=50).ack(0, at=0).attempt(0, 1, 2).effect(0, 1)
    for at, until in rows:
        builder.attempt(1, at, until, PERMANENT)
    return builder.set(permanent=frozenset({1})).final(dead=frozenset({1}))


def _refused_and_dead() -> H:
    """As `_one`; operation 1 was refused, fails for good, and is in the dead letters all the same."""
    builder = _one().submit(1, SubmitOutcome.REFUSED, 60).attempt(1, 60, 70, PERMANENT)
    return builder.set(permanent=frozenset({1})).final(dead=frozenset({1}))


for _name, _build, _flying in (
    ("healed with the submit", lambda: _one().fault(10, 50), True),
    ("healed before the submit", lambda: _one().fault(10, 49.9), False),
    ("injected with the effect", lambda: _one().fault(105, 200), True),
    ("injected after the effect", lambda: _one().fault(105.1, 200), False),
    ("never healed before the submit", lambda: _one().fault(10, NEVER, healed=False), None),
    ("second effects are no matter", lambda: _one().effect(0, 300).fault(105.1, 200), False),
    ("between two submits of one", lambda: _one().ack(0, at=300).fault(301, 400), False),
    (
        "unsure is in flight too",
        lambda: _one().submit(1, SubmitOutcome.UNKNOWN, 60).effect(1, 300).fault(200, 250),
        True,
    ),
    (
        "pending is in flight too",
        lambda: _one().submit(1, SubmitOutcome.PENDING, 60).effect(1, 300).fault(200, 250),
        True,
    ),
    ("refused is not", lambda: _one().submit(1, SubmitOutcome.REFUSED, 60).fault(200, 250), False),
    ("refused, and given up", lambda: _refused_and_dead().fault(90, 100), True),
    ("refused, yet done", lambda: _one().submit(1, SubmitOutcome.REFUSED, 1).effect(1, 2).fault(10, 49), False),
    ("never submitted, yet done", lambda: _one().ack(2, at=60).effect(2).effect(1, 2).fault(10, 49), False),
    ("lost tasks stay in flight", lambda: _one().ack(1, at=60).fault(300, 400), True),
    ("given up after its last attempt", lambda: _dead((60, 70), (80, 90)).fault(90, 100), True),
    ("given up before it", lambda: _dead((80, 90), (60, 70)).fault(90.1, 100), False),
    ("given up without an attempt: when is not known", lambda: _dead().fault(90.1, 100), True),
    ("dead, but with an effect", lambda: _dead((60, 70)).effect(1, 200).fault(150, 160), True),
    ("not rightly given up", lambda: _dead((60, 70)).set(permanent=frozenset()).fault(90, 100), True),
):
    _others = (Rule.LOST, Rule.EVIDENCE, Rule.DUPLICATE, Rule.UNEXPECTED, Rule.RESURRECTED, Rule.DEAD_LETTER)
    _gap = f"worker_kill on worker-1: {'heal not verified' if _flying is None else 'no task was in flight'}"

    @known(
        f"in flight: {_name}",
        Rule.FAULTS,
        PASS if _flying else UNKNOWN,
        1 if _flying else 0,
        "1 fault proven and healed" if _flying else f"{_gap}; {_SEE}",
        *([] if _flying else [(None, _gap)]),
        others=(*_others, Rule.FALSE_FAILURE),
    )
    def _(build: Callable[[], H] = _build) -> H:
        return build()


@known(
    "each fault for itself",
    Rule.FAULTS,
    UNKNOWN,
    2,
    f"b on worker-1: no task was in flight; {_SEE}",
    (None, "b on worker-1: no task was in flight"),
    others=(Rule.FALSE_FAILURE,),
)
def _() -> H:
    builder = _one().ack(1, at=300).attempt(1, 310, 311).effect(1, 310).said(1, FAILURE, 311)
    return builder.fault(60, 70, kind="a").fault(200, 250, kind="b").fault(305, 400, kind="c")


# ---------------------------------------------------------------- faults without evidence


_TWICE = "1 task took effect more than once without a fault to explain it; 0 explained by faults or unsure submits"


def _twice() -> H:
    """Operation 0 runs at worker-1 at 100 and at 500."""
    return H().done(0).attempt(0, 500).effect(0, 505)


for _name, _build, _told in (
    ("no evidence", lambda: _twice().fault(200, 300, proven=False), "worker_kill on worker-1 explains"),
    ("vanished", lambda: _twice().fault(200, 300, held=False), "worker_kill on worker-1 explains"),
    (
        "no evidence, just before the delivery",
        lambda: _twice().fault(50, 98, proven=False),
        "worker_kill on worker-1 explains",
    ),
    (
        "one of two",
        lambda: _twice().fault(200, 300, kind="b", proven=False).fault(700, 800, kind="a", held=False),
        "a on worker-1 or b on worker-1 explains",
    ),
    (
        "one of three",
        lambda: _twice().fault(kind="c", proven=False).fault(kind="a", held=False).fault(kind="b", held=False),
        "a on worker-1 or b on worker-1 or c on worker-1 explains",
    ),
    (
        "one of four",
        lambda: (
            _twice()
            .fault(kind="b", proven=False)
            .fault(kind="a", proven=False)
            .fault(kind="c", proven=False)
            # one that is proven is no suspect, nor one that was not injected or has no use
            .fault(700, 800, kind="1")
            .fault(-1, -1, kind="2")
            .fault(kind="3", unused=True, proven=False)
            .fault(kind="d", held=False)
        ),
        "a on worker-1 or b on worker-1 or c on worker-1 or ... explains",
    ),
):

    @known(
        f"a duplicate that a fault may explain: {_name}",
        Rule.DUPLICATE,
        UNKNOWN,
        1,
        f"{_TWICE}, unless {_told} it, of which there is no evidence",
        (0, "2 effects within 400 ms"),
        contract=AT_LEAST_ONCE,
        expression="unexplained duplicates = 0",
        others=(Rule.FAULTS,),
    )
    def _(build: Callable[[], H] = _build) -> H:
        return build()


for _name, _build in (
    ("no evidence, after the last effect", lambda: _twice().fault(600, 700, proven=False)),
    ("no evidence, of another worker", lambda: _twice().fault(200, 300, target="worker-2", proven=False)),
    ("never injected", lambda: _twice().fault(-1, -1, proven=False)),
    ("of no use", lambda: _twice().fault(200, 300, proven=False, unused=True)),
    (
        "of no use, beside one without evidence",
        lambda: _twice().fault(200, 300, proven=False, unused=True).fault(600, 700, proven=False),
    ),
):

    @known(
        f"a duplicate that no fault would explain: {_name}",
        Rule.DUPLICATE,
        FAIL,
        1,
        _TWICE,
        (0, "2 effects within 400 ms"),
        contract=AT_LEAST_ONCE,
        expression="unexplained duplicates = 0",
        others=(Rule.FAULTS,),
    )
    def _(build: Callable[[], H] = _build) -> H:
        return build()


@known(
    "attempts that a fault without evidence may have met",
    Rule.RETRIES,
    UNKNOWN,
    4,
    "1 task over the limit; the most attempts are 4, unless worker_kill on worker-1 explains it, "
    "of which there is no evidence",
    (0, "4 attempts that no fault met"),
    others=(Rule.FAULTS,),
)
def _() -> H:
    builder = H().done(0)
    for at in (50, 60, 70):
        builder.attempt(0, at, at + 1, TRANSIENT)
    return builder.fault(60, 61, proven=False)


@known(
    "attempts beyond what a fault without evidence may have met",
    Rule.RETRIES,
    FAIL,
    5,
    "1 task over the limit; the most attempts are 5",
    (0, "5 attempts that no fault met"),
    others=(Rule.FAULTS,),
)
def _() -> H:
    builder = H().done(0)
    for at in (50, 60, 70, 80):
        builder.attempt(0, at, at + 1, TRANSIENT)
    return builder.fault(60, 61, proven=False)


@known(
    "a loss is none that a fault could excuse",
    Rule.LOST,
    FAIL,
    1,
    "1 of 2 acknowledged tasks lost, all at the end, behind all that was done",
    (1, "attempt at worker-1 never ended"),
    others=(Rule.FAULTS,),
)
def _() -> H:
    return H().done(0).ack(1).attempt(1, 60, outcome=OPEN).fault(50, 70, proven=False)
