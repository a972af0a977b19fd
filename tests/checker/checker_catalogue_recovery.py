"""Known histories: how long it takes to be back at speed."""

from __future__ import annotations

from checker_histories import load, ns
from checker_known import FAIL, NOT_CLAIMED, PASS, UNKNOWN, known
from checker_loads import BASELINE, DRAIN, HEALED, H, open_load

from harness.history import Phase
from harness.verdict import Rule

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
    others=(Rule.THROUGHPUT,),
)
def _() -> H:
    builder = open_load(((3000, 150),))
    return builder.set(dropped_sends=150).planned(builder.build().planned + 150)


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


@known("back although sends were dropped", Rule.RECOVERY, PASS, 0.0, "back after 0.00 s", others=(Rule.THROUGHPUT,))
def _() -> H:
    builder = open_load()
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
    return open_load().set(faults=())
