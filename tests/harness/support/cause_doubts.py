"""Histories of which it is easy to say something that is not so, each with what is to be said of it instead."""

from __future__ import annotations

from cause_ways import KILL, OPEN, P1, TRANSIENT, W1, W2, H, K, Way, ack, begun, pop, publish, wire
from checker_histories import ns

from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.record.wire import WireCommand

LOST, DUPLICATE = Rule.LOST, Rule.DUPLICATE


def restored(at: float, op: int = 1, link: str = W1) -> tuple[WireCommand, ...]:
    """As kombu gives back what has been unacknowledged for too long."""
    return (
        wire(at, link, "HGET", "unacked", sent=(op,), given=(op,)),
        wire(at + 1, link, "ZREM", "unacked_index", sent=(op,)),
        wire(at + 1, link, "HDEL", "unacked", sent=(op,)),
        wire(at + 1, link, "RPUSH", "celery", sent=(op,)),
    )


def noted(at: float, op: int = 1, link: str = W1) -> tuple[WireCommand, ...]:
    """As kombu notes what it has been given."""
    return wire(at, link, "ZADD", "unacked_index", sent=(op,)), wire(at, link, "HSET", "unacked", sent=(op,))


def waited(at: float, until: float, link: str = W1, **more: str) -> WireCommand:
    """A pop that waited for its message."""
    outcome, rule = more.get("outcome", "ok"), more.get("rule", "")
    return WireCommand(ns(at), ns(until), link, 2, "BRPOP", "celery", outcome, rule, (), (1,))


def twice(first: tuple[float, float], second: tuple[float, float], **more: int) -> H:
    """Two attempts that took effect, of one submit."""
    builder = H().done(0).ack(1).attempt(1, *first, pid=7).effect(1, first[1] - 1)
    return builder.attempt(1, *second, role=1, pid=8, **more).effect(1, second[1] - 1)


DOUBTS = (
    Way(
        "what one pop put back, another that had been waiting took",
        lambda: begun().fault(95, 400, kind="reply_lost"),
        (
            publish(),
            pop(100, link=W2),
            *noted(101, link=W2),
            waited(140, 152.1, outcome="cut", rule="reply_lost_1"),
            *restored(150, link=W2),
        ),
        LOST,
        K.REPLY_UNSEEN,
        "BRPOP celery",
        "reply_lost on worker-1",
        "Redis gave it away with BRPOP celery, and worker-1 never saw the reply: reply_lost on worker-1 was in force",
    ),
    Way(
        "what came to a worker that had it in its own hands, and was forgotten",
        lambda: begun().fault(300, 400, kind="redis_restart", target="redis"),
        (publish(), pop(100), *noted(110)),
        LOST,
        K.NEVER_GIVEN,
        "HSET unacked",
        "redis_restart on redis",
        "worker-1 sent HSET unacked for it 9.5 ms later, and never began it: redis_restart on redis came",
    ),
    Way(
        "a lock was not free",
        begun,
        (publish(), pop(100), ack(140), wire(141, W1, "SET", "task_lock_op-1", sent=(1,), outcome="nil")),
        LOST,
        K.TAKEN_OFF,
        "HDEL unacked",
        "",
        "worker-1 took it off with HDEL unacked 40 ms later, and never began it",
    ),
    Way(
        "acknowledged, and killed before it began",
        lambda: begun().fault(150, 300, kind="kill_tree", kills=(9,)),
        (publish(), pop(100), ack(140)),
        LOST,
        K.KILLED_WHEN_ACKNOWLEDGED,
        "HDEL unacked",
        "kill_tree on worker-1",
        "took it off with HDEL unacked 40 ms later, and was killed by kill_tree on worker-1 10 ms after that, before",
    ),
    Way(
        "given in the middle of a loop of kills",
        lambda: begun().fault(95, 5000, kind="kill_loop", kills=(9,)),
        (publish(), pop(2000)),
        LOST,
        K.GIVEN_TO_THE_DEAD,
        "BRPOP celery",
        "kill_loop on worker-1",
        "and worker-1 never began it: kill_loop on worker-1 was in force",
    ),
    Way(
        "given just after the first of two kills",
        lambda: (
            begun().fault(95, 500, kind="kill_parent", kills=(9,)).fault(1500, 1800, kind="kill_parent", kills=(8,))
        ),
        (publish(), pop(100)),
        LOST,
        K.GIVEN_TO_THE_DEAD,
        "BRPOP celery",
        "kill_parent on worker-1",
        "worker-1 was killed by kill_parent on worker-1 just before, and never began it",
    ),
    Way(
        "another worker was done with the attempt before",
        lambda: begun().attempt(1, 130, 140, TRANSIENT).fault(120, 400, kind="reply_lost", target=W2),
        (
            publish(),
            pop(100),
            wire(141, W1, "LPUSH", "celery", sent=(1,)),
            pop(142, link=W2, outcome="cut", rule="reply_lost_1"),
            ack(146),
        ),
        LOST,
        K.REPLY_UNSEEN,
        "BRPOP celery",
        "reply_lost on worker-2",
        "its retry was lost: Redis gave it away with BRPOP celery, and worker-2 never saw the reply: reply_lost on",
    ),
    Way(
        "begun in the middle of a loop of kills",
        lambda: begun().attempt(1, 2100, outcome=OPEN, pid=9).fault(95, 5000, kind="kill_loop", kills=(9,)),
        (publish(), pop(2000), ack(2101)),
        LOST,
        K.KILLED_WHEN_ACKNOWLEDGED,
        "HDEL unacked",
        "kill_loop on worker-1",
        "attempt 1 was cut short when kill_loop on worker-1 killed pid 9; the message had been taken off Redis, with",
    ),
    Way(
        "a fault that came long after the reply",
        lambda: begun().fault(1500, 1700, kind="black_hole"),
        (publish(), pop(100)),
        LOST,
        K.REPLY_UNSEEN,
        "BRPOP celery",
        "",
        "worker-1 sent nothing for it afterwards, and never began it",
    ),
    Way(
        "what was received, and not begun",
        lambda: begun().deliver(1, 101).fault(95, 400, kind="latency"),
        (publish(), pop(100)),
        LOST,
        K.TAKEN_OFF,
        "BRPOP celery",
        "latency on worker-1",
        "worker-1 received it, and never began it: latency on worker-1 was in force",
    ),
    Way(
        "a publish that a rule only delayed",
        lambda: begun().fault(80, 200, kind="delay", target=P1),
        (publish(rule="delay_1"),),
        LOST,
        K.NEVER_GIVEN,
        "LPUSH celery",
        "",
        "producer-1 sent it with LPUSH celery, and Redis never gave it to a worker",
    ),
    Way(
        "a pop whose connection had ended long before",
        begun,
        (wire(50, W1, "BRPOP", "celery", outcome="no reply"), publish(5000)),
        LOST,
        K.NEVER_GIVEN,
        "LPUSH celery",
        "",
        "producer-1 sent it with LPUSH celery, and Redis never gave it to a worker",
    ),
    Way(
        "killed while it was only noted who has it",
        lambda: begun().attempt(1, 130, outcome=OPEN, pid=7).fault(150, 200, **KILL),  # type: ignore[arg-type]
        (publish(), pop(100), *noted(110)),
        LOST,
        K.KILLED,
        "BRPOP celery",
        "kill_child on worker-1",
        "nothing gave it to a worker again after BRPOP celery",
    ),
    Way(
        "killed, and given to somebody else",
        lambda: (
            begun()
            .attempt(1, 130, outcome=OPEN, pid=7)
            .fault(150, 200, **KILL)  # type: ignore[arg-type]
            .fault(250, 400, kind="reply_lost", target=W2)
        ),
        (publish(), pop(100), *noted(110), *restored(260, link=W2), pop(300, link=W2, outcome="cut")),
        LOST,
        K.REPLY_UNSEEN,
        "BRPOP celery",
        "reply_lost on worker-2",
        "killed pid 7: Redis gave it away with BRPOP celery, and worker-2 never saw the reply: reply_lost on worker-2",
    ),
    Way(
        "a retry of which nothing is known",
        lambda: begun().attempt(1, 130, 140, TRANSIENT),
        (publish(), pop(100)),
        LOST,
        K.RETRY_IN_MEMORY,
        "",
        "",
        "attempt 1 failed, and no command that hands its retry on names it",
    ),
    Way(
        "a publish in two commands",
        lambda: twice((130, 140), (330, 340)),
        (
            wire(88, P1, "SET", "task:op-1", sent=(1,)),
            publish(89, outcome="NOSCRIPT"),
            publish(),
            pop(100),
            ack(142),
            pop(320, link=W2),
        ),
        DUPLICATE,
        K.TOLD_TOO_LATE,
        "BRPOP celery",
        "",
        "worker-1 was done with attempt 1, and HDEL unacked came 2.0 ms later",
    ),
    Way(
        "a fault that was over long before the lease",
        lambda: twice((130, 140), (330, 340)).fault(120, 125, kind="latency").fault(600, 700),
        (publish(), pop(100), pop(320, link=W2)),
        DUPLICATE,
        K.TOLD_TOO_LATE,
        "BRPOP celery",
        "latency on worker-1",
        "worker-1 was done with attempt 1, and no command that names it came before Redis gave it away again",
    ),
    Way(
        "killed after another had it too",
        lambda: (
            H()
            .done(0)
            .ack(1)
            .attempt(1, 130, outcome=OPEN, pid=7)
            .effect(1, 135)
            .attempt(1, 400, 410, role=1, pid=8)
            .effect(1, 405)
            .fault(8000, 8500, kind="kill_tree", kills=(7,))
        ),
        (publish(), pop(100), pop(390, link=W2)),
        DUPLICATE,
        K.LEASE_ENDED,
        "BRPOP celery",
        "",
        "attempt 1 ran for 7.9 s, longer than the lease",
    ),
    Way(
        "a dead letter that nobody saw written",
        lambda: begun().attempt(1, 130, 140, TRANSIENT).final(dead=frozenset({1})),
        (publish(), pop(100), *noted(110), wire(141, W1, "LPUSH", "celery", sent=(1,)), ack(142)),
        Rule.DEAD_LETTER,
        K.GIVEN_UP,
        "",
        "",
        "attempt 1 ended (transient), and it became a dead letter",
    ),
    Way(
        "tried four times",
        lambda: (
            begun()
            .attempt(1, 130, 140, TRANSIENT)
            .attempt(1, 530, 540, TRANSIENT)
            .attempt(1, 1030, 1040, TRANSIENT)
            .attempt(1, 1530, 1540)
            .effect(1, 1535)
        ),
        (publish(), pop(100), pop(500), pop(1000), pop(1500)),
        Rule.RETRIES,
        K.TRIED_TOO_OFTEN,
        "BRPOP celery",
        "",
        "it was begun 4 times (3 transient, 1 ok), the last time with BRPOP celery",
    ),
)
