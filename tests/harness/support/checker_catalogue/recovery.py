"""Known histories: how long it takes to be back at speed."""

from __future__ import annotations

from checker_histories import load, ns
from checker_known import FAIL, NOT_CLAIMED, PASS, UNKNOWN, known
from checker_loads import BASELINE, DRAIN, HEALED, PREFILL, H, open_load

from taskchaos.harness.record.history import Phase
from taskchaos.harness.record.verdict import Rule

# ---------------------------------------------------------------- recovery


@known("back at once", Rule.RECOVERY, PASS, 0.0, "back after 0.00 s")
def _() -> H:
    return open_load()


@known("back at the limit", Rule.RECOVERY, PASS, 1.0, "back after 1.00 s")
def _() -> H:
    return open_load(((3000, 100), (3500, 200), (3750, 100), (4000, 200)))


@known("back too late", Rule.RECOVERY, FAIL, 1.25, "back after 1.25 s")
def _() -> H:
    return open_load(((3000, 180), (4250, 200)))


@known("counted from the last heal", Rule.RECOVERY, PASS, 0.25, "back after 0.25 s")
def _() -> H:
    return open_load(((3000, 100), (4250, 200))).fault(3100, 4000).fault(1000, 1500)


@known("never back", Rule.RECOVERY, FAIL, None, "not back within the 3.00 s recorded after the heal")
def _() -> H:
    return open_load(((3000, 150),))


@known(
    "never back, as far as can be read",
    Rule.RECOVERY,
    UNKNOWN,
    None,
    "not back within the 3.00 s recorded after the heal, unless effects are among the 1 torn record; "
    "see why the ledger was cut",
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return open_load(((3000, 150),)).set(torn_records=1)


@known("back, whatever cannot be read", Rule.RECOVERY, PASS, 0.0, "back after 0.00 s", others=(Rule.EVIDENCE,))
def _() -> H:
    return open_load(((3000, 192),)).set(torn_records=1)


@known("back at 95 %", Rule.RECOVERY, PASS, 0.0, "back after 0.00 s")
def _() -> H:
    return open_load(((3000, 192),))


_LONGER = "make the healed phase longer than 1 s"


@known(
    "record too short", Rule.RECOVERY, UNKNOWN, None, f"not back within the 0.90 s recorded after the heal; {_LONGER}"
)
def _() -> H:
    return open_load(((3000, 150),), ended=3900)


@known(
    "record ends in good windows",
    Rule.RECOVERY,
    UNKNOWN,
    None,
    f"not back within the 1.50 s recorded after the heal; {_LONGER}",
)
def _() -> H:
    return open_load(((3000, 150), (4000, 200)), ended=4500)


@known("drain phase counts", Rule.RECOVERY, FAIL, None, "not back within the 3.00 s recorded after the heal")
def _() -> H:
    builder = open_load(((3000, 150),))
    phases = builder.build().phases
    return builder.set(phases=(*phases[:2], Phase(HEALED, ns(3000), ns(3900), 180), Phase(DRAIN, ns(3900), ns(6000))))


@known("everything done", Rule.RECOVERY, PASS, 0.75, "back after 0.75 s, when everything was done")
def _() -> H:
    return open_load(((3000, 180),), ended=3250).phase(DRAIN, 3250, 9000)


@known(
    "something left to do",
    Rule.RECOVERY,
    FAIL,
    None,
    "not back within the 6.00 s recorded after the heal",
    others=(Rule.LOST,),
)
def _() -> H:
    return open_load(((3000, 180),), ended=3250).phase(DRAIN, 3250, 9000).ack(650, at=3249)


@known(
    "slow because little was sent",
    Rule.RECOVERY,
    UNKNOWN,
    None,
    "not back within the 3.00 s recorded after the heal, but the load generator was late: 0 late and 150 dropped "
    "of 600 sends",
    others=(Rule.THROUGHPUT, Rule.EVIDENCE),
)
def _() -> H:
    return open_load(((3000, 150),)).drop(*range(1200, 1350), due=3500)


@known("no limit", Rule.RECOVERY, NOT_CLAIMED, 0.0, "no limit set", expression="no limit")
def _() -> H:
    return open_load(limit=None)


@known("no fault", Rule.RECOVERY, NOT_CLAIMED, None, "no fault to recover from", expression="no limit")
def _() -> H:
    return open_load().set(faults=(), planned_faults=0)


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
        return open_load().set(faults=(), planned_faults=0).fault(2000, **{"until": 3000, **change})


@known(
    "no baseline",
    Rule.RECOVERY,
    UNKNOWN,
    None,
    "no baseline was measured; the recovery time cannot be told",
)
def _() -> H:
    builder = open_load()
    return builder.set(phases=builder.build().phases[1:])


@known(
    "sparse baseline",
    Rule.RECOVERY,
    UNKNOWN,
    None,
    "the baseline has too few effects per 250 ms window; the recovery time cannot be told",
)
def _() -> H:
    return open_load(((3000, 15),), offered=15)


@known("just dense enough", Rule.RECOVERY, PASS, 0.0, "back after 0.00 s")
def _() -> H:
    builder = H().slo(10, 1).fault(2000, 3000).phase(BASELINE, 0, 2000, 32).phase(HEALED, 3000, 6000, 48)
    load(builder, 0, 6000, 16)
    return builder


@known("due later still", Rule.RECOVERY, FAIL, 6.0, "back after 6.00 s, when everything was done")
def _() -> H:
    builder = open_load(((3000, 180),), ended=3250).phase(DRAIN, 3250, 9000)
    return builder.ack(650, at=3260, due=9_000).attempt(650, 3270).effect(650, 3280)


@known(
    "not back, recorded exactly as long as the limit",
    Rule.RECOVERY,
    FAIL,
    None,
    "not back within the 3.00 s recorded after the heal",
    expression="back at 95 % of baseline within 3 s",
)
def _() -> H:
    return open_load(((3000, 150),), limit=3)


@known(
    "back although sends were dropped",
    Rule.RECOVERY,
    PASS,
    0.0,
    "back after 0.00 s",
    others=(Rule.THROUGHPUT, Rule.EVIDENCE),
)
def _() -> H:
    return open_load().drop(*range(1200, 1250), due=3500)


@known(
    "no fault was injected",
    Rule.RECOVERY,
    UNKNOWN,
    None,
    "no fault is proven to have bitten; the recovery time cannot be told",
    others=(Rule.FAULTS,),
)
def _() -> H:
    return open_load().set(faults=())


@known(
    "counted from the last heal, proven or not",
    Rule.RECOVERY,
    PASS,
    0.25,
    "back after 0.25 s",
    others=(Rule.FAULTS,),
)
def _() -> H:
    return open_load(((3000, 100), (4250, 200))).fault(3100, 4000, proven=False)


@known(
    "a fault without evidence was never healed",
    Rule.RECOVERY,
    UNKNOWN,
    None,
    "a fault was never healed; the recovery time cannot be told",
    others=(Rule.FAULTS,),
)
def _() -> H:
    return open_load().fault(3100, -1, proven=False)


@known("what nothing uses is not waited for", Rule.RECOVERY, PASS, 0.75, "back after 0.75 s")
def _() -> H:
    return open_load(((3000, 100), (3750, 200))).fault(3100, 4000, proven=False, unused=True)


@known(
    "a fault that was not injected ended nothing",
    Rule.RECOVERY,
    PASS,
    0.75,
    "back after 0.75 s",
    others=(Rule.FAULTS,),
)
def _() -> H:
    return open_load(((3000, 100), (3750, 200))).fault(-1, 4000)


@known("exactly as many effects as needed", Rule.RECOVERY, PASS, 0.0, "back after 0.00 s")
def _() -> H:
    return open_load(((3000, 188),))


@known("three good windows and no more", Rule.RECOVERY, PASS, 0.5, "back after 0.50 s", others=(Rule.THROUGHPUT,))
def _() -> H:
    return open_load(((3000, 100), (3500, 200), (4250, 50)))


@known(
    "good windows at the end, but too late",
    Rule.RECOVERY,
    FAIL,
    None,
    "not back within the 3.00 s recorded after the heal",
)
def _() -> H:
    return open_load(((3000, 150), (5500, 200)))


@known(
    "slow because little was offered",
    Rule.RECOVERY,
    UNKNOWN,
    None,
    "not back within the 3.00 s recorded after the heal, but the load generator was late: 0 late, 0 dropped and "
    "150 never offered of 600 sends",
    others=(Rule.THROUGHPUT, Rule.EVIDENCE),
)
def _() -> H:
    return open_load(((3000, 150),)).planned(1350)


@known(
    "the last one comes late",
    Rule.RECOVERY,
    FAIL,
    2.0,
    "back after 2.00 s, when everything was done",
)
def _() -> H:
    builder = open_load(((3000, 180),), ended=3250).phase(DRAIN, 3250, 9000)
    return builder.ack(650, at=3249).attempt(650, 5000).effect(650, 5000)


def _quiet(ended: float) -> H:
    """A baseline until 2000, when the only fault was healed; the record ends when it is said to."""
    builder = H().slo(None, 1).fault(1900, 2000).phase(BASELINE, 0, 2000, 400).phase(HEALED, 2000, ended)
    load(builder, 0, 2000, 200)
    return builder


@known(
    "everything was done with a window, which the record does not reach",
    Rule.RECOVERY,
    UNKNOWN,
    None,
    f"not back within the 0.90 s recorded after the heal; {_LONGER}",
)
def _() -> H:
    return _quiet(2900).ack(400, at=1999).attempt(400, 3000).effect(400, 3000)


@known("back, and everything done with the last window", Rule.RECOVERY, PASS, 0.0, "back after 0.00 s")
def _() -> H:
    builder = _quiet(2750)
    load(builder, 2000, 2750, 200, first_op=400)
    return builder


@known(
    "slow after the heal, drained, though not all was offered",
    Rule.RECOVERY,
    FAIL,
    None,
    "not back within the 3.00 s recorded after the heal",
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    builder = H().slo(None, 1).fault(3000, 3500).phase(PREFILL, 0, 1000).phase(BASELINE, 1000, 3000)
    builder.phase(HEALED, 3500, 6500)
    for op in range(1000):
        at = 1000 + op * 2.5 if op < 800 else 3500 + (op - 800) * 20
        builder.ack(op, at=op / 10, due=0).attempt(op, at, at + 1).effect(op, at)
    return builder.planned(1100)
