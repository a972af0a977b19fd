"""Known histories: a fault ended a producer, which was started again. What that explains, and what it does not."""

from __future__ import annotations

from collections.abc import Callable

from checker_histories import HistoryBuilder
from checker_known import PASS, UNKNOWN, known

from taskchaos.harness.record.history import NEVER, SubmitOutcome
from taskchaos.harness.record.verdict import Rule

H = HistoryBuilder
PENDING, UNSURE, REFUSED = SubmitOutcome.PENDING, SubmitOutcome.UNKNOWN, SubmitOutcome.REFUSED
KILLED, BACK = 5000, 6000
_PID = 7
_DROPPED = "dropped: the load was too late, free the machine"
_HUNG, _RAISED = "never answered: submit() did not return", "left unknown: submit() raised"


def _killed(builder: H, target: str = "producer-1", **more: bool) -> H:
    """Beside what the test is about, something was in flight meanwhile."""
    builder.ack(0, at=KILLED - 1).attempt(0, BACK + 1).effect(0, BACK + 2)
    return builder.fault(KILLED, BACK, kind="kill_producer", target=target, kills=(_PID,), **more)


def _dropped(due: float) -> H:
    return H().drop(1, due=due)


def _begun(outcome: SubmitOutcome, at: float, done: float | None = None) -> H:
    return H().submit(1, outcome, at, done=done)


def _left_out() -> H:
    return _killed(H().done(1).ack(3, at=BACK + 9).attempt(3, BACK + 10).effect(3, BACK + 11)).planned(4)


for _name, _build, _why in (
    ("dropped what fell due with it", lambda: _killed(_dropped(KILLED)), ""),
    ("dropped what fell due meanwhile", lambda: _killed(_dropped(KILLED + 500)), ""),
    ("dropped what fell due until it was back", lambda: _killed(_dropped(BACK)), ""),
    ("dropped what fell due when it was back", lambda: _killed(_dropped(BACK + 0.1)), _DROPPED),
    ("dropped what it was not late with yet", lambda: _killed(_dropped(KILLED - 100)), ""),
    ("dropped what it was late with before", lambda: _killed(_dropped(KILLED - 100.1)), _DROPPED),
    ("never heard of what it submitted", lambda: _killed(_begun(PENDING, KILLED - 1)), ""),
    ("never heard of what hung before", lambda: _killed(_begun(PENDING, KILLED - 1000.1)), _HUNG),
    ("hangs when it is back", lambda: _killed(_begun(PENDING, BACK + 0.1)), _HUNG),
    ("raised before", lambda: _killed(_begun(UNSURE, KILLED - 10, KILLED - 9)), _RAISED),
    ("raises when it is back", lambda: _killed(_begun(UNSURE, BACK + 0.1)), _RAISED),
    ("is refused when it is back", lambda: _killed(_begun(REFUSED, BACK + 0.1)), "refused"),
    ("was another", lambda: _killed(_dropped(KILLED), "producer-2"), _DROPPED),
    ("may have lived", lambda: _killed(_dropped(KILLED), proven=False), _DROPPED),
    ("was replaced", lambda: _killed(_dropped(KILLED), held=False), _DROPPED),
    ("left out what fell due meanwhile", _left_out, "never offered"),
):
    _missing = 2 if _why == "never offered" else 1
    _submitted = len(set(_build().build().submits.op))

    @known(
        f"a producer that was killed {_name}",
        Rule.EVIDENCE,
        UNKNOWN if _why else PASS,
        1 if _why else 0,
        f"1 task {_why}"
        if _why
        else f"{_submitted} task{'' if _submitted == 1 else 's'} submitted, records whole; "
        "1 not acknowledged because of faults",
        *([(_missing, _why)] if _why else []),
        others=(Rule.FAULTS,),
    )
    def _(build: Callable[[], H] = _build) -> H:
        return build()


@known(
    "a producer that was killed did not go through its part",
    Rule.EVIDENCE,
    UNKNOWN,
    1,
    "producer-1 did not go through its part of the plan",
)
def _() -> H:
    return _killed(H().set(finished=frozenset()))


@known(
    "a producer that was killed, and a fault of its link, did not go through its part",
    Rule.EVIDENCE,
    PASS,
    0,
    "1 task submitted, records whole",
)
def _() -> H:
    return _killed(H().set(finished=frozenset())).fault(KILLED, BACK, kind="refused", target="producer-1")


@known(
    "a producer that was killed and is not back",
    Rule.EVIDENCE,
    UNKNOWN,
    2,
    "1 task never offered; producer-1 did not go through its part of the plan",
    (1, "never offered"),
    others=(Rule.FAULTS,),
)
def _() -> H:
    builder = H().ack(0, at=KILLED - 1).attempt(0, BACK).effect(0, BACK + 1).planned(2).set(finished=frozenset())
    return builder.fault(KILLED, NEVER, healed=False, kind="kill_producer", target="producer-1", kills=(_PID,))


@known(
    "left unknown after a fault ended the server's process",
    Rule.EVIDENCE,
    PASS,
    0,
    "3 tasks submitted, records whole; 1 not acknowledged because of faults",
)
def _() -> H:
    """Its links are those of everybody, and it is not known when they are up again."""
    builder = _killed(H(), "redis").planned(3)
    return builder.submit(1, UNSURE, BACK + 900).ack(2, at=BACK + 901).attempt(2, BACK + 902).effect(2, BACK + 903)
