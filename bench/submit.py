"""How many tasks per second one producer submits: submit_many next to Celery's own ways.

usage: python bench/submit.py [--quick] [--json FILE] [--rtt-ms 0 10 100]

One process submits no-op tasks with one argument: straight to Redis at 0 ms, else through the embedded proxy, which
adds half of the round trip each way; AOF everysec, no workers, results ignored. Celery's ways: `apply_async` in a loop,
the same with one producer from the pool, and a `group`. Each round empties Redis, submits, and looks whether all are
queued. The four ways take turns in changing order; a ratio is formed within its turn, and its interval is the exact one
of the median (order statistics; the confidence is printed). A faster way gets more tasks, so that rounds take about the
same time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from celery import Celery, group
from estimate import Estimate
from stand import Stand

from locked_retry import submit_many

GOAL_TPS = 20_000
FULL_ROUNDS, QUICK_ROUNDS = 12, 6
#: Tasks of a round: submit_many's, and Celery's at a round trip of 0; at others what takes about a second.
OURS, THEIRS = 20_000, 1_000


def ours(task: Any, count: int) -> None:
    submit_many(((task, (n,)) for n in range(count)), app=task.app).check()


def loop(task: Any, count: int) -> None:
    for n in range(count):
        task.apply_async((n,))


def producer(task: Any, count: int) -> None:
    with task.app.producer_pool.acquire(block=True) as one:
        for n in range(count):
            task.apply_async((n,), producer=one)


def grouped(task: Any, count: int) -> None:
    group(task.s(n) for n in range(count)).apply_async()


Way = Callable[[Any, int], None]
WAYS: dict[str, Way] = {"submit_many": ours, "apply_async": loop, "one producer": producer, "group": grouped}


def measure(stand: Stand, task: Any, rtt_ms: int, rounds: int, share: float) -> dict[str, list[float]]:
    """Tasks per second of each way, round by round."""
    theirs = min(THEIRS, 1000 // rtt_ms) if rtt_ms else THEIRS
    measured: dict[str, list[float]] = {name: [] for name in WAYS}
    names = list(WAYS)
    with stand.latency(rtt_ms):
        for number in range(-1, rounds):  # the first one warms up
            for place in range(len(names)):
                name = names[(number + place if number % 2 else number - place) % len(names)]
                count = max(5, round(share * (OURS if name == "submit_many" else theirs)))
                stand.redis.flushall()
                begun_s = time.perf_counter()
                WAYS[name](task, count)
                taken_s = time.perf_counter() - begun_s
                if stand.redis.llen("celery") != count:
                    raise SystemExit(f"{name}: not all of {count} tasks are queued")
                if number >= 0:
                    measured[name].append(count / taken_s)
    return measured


def ratios(measured: dict[str, list[float]]) -> dict[str, Estimate]:
    """submit_many's rate in multiples of each other way's."""
    first, *others = WAYS
    return {
        other: Estimate.of([a / b for a, b in zip(measured[first], measured[other], strict=True)]) for other in others
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="6 rounds of a quarter of the tasks")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round and the ratios there")
    parser.add_argument("--rtt-ms", type=int, nargs="*", default=[0, 10, 100])
    given = parser.parse_args()
    rounds, share = (QUICK_ROUNDS, 0.25) if given.quick else (FULL_ROUNDS, 1.0)
    print(f"{rounds} rounds, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    print(f"{'round trip':<12}{'way':<14}{'tasks/s':>9}  submit_many is so many times as fast")
    document: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        stand = Stand(Path(folder))
        try:
            for rtt_ms in given.rtt_ms:
                app = Celery("bench", broker=stand.url if rtt_ms else stand.direct_url, set_as_current=False)
                app.conf.task_ignore_result = True
                measured = measure(stand, app.task(name="noop")(_noop), rtt_ms, rounds, share)
                app.close()
                found = ratios(measured)
                for name, tps in measured.items():
                    ratio = f"{found[name]}  {found[name].confidence:.1%}" if name in found else ""
                    print(f"{rtt_ms:>7} ms  {name:<14}{statistics.median(tps):>9.0f}  {ratio}", flush=True)
                document[str(rtt_ms)] = {"tps": measured, "ratios": {name: asdict(e) for name, e in found.items()}}
        finally:
            stand.close()
    if given.rtt_ms and given.rtt_ms[0] == 0:
        tps = statistics.median(document["0"]["tps"]["submit_many"])
        print(f"goal: at least {GOAL_TPS} tasks/s at 0 ms; the median is {tps:.0f}")
    if given.json:
        given.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


def _noop(number: int) -> None:
    """Never run here."""


if __name__ == "__main__":
    sys.exit(main())
