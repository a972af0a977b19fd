"""Known histories: states that a case has to come through before its verdict means anything."""

from __future__ import annotations

from collections.abc import Callable

from checker_histories import WORKER_1, WORKER_2, HistoryBuilder, ns
from checker_known import FAILURE, OPEN, PASS, PERMANENT, REVOKED, TRANSIENT, UNKNOWN, known

from taskchaos.harness.record.history import (
    NEVER,
    AttemptOutcome,
    ClaimKind,
    OperationHit,
    ReleaseSeen,
    SubmitOutcome,
)
from taskchaos.harness.record.seen import Seen
from taskchaos.harness.record.verdict import Rule

H = HistoryBuilder
INTERRUPTED, CRASHED = AttemptOutcome.INTERRUPTED, AttemptOutcome.CRASHED
_WHOLE = "{} submitted, records whole"
_MISSING = "not seen: {}; see that faults meet work and that bodies run as planned"
_OTHERS = (
    Rule.DEAD_LETTER, Rule.DUPLICATE, Rule.FALSE_FAILURE, Rule.FENCE, Rule.KEY_OVERLAP, Rule.LOST, Rule.OVERLAP,
    Rule.RETRIES, Rule.REVOKED, Rule.UNEXPECTED, Rule.UNIQUE, Rule.WORKERS,
)  # fmt: skip


def _states(state: Seen, histories: dict[str, tuple[bool, Callable[[], H]]]) -> None:
    """Register each as seen, or not."""
    for name, (seen, build) in histories.items():

        def made(build: Callable[[], H] = build) -> H:
            return build().set(must_see=frozenset({state}))

        number = made().build().planned
        whole = _WHOLE.format(f"{number} task{'s' * (number != 1)}")
        reason = whole if seen else _MISSING.format(state.value)
        outcome, observed = (PASS, 0) if seen else (UNKNOWN, 1)
        known(f"{state.name}: {name}", Rule.EVIDENCE, outcome, observed, reason, others=_OTHERS)(made)


def _over(outcome: AttemptOutcome, until: float, pid: int = 2) -> Callable[[], H]:
    def build() -> H:
        builder = H().ack(0).attempt(0, 50, until, outcome, WORKER_1, 1, fence=1)
        if outcome is OPEN:
            builder.fault(at=60, until=70, kills=(1,))
        return builder.attempt(0, 100, 110, role=WORKER_2, pid=pid, fence=2).effect(0).said(0)

    return build


def _had(
    *,
    stops: tuple[int, ...] = (),
    kills: tuple[int, ...] = (),
    first: float = 90,
    second: float = 150,
    other: int = 1,
    target: str = "worker-1",
) -> H:
    """Operation 1 comes to worker-1, and then to another, with a fault between 100 and 200."""
    builder = H().done(0).ack(1, at=80).deliver(1, first).deliver(1, second, role=other)
    builder.attempt(1, 220, 230, role=1).effect(1, 225)
    return builder.fault(100, 200, stops=stops, kills=kills, target=target)


_states(
    Seen.TAKEN_OVER,
    {
        "it was killed": (True, _over(OPEN, -1)),
        "it ended its process": (True, _over(CRASHED, 60)),
        "it was ended": (True, _over(INTERRUPTED, 60)),
        "it ended late": (True, _over(AttemptOutcome.OK, 101)),
        "it had ended when the next began": (False, _over(AttemptOutcome.OK, 100)),
        "it had failed": (False, _over(TRANSIENT, 60)),
        "by its own process": (False, _over(INTERRUPTED, 60, pid=1)),
        "nothing ran twice": (False, lambda: H().done(0, 1)),
        "another got what it had": (True, lambda: _had(stops=(7,))),
        "another got what it had when it was killed": (True, lambda: _had(kills=(7,))),
        "another got what it had, and it was not stopped": (False, lambda: _had()),
        "another got what it had before it was stopped": (False, lambda: _had(stops=(7,), second=99)),
        "another got what it had after it was back": (False, lambda: _had(stops=(7,), first=201, second=210)),
        "another got what it had done": (False, lambda: _had(stops=(7,)).attempt(1, 95, 99)),
        "another got what it had just done": (False, lambda: _had(stops=(7,)).attempt(1, 95, 150)),
        "another got what was done as it came": (False, lambda: _had(stops=(7,)).attempt(1, 85, 90)),
        "it got it itself": (False, lambda: _had(stops=(7,), other=0)),
        "somebody else was stopped": (False, lambda: _had(stops=(7,), target="worker-2")),
    },
)
_states(
    Seen.RETRIED,
    {
        "it failed before": (True, _over(TRANSIENT, 60)),
        "it was ended before": (False, _over(INTERRUPTED, 60)),
        "it failed last": (False, lambda: H().done(0).ack(1).attempt(1, 90, 95, TRANSIENT)),
    },
)


def _for_good(*, said: bool, dead: bool, tried: bool = True) -> Callable[[], H]:
    def build() -> H:
        builder = H().set(permanent=frozenset({0})).ack(0).done(1)
        if tried:
            builder.attempt(0, 90, 95, PERMANENT)
        if said:
            builder.said(0, FAILURE)
        return builder.final(dead=frozenset({0} if dead else ()))

    return build


_states(
    Seen.GIVEN_UP,
    {
        "it said so": (True, _for_good(said=True, dead=False)),
        "it kept it": (True, _for_good(said=False, dead=True)),
        "neither": (False, _for_good(said=False, dead=False)),
        "without a try": (False, _for_good(said=True, dead=True, tried=False)),
        "another failed": (False, lambda: H().set(permanent=frozenset({0})).done(0, 1).said(1, FAILURE)),
    },
)


def _waits(killed: float | None, outcome: AttemptOutcome = TRANSIENT) -> Callable[[], H]:
    """From 60 to 100."""

    def build() -> H:
        builder = _over(outcome, 60)()
        return builder if killed is None else builder.fault(at=killed, until=400, kills=(7,))

    return build


_states(
    Seen.WAITED_THROUGH,
    {
        "as it began to wait": (True, _waits(60)),
        "as it ended its wait": (True, _waits(100)),
        "one of two": (True, lambda: _waits(80)().ack(1).attempt(1, 20, 30, TRANSIENT).attempt(1, 40)),
        "before": (False, _waits(59)),
        "after": (False, _waits(101)),
        "no kill": (False, _waits(None)),
        "what was ended does not wait": (False, _waits(80, INTERRUPTED)),
    },
)


def _wanted(sent: float, begun: float, op: int = 2, keys: int = 2) -> Callable[[], H]:
    """Operation 0 runs from 100 to 110; another is sent and begun then."""

    def build() -> H:
        builder = H().set(keys=keys).done(0)
        return (builder if op == 1 else builder.done(1, at=40)).ack(op, at=sent).attempt(op, begun)

    return build


_states(
    Seen.KEY_WANTED,
    {
        "it waits all the time": (True, _wanted(90, 120)),
        "sent as the other ended": (True, _wanted(110, 120)),
        "begun as the other began": (True, _wanted(90, 100)),
        "sent when the other had ended": (False, _wanted(111, 120)),
        "the other waits for it": (True, _wanted(50, 60)),
        "of another key": (False, _wanted(90, 120, op=1)),
        "the task itself": (False, lambda: H().set(keys=2).ack(0).attempt(0, 100, 110, TRANSIENT).attempt(0, 200)),
        "no keys": (False, _wanted(90, 120, keys=0)),
    },
)


def _dropped(
    killed: float, heard: float = 110, at: float = 200, *, begun: bool = False, kind: ClaimKind = REVOKED
) -> Callable[[], H]:
    """Operation 0 is revoked, and dropped or begun later; a process is killed."""

    def build() -> H:
        builder = H().set(revoking=True).done(1, at=300).ack(0).revoke(0, 100, heard).fault(killed, 400, kills=(7,))
        return builder.attempt(0, at) if begun else builder.said(0, kind, at)

    return build


def _released(*effects: int) -> Callable[[], H]:
    """So many effects by workers of the present release, and of the previous one."""
    names = ("present", "previous")
    return lambda: H().done(0).set(releases=tuple(map(ReleaseSeen, names, ("a 2", "a 1"), effects)))


_states(
    Seen.BOTH_RELEASES,
    {
        "both did some": (True, _released(1, 1)),
        "one was there": (False, _released(1, 0)),
        "the other was": (False, _released(0, 1)),
        "there was one": (False, _released(1)),
        "nobody says": (False, _released()),
    },
)


def _met(
    at: float = 45, outcome: SubmitOutcome = SubmitOutcome.ACKNOWLEDGED, role: str = "producer-1", op: int = 0
) -> Callable[[], H]:
    """The submit of task 0 lasts from 40 to 50; a fault meets an operation."""

    def build() -> H:
        builder = H().done(1).attempt(0, 60).effect(0).said(0).submit(0, outcome, 40, done=50)
        return builder.fault(at=30, until=55, target=role, hits=(OperationHit(op, ns(at), "LPUSH"),))

    return build


_states(
    Seen.REVOKED_WAITED,
    {
        "when it was heard": (True, _dropped(110)),
        "when it was dropped": (True, _dropped(200)),
        "when it was begun": (True, _dropped(200, begun=True)),
        "before it was heard": (False, _dropped(109)),
        "after it was dropped": (False, _dropped(201)),
        "after it was begun": (False, _dropped(201, begun=True)),
        "not heard": (False, _dropped(150, heard=NEVER)),
        "what is said is another thing": (False, _dropped(150, kind=FAILURE)),
        "no kill": (False, lambda: H().set(revoking=True).done(1).ack(0).revoke(0, 100, 110).said(0, REVOKED, 200)),
    },
)
_states(
    Seen.SENT_AGAIN,
    {
        "as it begins": (True, _met(40)),
        "as it ends": (True, _met(50)),
        "before it begins": (False, _met(39)),
        "when it has ended": (False, _met(51)),
        "it was not acknowledged": (False, _met(outcome=SubmitOutcome.UNKNOWN)),
        "of another task": (False, _met(op=1)),
        "of a worker": (False, _met(role="worker-1")),
        "no fault": (False, lambda: H().done(0, 1)),
    },
)
_states(
    Seen.SENT_TWICE,
    {
        "both acknowledged": (True, lambda: H().set(again=True).done(0, 1).ack(0, at=120)),
        "one refused": (False, lambda: H().set(again=True).done(0).submit(0, SubmitOutcome.REFUSED, 120)),
        "two tasks": (False, lambda: H().set(again=True).done(0, 1)),
    },
)


def _tried_again(
    first: AttemptOutcome = TRANSIENT, *, killed: tuple[int, ...] = (2,), op: int = 0, outcome: AttemptOutcome = OPEN
) -> Callable[[], H]:
    """Task 0 is tried by process 1 and then by process 2, which a fault ends at 110; another does it."""

    def build() -> H:
        builder = H().ack(0).attempt(0, 50, 60, first, WORKER_1, 1).done(1).fault(at=110, until=120, kills=killed)
        until = -1 if outcome is OPEN else 105
        builder.attempt(op, 100, until, outcome, WORKER_1, 2)
        return builder.attempt(0, 200, 210, role=WORKER_2, pid=3).effect(0, 205)

    return build


_states(
    Seen.RETRY_CUT_SHORT,
    {
        "its second attempt": (True, _tried_again()),
        "it had not failed": (False, _tried_again(INTERRUPTED)),
        "another process was ended": (False, _tried_again(killed=(9,))),
        "of another task": (False, _tried_again(op=1)),
        "it had ended": (False, _tried_again(outcome=TRANSIENT)),
    },
)


def _back(*, had: float = 90, killed: float = 100, heard: float = 110, role: int = WORKER_1, kills: bool = True) -> H:
    """Task 0 comes to a worker, which a fault ends; it is revoked, and said to be revoked."""
    builder = H().set(revoking=True).done(1, at=300).ack(0, at=80).deliver(0, had, role=role).revoke(0, 105, heard)
    builder.fault(killed, 400, kills=(7,) if kills else ())
    return builder.said(0, REVOKED, 200)


_states(
    Seen.REVOKED_CAME_BACK,
    {
        "it is dropped": (True, _back),
        "it comes to a worker": (True, lambda: _back(heard=210).deliver(0, 220, role=WORKER_2)),
        "it is begun": (True, lambda: _back(heard=210).attempt(0, 220)),
        "heard as it was ended": (True, lambda: _back(heard=100)),
        "heard before": (False, lambda: _back(heard=99)),
        "never heard": (False, lambda: _back(heard=NEVER)),
        "it had none yet": (False, lambda: _back(had=101)),
        "another had it": (False, lambda: _back(role=WORKER_2)),
        "nobody was ended": (False, lambda: _back(kills=False)),
        "it never came back": (False, lambda: _back(heard=210)),
    },
)
