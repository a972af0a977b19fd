"""Known histories: chords, whose body begins when all members have taken effect, and what else is judged by that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from checker_histories import ALL, AT_LEAST_ONCE, WORKER_2, HistoryBuilder, ns
from checker_known import FAIL, FAILURE, NOT_CLAIMED, PASS, PERMANENT, TRANSIENT, UNKNOWN, known
from checker_loads import BASELINE, open_load

from taskchaos.harness.contract import Claim
from taskchaos.harness.record.history import Redrive
from taskchaos.harness.record.verdict import Rule

H = HistoryBuilder
_ONE = "1 body began, each when all its members had taken effect"
_EARLY = "1 of 1 body began before all members had taken effect"


def _chord(*members: float, body: float | None = None, first: int = 0) -> H:
    """A chord of two whose members, and body, begin at these times, and take effect 5 ms later; the others never do."""
    return _and(H().set(chord_of=2), *members, body=body, first=first)


def _and(builder: H, *members: float, body: float | None = None, first: int = 0) -> H:
    """Another one."""
    for op in range(first, first + 3):
        begin = body if op == first + 2 else members[op - first] if op < first + len(members) else None
        builder = builder.ack(op) if begin is None else builder.done(op, at=begin)
    return builder


# ---------------------------------------------------------------- order


@known("when the last member has", Rule.ORDER, PASS, 0, _ONE)
def _() -> H:
    return _chord(100, 120, body=125)


@known(
    "before a member has",
    Rule.ORDER,
    FAIL,
    1,
    _EARLY,
    (2, "began 0.5 ms before member 0 took effect"),
)
def _() -> H:
    return _chord(120, 100, body=124.5)


@known("before two have", Rule.ORDER, FAIL, 1, _EARLY, (2, "began 25.0 ms before member 1 took effect"))
def _() -> H:
    return _chord(110, 120, body=100)


@known(
    "at its first attempt, and then again",
    Rule.ORDER,
    FAIL,
    1,
    _EARLY,
    (2, "began 5.0 ms before member 1 took effect"),
)
def _() -> H:
    return _chord(100, 120, body=150).attempt(2, 120, 122, TRANSIENT)


@known("members that took effect again later", Rule.ORDER, PASS, 0, _ONE, others=(Rule.DUPLICATE,))
def _() -> H:
    return _chord(100, 120, body=130).attempt(1, 140).effect(1, 145)


@known(
    "another chord's members are no matter",
    Rule.ORDER,
    FAIL,
    1,
    "1 of 2 bodies began before all members had taken effect",
    (5, "began 15.0 ms before member 4 took effect"),
)
def _() -> H:
    return _and(_chord(100, 200, body=210), 100, 120, body=110, first=3)


@known(
    "a member never has",
    Rule.ORDER,
    FAIL,
    1,
    _EARLY,
    (2, "began although member 1 never took effect"),
    others=(Rule.LOST,),
)
def _() -> H:
    return _chord(100, body=130)


@known(
    "so much is torn",
    Rule.ORDER,
    UNKNOWN,
    1,
    f"{_EARLY}, unless their effects are among the 1 torn record; see why the ledger was cut",
    (2, "began 5.0 ms before member 1 took effect"),
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return _chord(100, 120, body=120).set(torn_records=1)


@known(
    "more of them than are torn",
    Rule.ORDER,
    FAIL,
    2,
    "2 of 2 bodies began before all members had taken effect",
    (2, "began 5.0 ms before member 1 took effect"),
    (5, "began 5.0 ms before member 4 took effect"),
    others=(Rule.EVIDENCE,),
)
def _() -> H:
    return _and(_chord(100, 120, body=120), 100, 120, body=120, first=3).set(torn_records=1)


def _failed(builder: H, op: int = 1) -> H:
    """A member fails for good, as planned, and is said to have."""
    return builder.set(permanent=frozenset({op})).attempt(op, 100, 110, PERMANENT).said(op, FAILURE)


@known(
    "called off",
    Rule.ORDER,
    PASS,
    0,
    "0 bodies began, each when all its members had taken effect; 1 did not, because a member failed for good",
)
def _() -> H:
    return _failed(_chord(100))


@known(
    "not called off",
    Rule.ORDER,
    FAIL,
    1,
    _EARLY,
    (2, "began although member 1 failed for good"),
)
def _() -> H:
    return _failed(_chord(100, body=130))


@known("called off beside one that began", Rule.ORDER, PASS, 0, f"{_ONE}; 1 did not, because a member failed for good")
def _() -> H:
    return _failed(_and(_chord(100, 120, body=130), 100, first=3), op=4)


@known("a body that failed for good itself", Rule.ORDER, PASS, 0, _ONE)
def _() -> H:
    builder = _chord(100, 120).set(permanent=frozenset({2}))
    return builder.attempt(2, 130, 140, PERMANENT).said(2, FAILURE)


_NONE = "no body of a chord began: see what became of their members"


@known("none began", Rule.ORDER, UNKNOWN, 0, _NONE, others=(Rule.LOST,))
def _() -> H:
    return _chord(100, 120)


@known("none could begin", Rule.ORDER, UNKNOWN, 0, _NONE, others=(Rule.LOST,))
def _() -> H:
    return _chord(100)


@known("a member failed, and took effect", Rule.ORDER, UNKNOWN, 0, _NONE, others=(Rule.FALSE_FAILURE, Rule.LOST))
def _() -> H:
    return _chord(100, 120).set(permanent=frozenset({1})).final(dead=frozenset({1}))


@known("no chords", Rule.ORDER, NOT_CLAIMED, None, "the case has no chords")
def _() -> H:
    return H().done(0, 1, 2)


@known(
    "who does not claim it",
    Rule.ORDER,
    NOT_CLAIMED,
    1,
    f"the subject does not claim order; seen: {_EARLY}",
    contract=replace(ALL, claims=ALL.claims - {Claim.ORDER}),
)
def _() -> H:
    return _chord(100, 120, body=110)


@known(
    "begun by a member that was run again after the case",
    Rule.ORDER,
    PASS,
    0,
    "0 bodies began, each when all its members had taken effect; 1 did not, because a member failed for good",
)
def _() -> H:
    builder = _failed(_chord(100)).final(dead=frozenset({1}), redrive=Redrive(1, ns(20_000), True))
    return builder.attempt(1, 20_000).effect(1, 20_005).attempt(2, 20_020).effect(2, 20_025)


@known(
    "the last of another chord, when a member was run again",
    Rule.ORDER,
    FAIL,
    1,
    _EARLY,
    (5, "began 10.0 ms before member 4 took effect"),
    others=(Rule.DURATION,),
)
def _() -> H:
    builder = _failed(_and(_chord(100), 100, 20_025, body=20_020, first=3), op=1)
    return builder.final(dead=frozenset({1}), redrive=Redrive(1, ns(20_000), True))


# ---------------------------------------------------------------- what became of bodies

_BOUND = "nothing is missing; no fault bit, so this gives no bound"


@known(
    "a body that never came",
    Rule.LOST,
    FAIL,
    1,
    "1 of 3 acknowledged tasks lost, all at the end, behind all that was done",
    (2, "never delivered, never attempted, though it is the body of a chord whose members all took effect"),
    others=(Rule.ORDER,),
)
def _() -> H:
    return _chord(100, 120)


_ELSE = "1 of 3 acknowledged tasks lost, all at the end, behind all that was done"


@known(
    "a body that came", Rule.LOST, FAIL, 1, _ELSE, (2, "delivered to worker-1, never attempted"), others=(Rule.ORDER,)
)
def _() -> H:
    return _chord(100, 120).deliver(2, 130)


@known("a body that began", Rule.LOST, FAIL, 1, _ELSE, (2, "attempt at worker-1 ended transient"))
def _() -> H:
    return _chord(100, 120).attempt(2, 130, outcome=TRANSIENT)


@known(
    "a member, for which the body waits",
    Rule.LOST,
    FAIL,
    1,
    "1 of 6 acknowledged tasks lost, none at the end, so not merely slow",
    (1, "never delivered, never attempted"),
)
def _() -> H:
    return _and(_chord(100), 100, 120, body=130, first=3)


@known("a body that was called off", Rule.LOST, PASS, 0, _BOUND)
def _() -> H:
    return _failed(_chord(100))


@known(
    "a body that was called off ends no process",
    Rule.EVIDENCE,
    PASS,
    0,
    "3 tasks submitted, records whole",
)
def _() -> H:
    return _failed(_chord(100)).set(poison=frozenset({2}))


@known(
    "a body that was not called off and ended no process",
    Rule.EVIDENCE,
    UNKNOWN,
    1,
    "1 task had to end a process and never did: see that bodies run as planned",
)
def _() -> H:
    return _chord(100, 120, body=130).set(poison=frozenset({2}))


@known("a body that was called off, beside one that ran", Rule.LOST, PASS, 0, _BOUND)
def _() -> H:
    return _failed(_and(_chord(100, 120, body=130), 100, first=3), op=4)


@known(
    "of what is called off, nothing is in flight",
    Rule.FAULTS,
    UNKNOWN,
    0,
    "worker_kill on worker-1: no task was in flight; see the fault log",
    (None, "worker_kill on worker-1: no task was in flight"),
)
def _() -> H:
    return _failed(_chord(100)).fault(111, 120)


# ---------------------------------------------------------------- sent twice by who had a member

_EXPLAINED = "0 tasks took effect more than once unexplained; 1 explained by faults or unsure submits"
_ALONE = "1 task took effect more than once without a fault to explain it; 0 explained by faults or unsure submits"


def _twice(fault_at: float, target: str = "worker-1") -> H:
    """Both members run at worker-1, the body at worker-2, twice."""
    builder = H().set(chord_of=2).done(0, 1, at=100).ack(2)
    for at in (130, 140):
        builder = builder.deliver(2, at - 1, WORKER_2).attempt(2, at, role=WORKER_2).effect(2, at + 5)
    return builder.fault(fault_at, fault_at + 2, target=target)


for _name, _outcome, _observed, _reason, _build, _samples in (
    ("at a member's worker", PASS, 0, _EXPLAINED, lambda: _twice(110), ()),
    ("before its members came", FAIL, 1, _ALONE, lambda: _twice(90), ((2, "2 effects within 10 ms"),)),
    ("elsewhere", FAIL, 1, _ALONE, lambda: _twice(110, "worker-2"), ((2, "2 effects within 10 ms"),)),
    ("as it took effect", PASS, 0, _EXPLAINED, lambda: _twice(145), ()),
    ("after its effects", FAIL, 1, _ALONE, lambda: _twice(146), ((2, "2 effects within 10 ms"),)),
):

    @known(
        f"a body, by a fault {_name}",
        Rule.DUPLICATE,
        _outcome,
        _observed,
        _reason,
        *_samples,
        expression="unexplained duplicates = 0",
        contract=AT_LEAST_ONCE,
        others=(Rule.FAULTS, Rule.OVERLAP),
    )
    def _(build: Callable[[], H] = _build) -> H:
        return build()


# ---------------------------------------------------------------- how long bodies wait


def _told(over: int, longest: float) -> str:
    return f"{over} task{'s' * (over != 1)} waited for longer; the longest wait of all was {longest:.1f} s"


@known("a body waits for its members", Rule.DURATION, PASS, 0, _told(0, 0.1), expression="waits beyond 0 s explained")
def _() -> H:
    builder = _chord(100).attempt(1, 120, 8000).effect(1, 7999)
    return builder.attempt(2, 8010).effect(2, 8015)


@known(
    "a body waits, and its members are done",
    Rule.DURATION,
    FAIL,
    1,
    _told(1, 7.9),
    (2, "waited 5.8 s longer than its queue explains"),
    expression="waits beyond 0 s explained",
)
def _() -> H:
    return _chord(100, 120, body=8000)


def _held_up(begun: float, ended: float) -> H:
    """The first member takes effect at 105, the last at 3100, and the body begins at 8000; a lease is 3 s."""
    builder = _chord(100).attempt(1, 3095, 3101).effect(1, 3100).attempt(2, 8000).effect(2, 8005)
    return builder.set(lease_ns=ns(3000)).fault(begun, ended)


@known(
    "a fault held up that a member had taken effect",
    Rule.DURATION,
    PASS,
    0,
    _told(0, 4.9),
    expression="waits beyond 0 s explained",
)
def _() -> H:
    return _held_up(110, 3000)


@known(
    "a fault that was over when the first member took effect",
    Rule.DURATION,
    FAIL,
    1,
    _told(1, 4.9),
    (2, "waited 2.9 s longer than its queue explains"),
    expression="waits beyond 0 s explained",
)
def _() -> H:
    return _held_up(50, 104)


@known(
    "a body that began too early tells of no queue",
    Rule.DURATION,
    PASS,
    0,
    _told(0, 0.1),
    expression="waits beyond 0 s explained",
    others=(Rule.ORDER,),
)
def _() -> H:
    return _chord(100, 120, body=110)


_RATE = ", by completion, less the waits that the subject claims"


def _paced(failures: tuple[int, int, int]) -> H:
    """20 operations a second for 2 s. Chords of two: members are done at once, bodies 4 s later."""
    builder = H().set(chord_of=2, longest_wait_ns=ns(4000)).slo(8).phase(BASELINE, 1000, 3000, 40)
    for op in range(42):
        due = 1000 + (op - op % 3) * 50
        at = due + (4010 if op % 3 == 2 else 10)
        builder.ack(op, at=due).attempt(op, at - 1, at).effect(op, at)
    return builder.set(failures=bytes(failures[op % 3] for op in range(42)))


@known(
    "bodies come after members that fail",
    Rule.THROUGHPUT,
    PASS,
    21.053,
    f"baseline 21.1/s >= 8.0/s{_RATE}",
    expression="effects/s >= 8, or 95 % of the offered rate",
    others=(Rule.DURATION, Rule.EVIDENCE),
)
def _() -> H:
    return _paced((0, 1, 0))


@known(
    "chords",
    Rule.RECOVERY,
    NOT_CLAIMED,
    None,
    "the bodies of chords wait for their members: no window shows how fast they were",
    expression="no limit",
    others=(Rule.ORDER,),
)
def _() -> H:
    return open_load(((3000, 150),)).set(chord_of=1).planned(1200)


@known(
    "two producers, a chord each in turn",
    Rule.EVIDENCE,
    PASS,
    0,
    "3 tasks submitted, records whole; 3 not acknowledged because of faults",
    others=(Rule.FAULTS,),
)
def _() -> H:
    builder = _chord(100, 120, body=130).planned(6).fault(1.5, 150, target="producer-2")
    return builder.set(producers=("producer-1", "producer-2"), finished=frozenset({"producer-1", "producer-2"}))
