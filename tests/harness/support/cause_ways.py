"""Ways in which a case fails, each a history with the commands that carried its tasks, and what is to be said of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from checker_histories import LEASE, HistoryBuilder, ns

from taskchaos.harness.record.history import AttemptOutcome, ClaimKind
from taskchaos.harness.record.result import CauseKind
from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.record.wire import WireCommand

H, K = HistoryBuilder, CauseKind
OPEN, TRANSIENT = AttemptOutcome.OPEN, AttemptOutcome.TRANSIENT
W1, W2, P1 = "worker-1", "worker-2", "producer-1"


def wire(
    at: float,
    link: str,
    command: str,
    key: str = "",
    *,
    sent: tuple[int, ...] = (),
    given: tuple[int, ...] = (),
    outcome: str = "ok",
    rule: str = "",
) -> WireCommand:
    reply_ns = None if outcome in ("no reply", "pending") else ns(at + 0.5)
    return WireCommand(ns(at), reply_ns, link, 1, command, key, outcome, rule, sent, given)


def publish(at: float = 90, op: int = 1, **more: str) -> WireCommand:
    return wire(at, P1, "LPUSH", "celery", sent=(op,), **more)


def pop(at: float, op: int = 1, link: str = W1, **more: str) -> WireCommand:
    return wire(at, link, "BRPOP", "celery", given=(op,), **more)


def ack(at: float, op: int = 1, link: str = W1, **more: str) -> WireCommand:
    return wire(at, link, "HDEL", "unacked", sent=(op,), **more)


def begun(at: float = 90) -> H:
    """Operation 0 goes the plain way; 1 is acknowledged."""
    return H().done(0).ack(1, at=at)


def _many(number: int) -> H:
    """As many operations that fail once and are tried again at once."""
    builder = H().set(longest_wait_ns=ns(9000))
    for op in range(number):
        at = 140 + 0.1 * op
        builder.ack(op, at=90).attempt(op, at - 1, at, TRANSIENT).attempt(op, at + 2, at + 3).effect(op, at + 2.5)
    return builder


@dataclass(frozen=True)
class Way:
    """A history, its commands, and what is to be said: rule, kind, command, fault and words of the text."""

    name: str
    build: Callable[[], H]
    wire: tuple[WireCommand, ...]
    rule: Rule
    kind: CauseKind
    command: str
    fault: str
    says: str
    ops: tuple[int, ...] = ()


def _cut(at: float = 95, until: float = 200, kind: str = "black_hole_replies", **more: object) -> Callable[[], H]:
    return lambda: begun().fault(at, until, kind=kind, **more)  # type: ignore[arg-type]


KILL = {"kind": "kill_child", "kills": (7,)}
WAYS = (
    Way(
        "the reply to a pop",
        _cut(),
        (publish(), pop(100)),
        Rule.LOST,
        K.REPLY_UNSEEN,
        "BRPOP celery",
        "black_hole_replies on worker-1",
        "Redis gave it away with BRPOP celery, and worker-1 never saw the reply: black_hole_replies on worker-1 was in",
    ),
    Way(
        "the reply to a pop, that a rule of the proxy cut",
        _cut(kind="reply_lost"),
        (publish(), pop(100, outcome="cut", rule="fault-0")),
        Rule.LOST,
        K.REPLY_UNSEEN,
        "BRPOP celery",
        "reply_lost on worker-1",
        "never saw the reply: reply_lost on worker-1 was in force",
    ),
    Way(
        "a pop that was waiting when its link was cut",
        _cut(kind="refused"),
        (wire(50, W1, "BRPOP", "celery", outcome="no reply"), publish(100)),
        Rule.LOST,
        K.REPLY_UNSEEN,
        "BRPOP celery",
        "refused on worker-1",
        "gave it to BRPOP celery of worker-1, whose connection was gone",
    ),
    Way(
        "killed before it began",
        lambda: begun().fault(110, 200, kind="kill_tree", kills=(9,)),
        (publish(), pop(100)),
        Rule.LOST,
        K.GIVEN_TO_THE_DEAD,
        "BRPOP celery",
        "kill_tree on worker-1",
        "worker-1 was killed by kill_tree on worker-1 9.5 ms later, and never began it",
    ),
    Way(
        "acknowledged, and never begun",
        begun,
        (publish(), pop(100), ack(140)),
        Rule.LOST,
        K.TAKEN_OFF,
        "HDEL unacked",
        "",
        "worker-1 took it off with HDEL unacked 40 ms later, and never began it",
    ),
    Way(
        "never sent",
        begun,
        (),
        Rule.LOST,
        K.NEVER_SENT,
        "",
        "",
        "it was acknowledged, and no command carried it to Redis",
    ),
    Way(
        "its publish was cut",
        _cut(80, kind="cut_before", target=P1),
        (publish(outcome="cut"),),
        Rule.LOST,
        K.PUBLISH_UNHEARD,
        "LPUSH celery",
        "cut_before on producer-1",
        "although LPUSH celery was cut: cut_before on producer-1 was in force",
    ),
    Way(
        "a server that forgot it",
        _cut(300, 400, kind="redis_restart", target="redis"),
        (publish(),),
        Rule.LOST,
        K.NEVER_GIVEN,
        "LPUSH celery",
        "redis_restart on redis",
        "producer-1 sent it with LPUSH celery, and Redis never gave it to a worker",
    ),
    Way(
        "a child was killed, and it was acknowledged before",
        lambda: begun().attempt(1, 130, outcome=OPEN, pid=7).fault(150, 200, **KILL),  # type: ignore[arg-type]
        (publish(), pop(100), ack(120)),
        Rule.LOST,
        K.KILLED_WHEN_ACKNOWLEDGED,
        "HDEL unacked",
        "kill_child on worker-1",
        "cut short when kill_child on worker-1 killed pid 7; the message had been taken off Redis 30 ms before",
    ),
    Way(
        "a child was killed, and its parent acknowledged it",
        lambda: begun().attempt(1, 130, outcome=OPEN, pid=7).fault(150, 200, **KILL),  # type: ignore[arg-type]
        (publish(), pop(100), ack(160)),
        Rule.LOST,
        K.TAKEN_OFF_FOR_THE_DEAD,
        "HDEL unacked",
        "kill_child on worker-1",
        "worker-1 then took the message off Redis with HDEL unacked, as if it had been done",
    ),
    Way(
        "a child was killed, and nobody took it over",
        lambda: begun().attempt(1, 130, outcome=OPEN, pid=7).fault(150, 200, **KILL),  # type: ignore[arg-type]
        (publish(), pop(100)),
        Rule.LOST,
        K.KILLED,
        "BRPOP celery",
        "kill_child on worker-1",
        "nothing gave it to a worker again after BRPOP celery",
    ),
    Way(
        "the publish of its retry was cut",
        lambda: begun().attempt(1, 130, 140, TRANSIENT).fault(120, 200, kind="cut_before"),
        (publish(), pop(100), wire(145, W1, "LPUSH", "celery", sent=(1,), outcome="cut"), ack(146)),
        Rule.LOST,
        K.RETRY_CUT,
        "LPUSH celery",
        "cut_before on worker-1",
        "attempt 1 failed, and LPUSH celery, which hands its retry to Redis, was cut: cut_before on worker-1 was in "
        "force; the message was taken off Redis with HDEL unacked all the same",
    ),
    Way(
        "its retry waited in memory",
        lambda: begun().attempt(1, 130, 140, TRANSIENT).fault(240, 300, kind="kill_tree", kills=(1,)),
        (publish(), pop(100), ack(141)),
        Rule.LOST,
        K.RETRY_IN_MEMORY,
        "HDEL unacked",
        "kill_tree on worker-1",
        "its retry waited in the memory of worker-1, whose process kill_tree on worker-1 killed 100 ms later",
    ),
    Way(
        "its retry was given away",
        lambda: begun().attempt(1, 130, 140, TRANSIENT).fault(120, 200, kind="reply_lost"),
        (publish(), pop(100), wire(145, W1, "LPUSH", "celery", sent=(1,)), pop(150, outcome="cut")),
        Rule.LOST,
        K.REPLY_UNSEEN,
        "BRPOP celery",
        "reply_lost on worker-1",
        "attempt 1 failed, and its retry was lost: Redis gave it away with BRPOP celery",
    ),
    Way(
        "interrupted, and acknowledged",
        lambda: begun().attempt(1, 130, 140, AttemptOutcome.INTERRUPTED),
        (publish(), pop(100), ack(150)),
        Rule.LOST,
        K.ENDED,
        "HDEL unacked",
        "",
        "attempt 1 ended without an effect (interrupted), and HDEL unacked took it off Redis",
    ),
    Way(
        "sent twice by its producer",
        lambda: (
            H()
            .done(0)
            .ack(1)
            .attempt(1, 130, 140)
            .effect(1, 135)
            .attempt(1, 230, 240)
            .effect(1, 235)
            .fault(80, 95, kind="reply_lost", target=P1)
        ),
        (publish(90, outcome="cut"), publish(96), pop(100), pop(200)),
        Rule.DUPLICATE,
        K.SENT_TWICE,
        "LPUSH celery",
        "reply_lost on producer-1",
        "producer-1 sent it 2 times with LPUSH celery: reply_lost on producer-1 was in force at the first",
    ),
    Way(
        "its process died after the effect",
        lambda: (
            H()
            .done(0)
            .ack(1)
            .attempt(1, 130, outcome=OPEN, pid=7)
            .effect(1, 135)
            .attempt(1, 230, 240, role=1, pid=8)
            .effect(1, 235)
            .fault(140, 200, **KILL)  # type: ignore[arg-type]
        ),
        (publish(), pop(100), pop(200, link=W2)),
        Rule.DUPLICATE,
        K.TAKEN_OVER,
        "BRPOP celery",
        "kill_child on worker-1",
        "worker-1 was killed by kill_child on worker-1 10 ms into attempt 1, and Redis gave it to worker-2 again",
    ),
    Way(
        "its worker stood still for longer than the lease",
        lambda: (
            H()
            .done(0)
            .ack(1)
            .attempt(1, 130, 600, pid=7, fence=5)
            .effect(1, 590)
            .attempt(1, 400, 410, role=1, pid=8, fence=5)
            .effect(1, 405)
            .fault(140, 550, kind="pause", stops=(7,))
        ),
        (publish(), pop(100), wire(390, W2, "claim", "lr:lease", given=(1,))),
        Rule.OVERLAP,
        K.LEASE_ENDED,
        "script claim lr:lease",
        "pause on worker-1",
        f"was out of action (pause on worker-1) in its attempt for longer than its lease of {LEASE / 1000:g} s",
    ),
    Way(
        "it ran for longer than the lease",
        lambda: (
            H()
            .done(0)
            .ack(1)
            .attempt(1, 130, 600, pid=7)
            .effect(1, 590)
            .attempt(1, 400, 410, role=1, pid=8)
            .effect(1, 405)
        ),
        (publish(), pop(100), wire(380, W2, "HGET", "unacked", sent=(1,), given=(1,)), pop(390, link=W2)),
        Rule.OVERLAP,
        K.LEASE_ENDED,
        "BRPOP celery",
        "",
        "attempt 1 ran for 470 ms, longer than the lease",
    ),
    Way(
        "its acknowledgement was lost",
        lambda: (
            H()
            .done(0)
            .ack(1)
            .attempt(1, 130, 140)
            .effect(1, 135)
            .attempt(1, 330, 340, role=1, pid=8)
            .effect(1, 335)
            .fault(600, 700)
        ),
        (publish(), pop(100), ack(141, outcome="cut"), pop(320, link=W2)),
        Rule.DUPLICATE,
        K.TOLD_TOO_LATE,
        "HDEL unacked",
        "",
        "worker-1 was done with attempt 1, and HDEL unacked, which says so, was cut",
    ),
    Way(
        "it took effect after the last word",
        lambda: (
            H()
            .done(0)
            .ack(1)
            .attempt(1, 130, 600, pid=7)
            .effect(1, 590)
            .said(1, ClaimKind.FAILURE, 300)
            .fault(140, 550, kind="pause", stops=(7,))
        ),
        (publish(), pop(100)),
        Rule.ZOMBIE,
        K.WENT_ON,
        "BRPOP celery",
        "pause on worker-1",
        "the subject said failure, and worker-1 took effect 290 ms later",
    ),
    Way(
        "a lock that is never freed",
        lambda: (
            begun()
            .attempt(1, 130, outcome=OPEN, pid=7)
            .fault(150, 200, **KILL)  # type: ignore[arg-type]
            .final(pending=frozenset({1}))
            .not_converged(overdue=True)
        ),
        (publish(), pop(100), pop(300, link=W2), wire(310, W2, "LPUSH", "celery", sent=(1,)), pop(320, link=W2)),
        Rule.STUCK,
        K.NEVER_FREED,
        "BRPOP celery",
        "kill_child on worker-1",
        "Redis gave it to workers 3 times, last with BRPOP celery, and nobody has begun it since",
    ),
    Way(
        "retried at once",
        lambda: _many(40),
        tuple(wire(141 + 0.1 * op, W1, "LPUSH", "celery", sent=(op,)) for op in range(40)),
        Rule.BACKOFF,
        K.WAITED_OTHERWISE,
        "LPUSH celery",
        "",
        "attempt 1 failed, and attempt 2 began 2.0 ms later: LPUSH celery handed it on 1.0 ms after the failure",
    ),
    Way(
        "given up after the first of three attempts",
        lambda: begun().attempt(1, 130, 140, TRANSIENT).final(dead=frozenset({1})),
        (publish(), pop(100), wire(141, W1, "ZADD", "dead", sent=(1,))),
        Rule.DEAD_LETTER,
        K.GIVEN_UP,
        "ZADD dead",
        "",
        "attempt 1 ended (transient), and worker-1 put it among the dead letters with ZADD dead",
    ),
    Way(
        "said to have failed",
        lambda: begun().attempt(1, 130, 140).effect(1, 135).said(1, ClaimKind.FAILURE, 145),
        (publish(), pop(100), wire(144, f"{W1}-results", "SET", "celery-task-meta-op-1", sent=(1,))),
        Rule.FALSE_FAILURE,
        K.SAID_OTHERWISE,
        "SET celery-task-meta-op-1",
        "",
        "attempt 1 ended (ok), and worker-1-results said otherwise with SET celery-task-meta-op-1",
    ),
)
