"""Known histories: durability, which is what Redis itself forgot; and what stays the subject's loss beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from checker_histories import ALL, HistoryBuilder
from checker_known import FAIL, NOT_CLAIMED, PASS, UNKNOWN, known

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.history import SubmitOutcome
from taskchaos.harness.record.verdict import Rule

H = HistoryBuilder
ACKED = SubmitOutcome.ACKNOWLEDGED
USUAL = replace(ALL, claims=ALL.claims - {Claim.DURABLE})
_NOTE = "its submit was acknowledged, and not yet written through"
_BOUND = "nothing is missing; 95 % bound: at most 95.0 % per fault (1 fault)"
_LAST = "redis_power_loss on redis: the last 0.10 s"
_NOTHING = f"nothing that it had acknowledged is missing ({_LAST})"


def _power_loss(builder: H, forgot: float | None = 100, **how: bool) -> H:
    """At 200, of what was acknowledged from 100 on."""
    return builder.fault(200, 300, kind="redis_power_loss", target="redis", forgot=forgot, **how)


def _acked(at: float) -> H:
    """Operation 0 goes on until the fault is over; 1 is acknowledged at this time and is never seen again."""
    return H().done(0, at=250).submit(1, ACKED, at - 1, done=at)


@known(
    "sent before the end, and its answer noted late",
    Rule.DURABILITY,
    FAIL,
    1,
    f"1 acknowledged task missing that Redis could forget ({_LAST})",
    (1, _NOTE),
)
def _() -> H:
    return _power_loss(H().done(0, at=250).submit(1, ACKED, 200, done=1200))


@known("sent after the end, or answered long after", Rule.DURABILITY, PASS, 0, _NOTHING, others=(Rule.LOST,))
def _() -> H:
    late = H().done(0, at=250).submit(1, ACKED, 200.5, done=201).submit(2, ACKED, 199, done=1200.5)
    return _power_loss(late)


@known("redis forgot nothing", Rule.DURABILITY, PASS, 0, "no fault made Redis forget anything")
def _() -> H:
    return H().done(0).fault(20, 30)


@known(
    "redis could forget, and did not",
    Rule.DURABILITY,
    PASS,
    0,
    _NOTHING,
)
def _() -> H:
    return _power_loss(H().done(0, at=250))


@known(
    "forgotten in the window",
    Rule.DURABILITY,
    FAIL,
    1,
    f"1 acknowledged task missing that Redis could forget ({_LAST})",
    (1, _NOTE),
)
def _() -> H:
    return _power_loss(_acked(150))


@known(
    "forgotten in the window, which nobody claims it is not",
    Rule.DURABILITY,
    NOT_CLAIMED,
    1,
    f"the subject does not claim durable; seen: 1 acknowledged task missing that Redis could forget ({_LAST})",
    contract=USUAL,
)
def _() -> H:
    return _power_loss(_acked(150))


@known(
    "what the window explains is not lost",
    Rule.LOST,
    PASS,
    0,
    _BOUND,
    contract=USUAL,
)
def _() -> H:
    return _power_loss(_acked(150))


def _lost(name: str, build: Callable[[], H], reason: str = "", **more: tuple[Rule, ...]) -> None:
    told = "1 of 2 acknowledged tasks lost, all at the end, behind all that was done"
    known(name, Rule.LOST, FAIL, 1, reason or told, (1, "never delivered, never attempted"), contract=USUAL, **more)(
        build
    )


_lost("acknowledged before the window", lambda: _power_loss(_acked(99.9)))
_lost("sent and acknowledged after it", lambda: _power_loss(_acked(201.5)))
_lost("answered long after it", lambda: _power_loss(H().done(0, at=250).submit(1, ACKED, 199, done=1200.5)))
_lost("forgotten by a fault that forgets nothing", lambda: _power_loss(_acked(150), forgot=None))
_lost(
    "acknowledged before the window, and again in it",
    lambda: _power_loss(_acked(99.9).submit(1, ACKED, 149, done=150)),
)


_lost(
    "raised in the window, and acknowledged after it",
    lambda: _power_loss(_acked(350).submit(1, SubmitOutcome.UNKNOWN, 149, done=150)),
)


@known(
    "at the begin of the window",
    Rule.LOST,
    PASS,
    0,
    _BOUND,
    contract=USUAL,
)
def _() -> H:
    return _power_loss(_acked(100))


@known(
    "at its end",
    Rule.LOST,
    PASS,
    0,
    _BOUND,
    contract=USUAL,
)
def _() -> H:
    return _power_loss(_acked(200))


@known(
    "a memory that nobody saw go explains nothing for sure",
    Rule.LOST,
    UNKNOWN,
    1,
    "1 of 2 acknowledged tasks lost, all at the end, behind all that was done, unless redis_power_loss on redis "
    "explains it, of which there is no evidence",
    (1, "never delivered, never attempted"),
    others=(Rule.FAULTS,),
    contract=USUAL,
)
def _() -> H:
    return _power_loss(_acked(150), proven=False)


@known(
    "forgotten by the first of two",
    Rule.DURABILITY,
    FAIL,
    1,
    f"1 acknowledged task missing that Redis could forget ({_LAST}; {_LAST})",
    (1, _NOTE),
)
def _() -> H:
    return _power_loss(_acked(150).done(2, at=2050)).fault(
        2000, 2100, kind="redis_power_loss", target="redis", forgot=1900
    )


@known(
    "all that it held",
    Rule.DURABILITY,
    FAIL,
    1,
    "1 acknowledged task missing that Redis could forget (redis_empty on redis: all that it held)",
    (1, _NOTE),
)
def _() -> H:
    return _acked(20).fault(200, 300, kind="redis_empty", target="redis", forgot=0)


@known(
    "forgotten, and still in a dead letter",
    Rule.DURABILITY,
    PASS,
    0,
    _NOTHING,
    others=(Rule.DEAD_LETTER,),
)
def _() -> H:
    return _power_loss(_acked(150)).final(dead=frozenset({1}))


@known(
    "forgotten, while things move",
    Rule.DURABILITY,
    UNKNOWN,
    1,
    f"1 acknowledged task missing that Redis could forget ({_LAST}), but things still moved; drain for longer",
    (1, _NOTE),
    others=(Rule.CONVERGED, Rule.STUCK, Rule.LEAK, Rule.LOST),
)
def _() -> H:
    return _power_loss(_acked(150)).not_converged(quiet=False)


@known(
    "a submit that was not answered was not acknowledged",
    Rule.DURABILITY,
    PASS,
    0,
    _NOTHING,
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return _power_loss(
        H().done(0, at=250).submit(1, SubmitOutcome.UNKNOWN, at=150, done=151).submit(2, SubmitOutcome.PENDING, at=199)
    )


@known(
    "acknowledged while it goes on forgetting",
    Rule.LOST,
    PASS,
    0,
    _BOUND,
    contract=USUAL,
)
def _() -> H:
    return _acked(290).fault(200, 300, kind="redis_evicting", target="redis", forgot=0)


@known(
    "acknowledged when it forgets no more",
    Rule.LOST,
    FAIL,
    1,
    "1 of 2 acknowledged tasks lost, all at the end, behind all that was done",
    (1, "never delivered, never attempted"),
    contract=USUAL,
)
def _() -> H:
    return _acked(301.5).fault(200, 300, kind="redis_evicting", target="redis", forgot=0)
