"""How long the longest script call takes when there is very much of something.

usage: python bench/bounded.py [--quick] [--count N] [--json FILE] [CASE ...]

Redis serves nobody else during a script. Each case fills a Valkey of its own (loopback, no AOF) with 100,000 of one
thing (--quick: 10,000; --count: as many as you like, 1,000,000 take about 2 GB) and calls the script again and again
until all is worked off: workers' turns that want 8 messages, or the tools. The time of a call is the processor time of
the server's main thread, from one call to the next (with the 0.1 ms that it takes to ask for that), so it does not
depend on who else uses the machine. The last cases are the largest calls that workers and producers make, whatever
there is in Redis.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import on_sigterm  # noqa: F401
from celery import Celery
from memory import server
from redis import Redis
from stand import message

import locked_retry
from locked_retry import submit_many
from locked_retry.broker.turns import Answer, Claim, Keys, Renewal, Settlement, SettlementKind, Turn, run_turn
from locked_retry.operator.dead_letters import Tools
from locked_retry.worker.session import MOST_SETTLES

FULL, QUICK = 100_000, 10_000
WANT = 8
KEYS = Keys()
HOUR_MS = 3_600_000
#: So many keys are written at a time.
BATCH = 2000


@dataclass
class Stage:
    """A server with nothing on it, and one worker."""

    redis: Redis
    count: int
    calls_ms: list[float] = field(default_factory=list)
    _number: int = 0
    _template: str = field(default_factory=lambda: message("x" * 100))

    def __post_init__(self) -> None:
        self.redis.execute_command("FLUSHALL", "SYNC")
        template = json.loads(self._template)
        self._id, self._tag = template["headers"]["id"], template["properties"]["delivery_tag"]
        self.turn()  # the script is known from now on
        self.calls_ms.clear()

    def text(self, number: int, lock: str = "") -> str:
        """One message; its task id is the number."""
        text = self._template.replace(self._id, f"{number:036}")
        return text.replace('"headers": {', f'"headers": {{"lr_lock": "{lock}", ', 1) if lock else text

    def fill(self, write: Callable[[Any, int], object]) -> None:
        """Write for every number."""
        for begin in range(0, self.count, BATCH):
            pipe = self.redis.pipeline(transaction=False)
            for number in range(begin, min(begin + BATCH, self.count)):
                write(pipe, number)
            pipe.execute()

    def row(self, pipe: Any, number: int, **fields: Any) -> str:
        """A state row, as a worker that held the message left it."""
        raw = self.text(number, fields.get("lk", ""))
        name = f"{number:036}"
        held = {"msg": raw, "q": "celery", "tag": self._tag, "f": 5, "w": "gone", "tn": 7, "s": 1, "mc": 3}
        pipe.hset(KEYS.row(name), mapping={**held, **fields})
        return name

    def timed(self, call: Callable[[], Any]) -> Any:
        """Call, and note what it took of the server."""
        before_s = self._cpu_s()
        result = call()
        self.calls_ms.append(1000 * (self._cpu_s() - before_s))
        return result

    def _cpu_s(self) -> float:
        cpu = self.redis.info("cpu")
        return float(cpu["used_cpu_user_main_thread"]) + float(cpu["used_cpu_sys_main_thread"])

    def turn(
        self, want: int = WANT, settles: tuple[Settlement, ...] = (), renewals: tuple[Renewal, ...] = ()
    ) -> Answer:
        """One turn of the worker."""
        turn = self.next_turn(want, settles, renewals)
        return self.timed(lambda: run_turn(self.redis, KEYS, turn))

    def next_turn(self, want: int, settles: tuple[Settlement, ...] = (), renewals: tuple[Renewal, ...] = ()) -> Turn:
        """What it asks for."""
        self._number += 1
        given = {"settles": settles, "renewals": renewals}
        return Turn("w", self._number, ("celery",), 1, want, 4_000_000, HOUR_MS, HOUR_MS, **given)

    def work_off(self, left: Callable[[], int]) -> None:
        """Turns that settle what the one before claimed, until nothing is left."""
        claims: tuple[Claim, ...] = ()
        while left() or claims:
            claims = self.turn(settles=tuple(Settlement(c.row, c.fence, SettlementKind.OK) for c in claims)).claims


def parked(stage: Stage) -> None:
    """All in one queue, and behind one business key that is held."""
    stage.redis.lpush("celery", stage.text(10**9, "order:1"))
    stage.turn(want=1)
    stage.fill(lambda pipe, number: pipe.lpush("celery", stage.text(number, "order:1")))
    stage.calls_ms.clear()
    while stage.redis.llen("celery"):
        stage.turn()


def handed_on(stage: Stage) -> None:
    """All parked; the business key changes hands a hundred times."""
    parked(stage)
    stage.calls_ms.clear()
    (row,) = stage.redis.zrange("lr:lease", 0, -1)
    fence = stage.redis.hget(KEYS.row(row.decode()), "f").decode()
    claims = [Claim(row.decode(), fence, 0, 0, 1, b"")]
    for _ in range(100):
        claims = list(stage.turn(settles=tuple(Settlement(c.row, c.fence, SettlementKind.OK) for c in claims)).claims)


def strays(stage: Stage) -> None:
    """All in a wait list whose rows somebody has deleted."""
    stage.fill(lambda pipe, number: pipe.rpush(KEYS.wait("order:1"), number))
    stage.calls_ms.clear()
    number = 10**9
    while stage.redis.llen(KEYS.wait("order:1")):
        number += 1
        stage.redis.lpush("celery", stage.text(number, "order:1"))
        (claim,) = stage.turn().claims
        stage.turn(settles=(Settlement(claim.row, claim.fence, SettlementKind.OK),))


def duplicates(stage: Stage) -> None:
    """All in one queue, of a task that is done."""
    stage.redis.set(KEYS.done(f"{0:036}"), "5")
    stage.fill(lambda pipe, number: pipe.lpush("celery", stage.text(0)))
    stage.work_off(lambda: stage.redis.llen("celery"))


def delayed(stage: Stage) -> None:
    """All are due at once."""
    stage.fill(lambda pipe, number: pipe.zadd("lr:delay", {stage.row(pipe, number, st="d"): number}))
    while stage.redis.zcard("lr:delay"):
        stage.turn()


def leases(stage: Stage) -> None:
    """All were running when their workers were lost; others have gone on."""
    stage.fill(lambda pipe, number: pipe.zadd("lr:lease", {stage.row(pipe, number, st="r"): number}))
    stage.redis.delete("lr:clock")  # else nothing is reaped because no worker has taken a turn for long
    while stage.redis.zrange("lr:lease", 0, HOUR_MS, byscore=True, offset=0, num=1):
        stage.turn()


def _bury(stage: Stage, score: Callable[[int], int]) -> None:
    stage.fill(lambda pipe, number: pipe.zadd("lr:dead", {stage.row(pipe, number, st="x", err="no"): score(number)}))


def dead(stage: Stage) -> None:
    """Dead letters that are to be kept, beside a thousand tasks."""
    now_ms = int(stage.redis.time()[0]) * 1000
    _bury(stage, lambda number: now_ms - number)
    for number in range(1000):
        stage.redis.lpush("celery", stage.text(10**9 + number))
    stage.work_off(lambda: stage.redis.llen("celery"))


def requeued(stage: Stage) -> None:
    """Dead letters that are requeued."""
    _bury(stage, lambda number: number)
    _tools(stage).requeue([letter.row for letter in Tools(stage.redis).dead()])


def purged(stage: Stage) -> None:
    """Dead letters that are purged."""
    _bury(stage, lambda number: number)
    _tools(stage).purge([letter.row for letter in Tools(stage.redis).dead()])


def audited(stage: Stage) -> None:
    """Rows that are queued in one list, a hundredth of which are not there."""

    def queue(pipe: Any, number: int) -> None:
        stage.row(pipe, number, st="q")
        if number % 100:
            pipe.lpush("celery", stage.text(number))

    stage.fill(queue)
    assert len(_tools(stage).audit()) == -(-stage.count // 100)


def _tools(stage: Stage) -> Tools:
    class Timed(Tools):
        def call(self, script: str, *arguments: Any) -> Any:
            return stage.timed(lambda: Tools.call(self, script, *arguments))

    return Timed(stage.redis)


def settles(stage: Stage) -> None:
    """As many as a worker sends in one turn, which wants 8."""
    stage.fill(lambda pipe, number: pipe.lpush("celery", stage.text(number)))
    held: list[Claim] = []
    for _ in range(40):
        while len(held) < MOST_SETTLES and stage.redis.llen("celery"):
            held += run_turn(stage.redis, KEYS, stage.next_turn(MOST_SETTLES)).claims
        stage.turn(settles=tuple(Settlement(c.row, c.fence, SettlementKind.OK) for c in held))
        held = []


def turns(stage: Stage) -> None:
    """Settles, renewals and claims, as many as a worker asks for in one turn."""
    stage.fill(lambda pipe, number: pipe.lpush("celery", stage.text(number)))
    held: list[Claim] = []
    for _ in range(20):
        ends = tuple(Settlement(c.row, c.fence, SettlementKind.OK) for c in held[:MOST_SETTLES])
        kept = held[MOST_SETTLES : MOST_SETTLES + 1000]
        held = [*kept, *stage.turn(1024, ends, tuple(Renewal(c.row, c.fence, HOUR_MS, True) for c in kept)).claims]


def submitted(stage: Stage) -> None:
    """Chunks of submit_many."""
    port = stage.redis.connection_pool.connection_kwargs["port"]
    app = Celery("bench", broker=f"redis://127.0.0.1:{port}/0", set_as_current=False)
    locked_retry.install(app)
    for _ in range(5):
        stage.timed(lambda: submit_many((("noop", (n,)) for n in range(1000)), app=app).check())
    app.close()


CASES: dict[str, Callable[[Stage], None]] = {
    "parked": parked,
    "handed on": handed_on,
    "strays": strays,
    "duplicates": duplicates,
    "delayed": delayed,
    "ended leases": leases,
    "dead letters": dead,
    "requeue": requeued,
    "purge": purged,
    "audit": audited,
    "settles": settles,
    "largest turns": turns,
    "submit_many": submitted,
}


def measure(name: str, count: int) -> dict[str, float]:
    """One case on a server of its own."""
    with tempfile.TemporaryDirectory() as folder:
        process, redis = server(Path(folder))
        try:
            stage = Stage(redis, count)
            CASES[name](stage)
            calls_ms = stage.calls_ms
        finally:
            redis.close()
            process.kill()
            process.wait()
    return {"calls": len(calls_ms), "longest_ms": max(calls_ms), "median_ms": statistics.median(calls_ms)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} of each instead of {FULL}")
    parser.add_argument("--count", type=int, help="so many of each")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    given = parser.parse_args()
    unknown = set(given.cases) - set(CASES)
    if unknown:
        parser.error(f"no case {', '.join(sorted(unknown))}")
    count = given.count or (QUICK if given.quick else FULL)
    figures = {}
    print(f"{count:,} of each\n{'case':<16}{'calls':>8}{'longest':>12}{'median':>12}")
    for name in given.cases or CASES:
        one = figures[name] = measure(name, count)
        times = "".join(f"{one[which]:>9.2f} ms" for which in ("longest_ms", "median_ms"))
        print(f"{name:<16}{one['calls']:>8.0f}{times}", flush=True)
    if given.json:
        given.json.write_text(json.dumps({"count": count, "cases": figures}, indent=1))


if __name__ == "__main__":
    main()
