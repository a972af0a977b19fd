"""Known histories for the rules about figures."""

from __future__ import annotations

from checker_histories import HistoryBuilder, load, ns
from checker_known import FAIL, NOT_CLAIMED, PASS, UNKNOWN, known

from harness.contract import Claim, Contract, PhaseName
from harness.history import Phase
from harness.verdict import Rule

H = HistoryBuilder
PREFILL, BASELINE, FAULT = PhaseName.PREFILL, PhaseName.BASELINE, PhaseName.FAULT
HEALED, DRAIN = PhaseName.HEALED, PhaseName.DRAIN
NO_PACE = Contract(frozenset(Claim) - {Claim.THROUGHPUT})


def _spans(*spans: tuple[float, float]) -> tuple[Phase, ...]:
    return tuple(Phase(name, ns(a), ns(b)) for name, (a, b) in zip((BASELINE, FAULT, HEALED), spans, strict=True))


def _open(
    after: tuple[tuple[float, float], ...] = ((3000, 200),),
    *,
    offered: float = 200,
    target: float | None = 100,
    limit: float | None = 1,
    ended: float = 6000,
) -> H:
    """Open load: 2 s of baseline, 1 s of fault at half the rate, then stretches (begin, effects per second).

    Operations are sent at the offered rate all the time; effects that do not keep up come later.
    """
    builder = H().slo(target, limit).fault(2000, 3000)
    sends = [2000 * n / (2 * offered) for n in range(round(offered * ended / 1000))]
    rates = ((0, offered), (2000, offered / 2), *after)
    busy_until = 0.0
    for op, at in enumerate(sends):
        tps = next(tps for begun, tps in reversed(rates) if begun <= max(busy_until, at) + 1e-6)
        busy_until = max(busy_until + 1000 / tps, at)
        builder.ack(op, at=at).attempt(op, busy_until, busy_until + 1).effect(op, busy_until)
    builder.phase(BASELINE, 0, 2000, round(offered * 2)).phase(FAULT, 2000, 3000, round(offered))
    return builder.phase(HEALED, 3000, ended, round(offered * (ended - 3000) / 1000))


# ---------------------------------------------------------------- throughput

_GOOD = "baseline 199.5/s >= 100.0/s; healed 200.0/s >= 100.0/s"


@known("on target", Rule.THROUGHPUT, PASS, 199.5, _GOOD)
def _() -> H:
    return _open()


@known(
    "below the target",
    Rule.THROUGHPUT,
    FAIL,
    80.0,
    "baseline 199.5/s >= 100.0/s; healed 80.0/s < 100.0/s",
    others=(Rule.RECOVERY,),
)
def _() -> H:
    return _open(((3000, 80),))


@known(
    "offered less than the target",
    Rule.THROUGHPUT,
    PASS,
    79.5,
    "baseline 79.5/s >= 76.0/s; healed 80.0/s >= 76.0/s",
)
def _() -> H:
    return _open(((3000, 80),), offered=80)


@known(
    "not even what was offered",
    Rule.THROUGHPUT,
    FAIL,
    75.667,
    "baseline 79.5/s >= 76.0/s; healed 75.7/s < 76.0/s",
    others=(Rule.RECOVERY,),
)
def _() -> H:
    return _open(((3000, 75.5),), offered=80)


@known("no target", Rule.THROUGHPUT, NOT_CLAIMED, None, "no target set", expression="no target")
def _() -> H:
    return _open(target=None)


@known(
    "not claimed, still seen",
    Rule.THROUGHPUT,
    NOT_CLAIMED,
    199.5,
    f"the subject does not claim throughput; seen: {_GOOD}",
    contract=NO_PACE,
)
def _() -> H:
    return _open()


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
_TOO_LITTLE = "has too little to measure (needs 0.2 s and 20 operations)"
for _name, _ended, _offered in (("short phase", 199, 20), ("few operations", 200, 19)):

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


@known("drained slowly", Rule.THROUGHPUT, FAIL, 299.0, "baseline 299.0/s < 300.0/s", expression=_DRAINED)
def _() -> H:
    return _drain(299, until=5000)


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
    return _drain(until=4000, lost=1).final(dead=frozenset({0}))


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
    return builder.set(phases=(*builder.build().phases[:1], *_spans((1500, 2000), (2000, 2500), (2500, 6000))))


# ---------------------------------------------------------------- recovery


@known("back at once", Rule.RECOVERY, PASS, 0.0, "back after 0.00 s")
def _() -> H:
    return _open()


@known("back at the limit", Rule.RECOVERY, PASS, 1.0, "back after 1.00 s")
def _() -> H:
    return _open(((3000, 100), (3500, 200), (3750, 100), (4000, 200)))


@known("back too late", Rule.RECOVERY, FAIL, 1.25, "back after 1.25 s")
def _() -> H:
    return _open(((3000, 180), (4250, 200)))


@known("counted from the last heal", Rule.RECOVERY, PASS, 0.25, "back after 0.25 s")
def _() -> H:
    return _open(((3000, 100), (4250, 200))).fault(3100, 4000).fault(1000, 1500)


@known("never back", Rule.RECOVERY, FAIL, None, "not back within the 3.00 s recorded after the heal")
def _() -> H:
    return _open(((3000, 150),))


@known("back at 95 %", Rule.RECOVERY, PASS, 0.0, "back after 0.00 s")
def _() -> H:
    return _open(((3000, 192),))


_LONGER = "make the healed phase longer than 1 s"


@known(
    "record too short", Rule.RECOVERY, UNKNOWN, None, f"not back within the 0.90 s recorded after the heal; {_LONGER}"
)
def _() -> H:
    return _open(((3000, 150),), ended=3900)


@known(
    "record ends in good windows",
    Rule.RECOVERY,
    UNKNOWN,
    None,
    f"not back within the 1.50 s recorded after the heal; {_LONGER}",
)
def _() -> H:
    return _open(((3000, 150), (4000, 200)), ended=4500)


@known("drain phase counts", Rule.RECOVERY, FAIL, None, "not back within the 3.00 s recorded after the heal")
def _() -> H:
    builder = _open(((3000, 150),))
    phases = builder.build().phases
    return builder.set(phases=(*phases[:2], Phase(HEALED, ns(3000), ns(3900), 180), Phase(DRAIN, ns(3900), ns(6000))))


@known("everything done", Rule.RECOVERY, PASS, 0.75, "back after 0.75 s, when everything was done")
def _() -> H:
    return _open(((3000, 180),), ended=3250).phase(DRAIN, 3250, 9000)


@known(
    "something left to do",
    Rule.RECOVERY,
    FAIL,
    None,
    "not back within the 6.00 s recorded after the heal",
    others=(Rule.LOST,),
)
def _() -> H:
    return _open(((3000, 180),), ended=3250).phase(DRAIN, 3250, 9000).ack(650, at=3249)


@known(
    "slow because little was sent",
    Rule.RECOVERY,
    UNKNOWN,
    None,
    "not back within the 3.00 s recorded after the heal, but the load generator was late: 0 late and 150 dropped "
    "of 600 sends",
    others=(Rule.THROUGHPUT,),
)
def _() -> H:
    builder = _open(((3000, 150),))
    return builder.set(dropped_sends=150).planned(builder.build().planned + 150)


@known("no limit", Rule.RECOVERY, NOT_CLAIMED, 0.0, "no limit set", expression="no limit")
def _() -> H:
    return _open(limit=None)


@known("no fault", Rule.RECOVERY, NOT_CLAIMED, None, "no fault to recover from", expression="no limit")
def _() -> H:
    return _open().set(faults=(), planned_faults=0)


for _name, _change, _why in (
    ("not proven", {"proven": False}, "no fault is proven to have bitten"),
    ("never healed", {"until": -1}, "a fault was never healed"),
):

    @known(
        f"fault {_name}",
        Rule.RECOVERY,
        UNKNOWN,
        None,
        f"{_why}; the recovery time cannot be told",
        others=(Rule.FAULTS,),
    )
    def _(change: dict[str, float] = _change) -> H:
        return _open().set(faults=(), planned_faults=0).fault(2000, **{"until": 3000, **change})


@known(
    "no baseline",
    Rule.RECOVERY,
    UNKNOWN,
    None,
    "no baseline was measured; the recovery time cannot be told",
)
def _() -> H:
    builder = _open()
    return builder.set(phases=builder.build().phases[1:])


@known(
    "sparse baseline",
    Rule.RECOVERY,
    UNKNOWN,
    None,
    "the baseline has too few effects per 250 ms window; the recovery time cannot be told",
)
def _() -> H:
    return _open(((3000, 15),), offered=15)


@known("just dense enough", Rule.RECOVERY, PASS, 0.0, "back after 0.00 s")
def _() -> H:
    builder = H().slo(10, 1).fault(2000, 3000).phase(BASELINE, 0, 2000, 32).phase(HEALED, 3000, 6000, 48)
    load(builder, 0, 6000, 16)
    return builder


@known("due later still", Rule.RECOVERY, FAIL, 6.0, "back after 6.00 s, when everything was done")
def _() -> H:
    builder = _open(((3000, 180),), ended=3250).phase(DRAIN, 3250, 9000)
    return builder.ack(650, at=3260, due=9_000).attempt(650, 3270).effect(650, 3280)


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


@known(
    "not back, recorded exactly as long as the limit",
    Rule.RECOVERY,
    FAIL,
    None,
    "not back within the 3.00 s recorded after the heal",
    expression="back at 95 % of baseline within 3 s",
)
def _() -> H:
    return _open(((3000, 150),), limit=3)


@known("back although sends were dropped", Rule.RECOVERY, PASS, 0.0, "back after 0.00 s", others=(Rule.THROUGHPUT,))
def _() -> H:
    builder = _open()
    return builder.set(dropped_sends=50).planned(builder.build().planned + 50)


@known(
    "no fault was injected",
    Rule.RECOVERY,
    UNKNOWN,
    None,
    "no fault is proven to have bitten; the recovery time cannot be told",
    others=(Rule.FAULTS,),
)
def _() -> H:
    return _open().set(faults=())


@known("warm-up is left out", Rule.THROUGHPUT, PASS, 400.0, "baseline 400.0/s >= 300.0/s", expression=_DRAINED)
def _() -> H:
    builder = _drain(until=4000, lost=40)
    for op in range(40):
        builder.attempt(op, 1000 + op, 1001 + op).effect(op, 1000 + op)
    return builder
