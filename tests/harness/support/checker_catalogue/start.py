"""Known histories: open loads whose subject takes its time to get going."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from checker_histories import HistoryBuilder
from checker_known import FAIL, PASS, UNKNOWN, known

from taskchaos.harness.contract import PhaseName
from taskchaos.harness.record.verdict import Rule

H = HistoryBuilder
BASELINE, FAULT, HEALED, PREFILL = PhaseName.BASELINE, PhaseName.FAULT, PhaseName.HEALED, PhaseName.PREFILL
FROM_FIRST = ", from its first effect on"


def _load(effects: Iterable[float], phase: PhaseName = BASELINE) -> H:
    """20 operations a second are due over a second from 1000 on, 10 effects a second are demanded."""
    builder = H().slo(10, phases=frozenset({phase})).phase(phase, 1000, 2000, 20)
    for op, at in enumerate(effects):
        builder.ack(op, at=1000 + op * 50).attempt(op, at - 1, at).effect(op, at)
    return builder


def _waves(first: float, *, of: int = 4, every: float = 200, count: int = 20) -> list[float]:
    """Slots that take as long as each other."""
    return [first + op // of * every for op in range(count)]


def _few(*effects: float) -> list[float]:
    """These in time, all others after the phase."""
    return [*effects, *(2100.0 for _ in range(20 - len(effects)))]


for _name, _build, _tps, _how in (
    ("enough over the whole phase", lambda: _load(_waves(1450)), 12.0, ""),
    (
        "exactly enough over the whole phase",
        lambda: _load(_few(1500, 1550, 1600, 1650, 1700, 1750, 1800, 1850, 1900, 1950)),
        10.0,
        "",
    ),
    ("as slow from its first effect on", lambda: _load(_few(1500, 1700)), 2.0, ""),
    ("late, then fast enough", lambda: _load(_waves(1600)), 17.5, FROM_FIRST),
    ("late, then too slow", lambda: _load(_few(1500, 1700, 1900)), 4.0, FROM_FIRST),
    ("exactly what is demanded", lambda: _load(_few(1500, 1590, 1680, 1770, 1860, 1950)), 10.0, FROM_FIRST),
    ("late, and measured just so", lambda: _load(_waves(1800, of=9)), 40.0, FROM_FIRST),
    ("too late to be measured", lambda: _load(_waves(1800.001, of=9)), 9.0, ""),
    ("one effect, and no more", lambda: _load(_few(1000)), 1.0, ""),
    ("none", lambda: _load(_few()), 0.0, ""),
    ("a fault phase counts whole", lambda: _load(_waves(1600), FAULT), 8.0, ""),
    ("a healed phase counts whole", lambda: _load(_waves(1600), HEALED), 8.0, ""),
):
    _kept = _tps >= 10
    _phase = _name.split()[1] if "phase counts" in _name else "baseline"

    @known(
        f"getting going: {_name}",
        Rule.THROUGHPUT,
        PASS if _kept else FAIL,
        _tps,
        f"{_phase} {_tps:.1f}/s {'>=' if _kept else '<'} 10.0/s{_how}",
        expression="effects/s >= 10, or 95 % of the offered rate",
    )
    def _(build: Callable[[], H] = _build) -> H:
        return build()


for _torn, _verdict in ((1, FAIL), (2, UNKNOWN)):
    _doubt = ", unless effects are among the 2 torn records; see why the ledger was cut" if _torn == 2 else ""

    @known(
        f"{_torn} torn where two more effects would be enough",
        Rule.THROUGHPUT,
        _verdict,
        8.0,
        f"healed 8.0/s < 10.0/s{_doubt}",
        expression="effects/s >= 10, or 95 % of the offered rate",
        others=(Rule.EVIDENCE,),
    )
    def _(torn: int = _torn) -> H:
        return _load(_waves(1600), HEALED).set(torn_records=torn)


@known(
    "3 torn where four more effects in two seconds would be enough",
    Rule.THROUGHPUT,
    FAIL,
    8.0,
    "healed 8.0/s < 10.0/s",
    expression="effects/s >= 10, or 95 % of the offered rate",
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    builder = H().slo(10, phases=frozenset({HEALED})).phase(HEALED, 1000, 3000, 40)
    for op in range(40):
        at = 1000 + op * 125 if op < 16 else 3100
        builder.ack(op, at=1000 + op * 50).attempt(op, at, at).effect(op, at)
    return builder.set(torn_records=3)


@known(
    "getting going: a drain counts whole",
    Rule.THROUGHPUT,
    FAIL,
    8.0,
    "baseline 8.0/s < 10.0/s",
    expression="effects/s >= 10",
)
def _() -> H:
    return _load(_waves(1600)).phase(PREFILL, 0, 1000)
