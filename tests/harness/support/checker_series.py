"""Histories for the series of charts, with their windows."""

from __future__ import annotations

from checker_histories import HistoryBuilder, ns

from taskchaos.harness.contract import PhaseName
from taskchaos.harness.record.history import History, Redrive

BASELINE, HEALED = PhaseName.BASELINE, PhaseName.HEALED


def cut() -> History:
    """Two operations in the baseline from 1000 to 2100, one at its end; a fourth long before, a fifth never sent."""
    builder = HistoryBuilder().phase(BASELINE, 1000, 2100).ack(0, at=1000, due=990).effect(0, 1010)
    builder.ack(1, at=1400).effect(1, 1500).effect(1, 1600).ack(2, at=1600).effect(2, 2050).effect(7, 1100)
    return builder.ack(3, at=900).effect(3, 950).ack(2, at=2200).build()


def late() -> History:
    """Its only effect comes long after its phase."""
    return HistoryBuilder().phase(BASELINE, 0, 1000).ack(0, at=0).effect(0, 2499).build()


def again() -> History:
    """Operation 1 takes effect when it is run again, after the case."""
    builder = HistoryBuilder().phase(BASELINE, 0, 1000).ack(0, at=0).effect(0, 500)
    return builder.ack(1, at=1).effect(1, 5000).final(redrive=Redrive(1, ns(5000), effect=True)).build()


def edges() -> History:
    """Two phases, the later one first, half a window more than four; things happen at begins, ends and edges."""
    builder = HistoryBuilder().phase(HEALED, 2000, 3250).phase(BASELINE, 1000, 2000)
    for op, at in enumerate((1000, 1499.999, 1500, 2999.999, 3000, 3249.999)):
        builder.ack(op, at=at, due=at).effect(op, at)
    return builder.ack(6, at=3250).ack(7, at=999.999).build()


def rest() -> History:
    """Its last effect is a little more than two windows after its beginning, and something is submitted in the rest."""
    builder = HistoryBuilder().phase(BASELINE, 0, 1000).ack(0, at=0).effect(0, 300)
    return builder.ack(1, at=1050).effect(1, 1100).build()


def smallest() -> History:
    """It lasts three nanoseconds."""
    return HistoryBuilder().phase(BASELINE, 1000, 1000).ack(0, at=1000).effect(0, 1000.000002).build()


def nothing() -> History:
    """A phase of no length, in which nothing happened."""
    return HistoryBuilder().phase(BASELINE, 1000, 1000).ack(0, at=1).build()


#: What is asked of every mutant; a window of nothing is refused.
SERIES = (
    (cut(), 0.5),
    (late(), 1.0),
    (again(), 1.0),
    (edges(), 0.5),
    (rest(), 0.5),
    (smallest(), 4e-10),
    (nothing(), 0.5),
    (HistoryBuilder().done(0).build(), 1.0),
    (late(), 0.0),
    (late(), -1.0),
)
