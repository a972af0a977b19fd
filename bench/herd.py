"""What a message, a due retry and idleness cost Redis when many workers are idle.

usage: python bench/herd.py [--quick] [--json FILE] [--workers 1 10 100 300]

So many sessions with engines and doorbells, each on its two connections to a Valkey of its own, in one loop without
Celery. What they are given they have done at once. A message is pushed when all are idle, as any foreign producer does
it, and followed until it is settled; so is one that is retried, of which the figures are the difference. Turns are
counted by the server (INFO commandstats), and what idle workers do by themselves, measured before, is subtracted.
`burst`: as many messages as all workers can hold are pushed at once; the time until the last one is claimed.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import os
import resource
import selectors
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from redis import Connection
from stand import DEADLINE_S, Stand, message

from locked_retry.broker.turns import Claim, Keys, SettlementKind
from locked_retry.options import Options
from locked_retry.worker.engine import Engine
from locked_retry.worker.session import BASE_ROOM, Session

QUEUE = "celery"
RETRY_MS = 300


class Prefetch:
    """kombu's, with no limit."""

    prefetch_count = 0

    def can_consume(self) -> bool:
        return True

    def can_consume_max_estimate(self) -> None:
        return None


class Worker:
    """A session with its engine and wake-up; what kombu's channel and poller are to them."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.qos = Prefetch()
        self.connection = SimpleNamespace(cycle=SimpleNamespace(arm=lambda: None))
        options = Options()
        self.session = Session(options)
        self.engine = Engine(self, self.session, Keys(), options)
        self.due_s = 0.0

    def turn_queue_keys(self, order: Any = None) -> tuple[list[str], tuple[str, ...]]:
        return [QUEUE], (QUEUE,)

    def cycle_connect(self, line: Any, kind: str) -> Connection:
        if line.connection is None or line.connection._sock is None:
            line.connection = Connection(port=self.fleet.port, protocol=3, socket_timeout=5)
            line.connection.connect()
            on_readable = self.engine.on_turn_readable if kind == "TURN" else self.engine.bell.on_readable
            self.fleet.selector.register(line.connection._sock, selectors.EVENT_READ, (self, on_readable))
        return line.connection

    def deliver(self, claim: Claim, queue: str, claimed_at_s: float) -> None:
        self.fleet.delivered(self, claim)

    def buried(self, one: Any) -> None:
        raise AssertionError(f"nothing fails here: {one}")


class Fleet:
    """All workers, in one loop."""

    def __init__(self, stand: Stand, count: int) -> None:
        self.redis = stand.redis
        self.stand = stand
        self.port = int(stand.direct_url.rpartition(":")[2].partition("/")[0])
        self.selector = selectors.DefaultSelector()
        self.got: list[tuple[float, str]] = []
        self.retries = False  # whether what comes for the first time is to be retried
        self.keeps = False  # whether what comes is held
        self._alarms: list[tuple[float, int, Worker]] = []
        self._number = itertools.count()
        self.redis.flushall()
        self.workers = [Worker(self) for _ in range(count)]
        for worker in self.workers:
            self._pump(worker)

    def delivered(self, worker: Worker, claim: Claim) -> None:
        self.got.append((time.time(), claim.row))
        first = self._is_new(claim.row)
        if self.keeps:
            return
        if self.retries and first:
            worker.session.end_now(claim.fence, SettlementKind.RETRY, RETRY_MS, "not yet")
        else:
            worker.session.end(claim.fence, SettlementKind.OK)

    def _is_new(self, row: str) -> bool:
        return sum(one == row for _, one in self.got) == 1

    def _pump(self, worker: Worker) -> None:
        worker.engine.pump()
        worker.due_s = time.monotonic() + worker.engine.wait_s()
        heapq.heappush(self._alarms, (worker.due_s, next(self._number), worker))

    def run(self, until: Callable[[], bool], limit_s: float = DEADLINE_S) -> None:
        """Go round until it is so, or the time is up."""
        end_s = time.monotonic() + limit_s
        while not until() and time.monotonic() < end_s:
            next_s = min(self._alarms[0][0], end_s) - time.monotonic()
            for key, _ in self.selector.select(max(0.0, min(next_s, 0.005))):
                worker, on_readable = key.data
                on_readable()
                self._pump(worker)
            while self._alarms[0][0] <= time.monotonic():
                due_s, _, worker = heapq.heappop(self._alarms)
                if due_s == worker.due_s:
                    self._pump(worker)

    def rest(self, for_s: float) -> None:
        self.run(lambda: False, for_s)

    def close(self) -> None:
        for worker in self.workers:
            worker.engine.disconnect()
            os.close(worker.engine._reader)
            os.close(worker.engine._writer)
        self.selector.close()


def calls(fleet: Fleet) -> dict[str, int]:
    """Commands so far: turns, and what doorbells send."""
    stats: Any = fleet.redis.info("commandstats")
    names = {"turns": ("evalsha", "eval"), "exists": ("exists",), "blpop": ("blpop",)}
    return {k: sum(int(stats.get(f"cmdstat_{n}", {}).get("calls", 0)) for n in v) for k, v in names.items()}


class Watch:
    """What was used between two moments."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._at_s, self._cpu_s, self._calls = time.monotonic(), fleet.stand.redis_cpu_s(), calls(fleet)

    def read(self) -> dict[str, float]:
        """Commands, processor time of the server, and time gone by."""
        now = calls(self._fleet)
        used = {name: float(now[name] - self._calls[name]) for name in now}
        return used | {
            "cpu_s": self._fleet.stand.redis_cpu_s() - self._cpu_s,
            "took_s": time.monotonic() - self._at_s,
        }


def idle(fleet: Fleet, for_s: float) -> dict[str, float]:
    """Per second."""
    watch = Watch(fleet)
    fleet.rest(for_s)
    used = watch.read()
    return {name: value / used["took_s"] for name, value in used.items()}


def each(used: dict[str, float], background: dict[str, float], count: int) -> dict[str, float]:
    """Per message, without what goes on anyway."""
    return {n: (used[n] - background[n] * used["took_s"]) / count for n in ("turns", "exists", "blpop", "cpu_s")}


def messages(fleet: Fleet, background: dict[str, float], count: int, retried: bool) -> dict[str, Any]:
    """One by one, each when the one before has been settled for long."""
    fleet.retries = retried
    late_ms, watch = [], Watch(fleet)
    for _ in range(count):
        seen, due_s = len(fleet.got), time.time()
        fleet.redis.lpush(QUEUE, message(""))
        fleet.run(lambda seen=seen: len(fleet.got) > seen)
        if retried:
            fleet.rest(RETRY_MS / 2000)
            ((_, due_ms),) = fleet.redis.zrange("lr:delay", 0, 0, withscores=True)
            due_s = due_ms / 1000
            fleet.run(lambda seen=seen: len(fleet.got) > seen + 1)
        late_ms.append((fleet.got[-1][0] - due_s) * 1000)
        fleet.rest(0.08)
    middle, high = statistics.median(late_ms), sorted(late_ms)[int(0.95 * len(late_ms))]
    return {**each(watch.read(), background, count), "median_ms": middle, "p95_ms": high, "late_ms": late_ms}


def burst(fleet: Fleet) -> float:
    """Seconds until the last one of as many as can be held is claimed."""
    fleet.keeps = True
    count, seen, pushed_s = BASE_ROOM * len(fleet.workers), len(fleet.got), time.time()
    fleet.redis.lpush(QUEUE, *[message("") for _ in range(count)])
    fleet.run(lambda: len(fleet.got) >= seen + count)
    return fleet.got[-1][0] - pushed_s


def measure(stand: Stand, workers: int, count: int, idle_s: float) -> dict[str, Any]:
    fleet = Fleet(stand, workers)
    try:
        fleet.rest(3.0)
        background = idle(fleet, idle_s)
        found: dict[str, Any] = {"workers": workers, "idle": background}
        found["message"] = messages(fleet, background, count, False)
        found["retry"] = messages(fleet, background, count, True)
        for name in ("turns", "exists", "blpop", "cpu_s"):
            found["retry"][name] -= found["message"][name]
        found["burst_s"] = burst(fleet)
        return found
    finally:
        fleet.close()


def print_row(found: dict[str, Any]) -> None:
    resting = found["idle"]
    line = f"{found['workers']:>5}  {resting['turns']:>7.1f}/s {resting['cpu_s']:>6.2%}"
    for name in ("message", "retry"):
        one = found[name]
        line += f"  {one['turns']:>6.2f} {one['exists']:>6.1f} {one['blpop']:>5.1f} {one['cpu_s'] * 1e6:>7.0f} us"
        line += f" {one['median_ms']:>6.2f} {one['p95_ms']:>6.2f} ms"
    print(f"{line}  {found['burst_s'] * 1000:>6.0f} ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20 messages and retries instead of 100; 5 s idle, not 20")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 10, 100, 300])
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    count, idle_s = (20, 5.0) if given.quick else (100, 20.0)
    print(f"{count} messages, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    one = f"{'turns':>6} {'EXISTS':>6} {'BLPOP':>5} {'Redis':>10} {'median':>6} {'p95':>9}"
    print(f"{'':<7}{'idle: turns, core':<18}  {'each message:':<47}{'each due retry, and late by:':<47}{'burst':>9}")
    print(f"{'':<25}  {one}  {one}", flush=True)
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        stand = Stand(Path(folder))
        try:
            for workers in given.workers:
                figures.append(measure(stand, workers, count, idle_s))
                print_row(figures[-1])
        finally:
            stand.close()
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
