"""Known histories: effects per second."""

from __future__ import annotations

from collections.abc import Callable

from checker_histories import load
from checker_known import FAIL, NOT_CLAIMED, PASS, PERMANENT, UNKNOWN, known
from checker_loads import BASELINE, FAULT, NO_PACE, PREFILL, H, open_load, spans

from taskchaos.harness.record.verdict import Rule

# ---------------------------------------------------------------- throughput

_GOOD = "baseline 199.5/s >= 100.0/s; healed 200.0/s >= 100.0/s"


@known("on target", Rule.THROUGHPUT, PASS, 199.5, _GOOD)
def _() -> H:
    return open_load()


@known(
    "below the target",
    Rule.THROUGHPUT,
    FAIL,
    80.0,
    "baseline 199.5/s >= 100.0/s; healed 80.0/s < 100.0/s",
    others=(Rule.RECOVERY,),
)
def _() -> H:
    return open_load(((3000, 80),))


@known(
    "offered less than the target",
    Rule.THROUGHPUT,
    PASS,
    79.5,
    "baseline 79.5/s >= 76.0/s; healed 80.0/s >= 76.0/s",
)
def _() -> H:
    return open_load(((3000, 80),), offered=80)


@known(
    "not even what was offered",
    Rule.THROUGHPUT,
    FAIL,
    75.667,
    "baseline 79.5/s >= 76.0/s; healed 75.7/s < 76.0/s",
    others=(Rule.RECOVERY,),
)
def _() -> H:
    return open_load(((3000, 75.5),), offered=80)


_IN_FORCE = ", but a fault was in force for {:.1f} s of it"
for _name, _fault, _outcome, _more in (
    ("whose fault is not healed for most of it", lambda builder: builder.fault(2500, 5500), UNKNOWN, 2.5),
    ("whose fault is healed soon", lambda builder: builder.fault(2500, 3500), UNKNOWN, 0.5),
    ("whose fault is never healed", lambda builder: builder.fault(2500, -1, healed=False), UNKNOWN, 3.0),
    ("and had two in it", lambda builder: builder.fault(2500, 5500).fault(3000, 3500), UNKNOWN, 2.5),
    ("whose fault proves nothing", lambda builder: builder.fault(2500, 5500, proven=False), FAIL, 0.0),
):

    @known(
        f"a healed phase below the target, {_name}",
        Rule.THROUGHPUT,
        _outcome,
        30.0,
        "baseline 199.5/s >= 100.0/s; healed 30.0/s < 100.0/s" + (_IN_FORCE.format(_more) if _more else ""),
        others=(Rule.RECOVERY, Rule.FAULTS, Rule.EVIDENCE),
    )
    def _(fault: Callable[[H], H] = _fault) -> H:
        return fault(open_load(((3000, 30),)))


_LATE_TOO = "load generator was late: 0 late and 20 dropped of 1000 sends; lower the rate or free the machine"


@known(
    "a healed phase far below the target, whose fault is not healed, and a late load",
    Rule.THROUGHPUT,
    UNKNOWN,
    30.0,
    f"{_LATE_TOO} (baseline 199.5/s >= 100.0/s; healed 30.0/s < 100.0/s{_IN_FORCE.format(2.5)})",
    others=(Rule.RECOVERY, Rule.EVIDENCE),
)
def _() -> H:
    return open_load(((3000, 30),)).fault(2500, 5500).drop(*range(1200, 1220), due=3100)


@known("with a fault in it, on target all the same", Rule.THROUGHPUT, PASS, 199.5, _GOOD, others=(Rule.RECOVERY,))
def _() -> H:
    return open_load().fault(2500, 5500)


@known("no target", Rule.THROUGHPUT, NOT_CLAIMED, None, "no target set", expression="no target")
def _() -> H:
    return open_load(target=None)


@known(
    "not claimed, still seen",
    Rule.THROUGHPUT,
    NOT_CLAIMED,
    199.5,
    f"the subject does not claim throughput; seen: {_GOOD}",
    contract=NO_PACE,
)
def _() -> H:
    return open_load()


@known(
    "a judged phase is missing",
    Rule.THROUGHPUT,
    UNKNOWN,
    None,
    "none of the phases baseline, healed was recorded; give the case one",
)
def _() -> H:
    return H().done(0).slo(100).phase(FAULT, 0, 1000, 1)


_ANY = "effects/s >= 1000, or 95 % of the offered rate"
_TOO_LITTLE = "has too little to measure (needs 0.2 s and 20 tasks)"
for _name, _ended, _offered in (("short phase", 199, 20), ("few tasks", 200, 19)):

    @known(_name, Rule.THROUGHPUT, UNKNOWN, None, f"baseline {_TOO_LITTLE}")
    def _(ended: float = _ended, offered: int = _offered) -> H:
        builder = H().slo(100).phase(BASELINE, 0, ended, offered)
        load(builder, 0, ended, 100)
        return builder


@known("just enough", Rule.THROUGHPUT, PASS, 100.0, "baseline 100.0/s >= 95.0/s", expression=_ANY)
def _() -> H:
    builder = H().slo(1000).phase(BASELINE, 0, 200, 20)
    load(builder, 0, 200, 100)
    return builder


def _caught_up(*seen: float | None, unused: bool = False, begun: float = 2000) -> H:
    """A fault at half of the load from 2000 on, which is over at 2800: the backlog is made good by 3000."""
    builder = open_load(((2800, 600), (3000, 200)), target=1000)
    builder.set(faults=(), planned_faults=0, phases=())
    for at in seen:
        builder.fault(begun, 2900, seen=at)
    if unused:
        builder.fault(2000, 2900, proven=False, unused=True, seen=2600)
    builder.phase(BASELINE, 0, 2000, 400).phase(FAULT, 2000, 3000, 200)
    return builder.slo(1000, phases=frozenset({FAULT}))


def _left_behind() -> H:
    """The fault is over at 2700, and what comes then does not even keep up."""
    builder = open_load(((2700, 50), (3000, 200)), target=1000).set(faults=(), planned_faults=0, phases=())
    builder.fault(2000, 2900, seen=2700).phase(BASELINE, 0, 2000, 400).phase(FAULT, 2000, 3000, 200)
    return builder.slo(1000, phases=frozenset({FAULT}))


_KEPT = "fault 200.0/s >= 190.0/s"
_MISSED = "fault 120.0/s < 190.0/s"
for _name, _outcome, _tps, _reason, _made in (
    ("what is made good after the heal is not the fault's rate", FAIL, 120.0, _MISSED, lambda: _caught_up(2800)),
    ("the first of several that is gone", FAIL, 120.0, _MISSED, lambda: _caught_up(2900, 2800, 2990)),
    ("faults that have come and gone before", FAIL, 120.0, _MISSED, lambda: _caught_up(2300, 2800, 2100)),
    ("a link that nobody uses", FAIL, 120.0, _MISSED, lambda: _caught_up(2800, unused=True)),
    ("for half of the phase", FAIL, 150.0, "fault 150.0/s < 190.0/s", lambda: _caught_up(2500)),
    ("for less than half of the phase", PASS, 200.0, _KEPT, lambda: _caught_up(2499)),
    ("from its middle on", PASS, 200.0, _KEPT, lambda: _caught_up(2800, begun=2400)),
    ("since before it", FAIL, 120.0, _MISSED, lambda: _caught_up(2800, begun=1500)),
    ("seen at the end of the phase", PASS, 200.0, _KEPT, lambda: _caught_up(3000)),
    ("seen after it", PASS, 200.0, _KEPT, lambda: _caught_up(3400)),
    ("nothing is made good after the heal", FAIL, 85.0, "fault 85.0/s < 190.0/s", _left_behind),
    ("never seen in force", PASS, 200.0, _KEPT, lambda: _caught_up(None)),
):

    @known(_name, Rule.THROUGHPUT, _outcome, _tps, _reason, expression=_ANY)
    def _(made: Callable[[], H] = _made) -> H:
        return made()


def _drain(tps: float = 400, *, target: float = 300, until: float = 3000, lost: int = 0, operations: int = 800) -> H:
    """A prefilled queue, emptied from 1500 on at a constant rate; the baseline phase begins at 1000."""
    builder = H().slo(target).phase(PREFILL, 0, 1000, operations).phase(BASELINE, 1000, until)
    for op in range(operations):
        at = 1500 + op * 1000 / tps
        builder.ack(op, at=op / 10, due=0)
        if op >= lost:
            builder.attempt(op, at, at + 1).effect(op, at)
    return builder


_DRAINED = "effects/s >= 300"


@known(
    "so many that a blink is enough",
    Rule.THROUGHPUT,
    PASS,
    5000.0,
    "baseline 5000.0/s >= 300.0/s",
    expression=_DRAINED,
)
def _() -> H:
    return _drain(5000, operations=600)


@known(
    "few in a blink",
    Rule.THROUGHPUT,
    UNKNOWN,
    None,
    f"baseline {_TOO_LITTLE}",
    expression=_DRAINED,
)
def _() -> H:
    return _drain(5000, operations=500)


@known("drained", Rule.THROUGHPUT, PASS, 400.0, "baseline 400.0/s >= 300.0/s", expression=_DRAINED)
def _() -> H:
    return _drain(until=4000)


@known("drained in spite of a fault", Rule.THROUGHPUT, PASS, 400.0, "baseline 400.0/s >= 300.0/s", expression=_DRAINED)
def _() -> H:
    return _drain(until=4000).fault(1500, 3400, seen=3300)


@known(
    "what is drained after a fault counts",
    Rule.THROUGHPUT,
    PASS,
    294.737,
    "baseline 294.7/s >= 290.0/s",
    expression="effects/s >= 290",
)
def _() -> H:
    return _drain(target=290, until=2900).fault(1500, 2800, seen=2700)


@known("drained slowly", Rule.THROUGHPUT, FAIL, 299.0, "baseline 299.0/s < 300.0/s", expression=_DRAINED)
def _() -> H:
    return _drain(299, until=5000)


@known("drained slowly under a fault", Rule.THROUGHPUT, FAIL, 299.0, "baseline 299.0/s < 300.0/s", expression=_DRAINED)
def _() -> H:
    return _drain(299, until=5000).fault(1500, 3400)


@known(
    "drained twice",
    Rule.THROUGHPUT,
    FAIL,
    299.0,
    "baseline 299.0/s < 300.0/s",
    expression=_DRAINED,
    others=(Rule.DUPLICATE,),
)
def _() -> H:
    builder = _drain(299, until=5000)
    for op in range(800):
        builder.effect(op, 9000 if op % 2 else 1503 + op * 1000 / 299)
    return builder


@known("not drained", Rule.THROUGHPUT, FAIL, 294.737, "baseline 294.7/s < 300.0/s", expression=_DRAINED)
def _() -> H:
    return _drain(until=2900)


@known(
    "drained, one lost",
    Rule.THROUGHPUT,
    FAIL,
    266.333,
    "baseline 266.3/s < 300.0/s",
    expression=_DRAINED,
    others=(Rule.LOST,),
)
def _() -> H:
    return _drain(until=4000, lost=1)


@known("drained, one dead", Rule.THROUGHPUT, PASS, 400.0, "baseline 400.0/s >= 300.0/s", expression=_DRAINED)
def _() -> H:
    return _drain(until=4000, lost=1).final(dead=frozenset({0})).set(permanent=frozenset({0}))


@known("too few to drain", Rule.THROUGHPUT, UNKNOWN, None, f"baseline {_TOO_LITTLE}", expression=_DRAINED)
def _() -> H:
    return _drain(50, until=4000, operations=19)


@known(
    "drained past a fault",
    Rule.THROUGHPUT,
    PASS,
    400.0,
    "baseline 400.0/s >= 300.0/s; healed 401.0/s >= 300.0/s",
    expression=_DRAINED,
)
def _() -> H:
    builder = _drain(until=2000)
    return builder.set(phases=(*builder.build().phases[:1], *spans((1500, 2000), (2000, 2500), (2500, 6000))))


@known("all phases of a name", Rule.THROUGHPUT, FAIL, 50.0, "baseline 100.0/s >= 95.0/s; baseline 50.0/s < 95.0/s")
def _() -> H:
    builder = H().slo(100).phase(BASELINE, 0, 1000, 100).phase(BASELINE, 1000, 2000, 100)
    load(builder, 1000, 2000, 50, first_op=load(builder, 0, 1000, 100))
    return builder


@known("exactly on target", Rule.THROUGHPUT, PASS, 300.0, "baseline 300.0/s >= 300.0/s", expression=_DRAINED)
def _() -> H:
    return _drain(until=3000)


@known(
    "what is lost counts as work",
    Rule.THROUGHPUT,
    FAIL,
    6.0,
    "baseline 6.0/s < 300.0/s",
    expression=_DRAINED,
    others=(Rule.LOST,),
)
def _() -> H:
    return _drain(50, until=3500, lost=15, operations=30)


@known("warm-up is left out", Rule.THROUGHPUT, PASS, 400.0, "baseline 400.0/s >= 300.0/s", expression=_DRAINED)
def _() -> H:
    builder = _drain(until=4000, lost=40)
    for op in range(40):
        builder.attempt(op, 1000 + op, 1001 + op).effect(op, 1000 + op)
    return builder


@known(
    "drained, one lost and one dead",
    Rule.THROUGHPUT,
    FAIL,
    266.0,
    "baseline 266.0/s < 300.0/s",
    expression=_DRAINED,
    others=(Rule.LOST,),
)
def _() -> H:
    return _drain(until=4000, lost=2).final(dead=frozenset({0})).set(permanent=frozenset({0}))


@known(
    "drained, one lost and one dead though done",
    Rule.THROUGHPUT,
    FAIL,
    266.333,
    "baseline 266.3/s < 300.0/s",
    expression=_DRAINED,
    others=(Rule.LOST, Rule.FALSE_FAILURE),
)
def _() -> H:
    return _drain(until=4000, lost=1).final(dead=frozenset({1})).set(permanent=frozenset({1}))


@known("drained, all dead", Rule.THROUGHPUT, UNKNOWN, None, f"baseline {_TOO_LITTLE}", expression=_DRAINED)
def _() -> H:
    builder = _drain(until=4000, lost=50, operations=50).deliver(0, 10).deliver(1, 10)
    return builder.attempt(0, outcome=PERMANENT).final(dead=frozenset(range(50))).set(permanent=frozenset(range(50)))


for _operations, _tps in ((527, 5000.0), (526, None)):

    @known(
        f"{_operations} in a blink",
        Rule.THROUGHPUT,
        PASS if _tps else UNKNOWN,
        _tps,
        "baseline 5000.0/s >= 300.0/s" if _tps else f"baseline {_TOO_LITTLE}",
        expression=_DRAINED,
    )
    def _(operations: int = _operations) -> H:
        return _drain(5000, operations=operations)


@known("many in no time", Rule.THROUGHPUT, UNKNOWN, None, f"baseline {_TOO_LITTLE}", expression=_DRAINED)
def _() -> H:
    return _drain(float("inf"), operations=600)


@known("a short phase of an open load, with many effects", Rule.THROUGHPUT, UNKNOWN, None, f"baseline {_TOO_LITTLE}")
def _() -> H:
    builder = H().slo(100).phase(BASELINE, 0, 100, 600)
    load(builder, 0, 100, 6000)
    return builder


@known(
    "drained except a few, after a fault",
    Rule.THROUGHPUT,
    UNKNOWN,
    400.0,
    f"baseline 400.0/s >= 300.0/s; healed {_TOO_LITTLE}",
    expression=_DRAINED,
    others=(Rule.LOST,),
)
def _() -> H:
    builder = _drain(operations=206, lost=1)
    return builder.set(phases=(*builder.build().phases[:1], *spans((1520, 2000), (2000, 2001), (2001, 6000))))


@known(
    "drained, though not all was offered",
    Rule.THROUGHPUT,
    PASS,
    400.0,
    "baseline 400.0/s >= 300.0/s",
    expression=_DRAINED,
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return _drain(until=4000).planned(900)


@known(
    "drained, a phase is too short to be counted",
    Rule.THROUGHPUT,
    FAIL,
    50.0,
    f"baseline 50.0/s < 95.0/s; baseline {_TOO_LITTLE}",
)
def _() -> H:
    builder = H().slo(100).phase(BASELINE, 0, 1000, 100).phase(BASELINE, 1000, 1100, 10)
    load(builder, 1000, 1100, 100, first_op=load(builder, 0, 1000, 50))
    return builder


@known("warm-up is 5 % of 800", Rule.THROUGHPUT, FAIL, 299.0, "baseline 299.0/s < 300.0/s", expression=_DRAINED)
def _() -> H:
    builder = _drain(299, until=5000, lost=45)
    for op in range(45):
        at = 1500 + op * 1000 / 299 if op >= 40 else 1000 + op
        builder.attempt(op, at, at + 1).effect(op, at)
    return builder
