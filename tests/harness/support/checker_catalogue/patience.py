"""Known histories: loads whose tasks fail by plan, judged by completion less the waits that the subject claims."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from checker_histories import HistoryBuilder, ns
from checker_known import FAIL, PASS, known

from taskchaos.harness.contract import PhaseName
from taskchaos.harness.record.verdict import Rule

H = HistoryBuilder
BASELINE, HEALED = PhaseName.BASELINE, PhaseName.HEALED
BY_COMPLETION = ", by completion, less the waits that the subject claims"
FROM_FIRST = ", from its first effect on"


def _failing(
    done: Callable[[int, float], float],
    *,
    failures: Sequence[int] = (1,),
    wait: float = 4000,
    target: float = 8,
    never: int = 0,
    operations: int = 40,
    step: float = 50,
) -> H:
    """20 operations a second are due over 2 s from 1000 on, and take effect when `done` says.

    failures: of the operations in turn. never: so many of the first take no effect.
    """
    builder = H().slo(target).phase(BASELINE, 1000, 3000, 40)
    for op in range(operations):
        due = 1000 + op * step
        builder.ack(op, at=due)
        if op >= never:
            at = done(op, due)
            builder.attempt(op, at - 1, at).effect(op, at)
    planned = bytes(failures[op % len(failures)] for op in range(operations))
    return builder.set(failures=planned, longest_wait_ns=ns(wait))


def _four_slots(op: int, due: float) -> float:
    """Four slots that sleep for a second in each task."""
    return 2000 + 250 * op


def _after(ms: float) -> Callable[[int, float], float]:
    return lambda op, due: due + ms


_EXPRESSION = "effects/s >= 8, or 95 % of the offered rate"

for _name, _build, _tps, _judged in (
    # 38 of 40 were done 10.25 s after the phase began; 4 of these they may wait.
    ("sleeps in its slots", lambda: _failing(_four_slots), 6.08, True),
    ("patient", lambda: _failing(_after(5900), wait=6000), 20.0, True),
    ("all at the end of its wait", lambda: _failing(lambda op, due: 8999, wait=6000), 19.01, True),
    ("twice its wait", lambda: _failing(_after(7900), failures=(2,)), 20.0, True),
    ("a bit longer than it claims", lambda: _failing(_after(4000 + 2000)), 9.870, True),
    ("far longer than it claims", lambda: _failing(_after(4000 + 3000)), 7.835, True),
    ("exactly as fast as it has to be", lambda: _failing(lambda op, due: 9750), 8.0, True),
    ("the slowest two are left out", lambda: _failing(lambda op, due: 90_000 if op < 2 else 2000), 20.0, True),
    ("a third slow one is not", lambda: _failing(lambda op, due: 9800 if op < 3 else 2000), 7.917, True),
    (
        "5 % of 50 are two",
        lambda: _failing(lambda op, due: 9800 if op < 3 else 2000, operations=50, step=40),
        10.0,
        True,
    ),
    (
        "due at the end of the phase",
        lambda: _failing(lambda op, due: 90_000 if op in (0, 1, 40) else 2000, operations=41),
        20.0,
        True,
    ),
    ("nothing done", lambda: _failing(_after(0), never=40).ack(40, at=0).attempt(40).effect(40), 0.0, True),
    ("half of it done", lambda: _failing(_after(1000), never=20), 10.0, True),
    ("quick", lambda: _failing(_after(10)), 20.0, True),
    # Who may not wait has no excuse, though others have.
    ("holds up those that do not fail", lambda: _failing(_four_slots, failures=(1, 0, 0)), 3.897, True),
    (
        "holds up only those that fail",
        lambda: _failing(lambda op, due: due + (4000 if op % 3 == 0 else 10), failures=(1, 0, 0)),
        20.0,
        True,
    ),
    ("none of them fails", lambda: _failing(_four_slots, failures=(0,)), 3.0, False),
    ("no wait is claimed", lambda: _failing(_four_slots, wait=0), 3.0, False),
    ("nothing is known of failures", lambda: _failing(_four_slots).set(failures=b""), 3.0, False),
):
    _kept = _tps >= 8
    _how = BY_COMPLETION if _judged else FROM_FIRST if _tps == 3 else ""

    @known(
        f"failing tasks: {_name}",
        Rule.THROUGHPUT,
        PASS if _kept else FAIL,
        _tps,
        f"baseline {_tps:.1f}/s {'>=' if _kept else '<'} 8.0/s{_how}",
        expression=_EXPRESSION,
        others=(Rule.LOST,),
    )
    def _(build: Callable[[], H] = _build) -> H:
        return build()


def _two_phases() -> H:
    """What is due in the baseline fails once; what is due in the healed phase, from 3000 on, does not."""
    builder = _failing(_after(2000), operations=80).phase(HEALED, 3000, 5000, 40)
    return builder.set(failures=bytes([1] * 40 + [0] * 40))


@known(
    "failing tasks: each phase by itself",
    Rule.THROUGHPUT,
    PASS,
    20.0,
    f"baseline 20.0/s >= 8.0/s{BY_COMPLETION}; healed 20.0/s >= 8.0/s",
    expression=_EXPRESSION,
)
def _() -> H:
    return _two_phases()
