"""Open loads with figures of their own, for the rules about figures."""

from __future__ import annotations

from dataclasses import replace

from checker_histories import ALL, HistoryBuilder, ns

from taskchaos.harness.contract import Claim, PhaseName
from taskchaos.harness.record.history import Phase

H = HistoryBuilder
PREFILL, BASELINE, FAULT = PhaseName.PREFILL, PhaseName.BASELINE, PhaseName.FAULT
HEALED, DRAIN = PhaseName.HEALED, PhaseName.DRAIN
NO_PACE = replace(ALL, claims=ALL.claims - {Claim.THROUGHPUT}, max_attempts=4)


def spans(*spans: tuple[float, float]) -> tuple[Phase, ...]:
    return tuple(Phase(name, ns(a), ns(b)) for name, (a, b) in zip((BASELINE, FAULT, HEALED), spans, strict=True))


def open_load(
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
