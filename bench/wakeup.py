"""How long a single task waits until it runs, when the worker is idle: locked_retry next to plain Celery.

usage: python bench/wakeup.py [--quick] [--json FILE] [--rtt-ms 0 10 100]

A message is pushed straight into the queue of an idle `celery worker -P prefork -c 2` behind the embedded proxy, as any
foreign producer does it; the task notes the time (CLOCK_MONOTONIC) at which it runs. The two kinds take turns. Either
takes three halves of a round trip: plain Celery's BRPOP is answered, and its record in `unacked` has to be; a worker of
locked_retry is told by a push, and its turn has to be answered.

Then, of locked_retry alone: how long after its end a task is settled in Redis, and how long after it was due, by the
clock of Redis, a retry begins.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from stand import DEADLINE_S, Kind, Stand, message, until

BOUND_TRIPS, BOUND_S = 2, 0.005
#: What else is measured, and its bound beside two round trips: a settle waits for company for 10 ms.
LATENESS = {"settle": 0.030, "retry": 0.020}


def wait_s(stand: Stand, number: int) -> float:
    """From the push to the first line of the task."""
    path = stand.folder / f"stamp-{number}"
    text = message(str(path), task="stamp")
    pushed_s = time.monotonic()
    stand.redis.lpush("celery", text)
    until(path.exists, "the task")
    return float(path.read_text()) - pushed_s


def measure(stand: Stand, kind: Kind, rtt_ms: int, count: int, numbers: list[int]) -> list[float]:
    """So many single tasks, each after the worker has gone back to waiting."""
    stand.redis.flushall()
    taken_s = []
    with stand.latency(rtt_ms), stand.workers(kind):
        for _ in range(count + 2):
            numbers.append(len(numbers))
            taken_s.append(wait_s(stand, numbers[-1]))
            time.sleep(0.05 + 3 * rtt_ms / 1000)  # it settles, and is idle again
    return taken_s[2:]


def lateness(stand: Stand, rtt_ms: int, count: int, numbers: list[int]) -> tuple[list[float], list[float]]:
    """Of so many settles, and of as many retries, of an idle worker."""
    stand.redis.flushall()
    settles_s, retries_s = [], []
    with stand.latency(rtt_ms), stand.workers(Kind.LOCKED):
        for _ in range(count + 2):
            numbers.append(len(numbers))
            path = stand.folder / f"again-{numbers[-1]}"
            stand.redis.lpush("celery", message(str(path), task="again"))
            until(lambda: bool(stand.redis.zcard("lr:delay")), "the retry is planned")
            ((_, due_ms),) = stand.redis.zrange("lr:delay", 0, 0, withscores=True)
            until(path.exists, "the retry")
            ended_s = float(path.read_text())
            retries_s.append(ended_s - (due_ms / 1000 - time.time() + time.monotonic()))
            end_s = time.monotonic() + DEADLINE_S
            while stand.redis.zcard("lr:lease") and time.monotonic() < end_s:
                time.sleep(0.0002)
            settles_s.append(time.monotonic() - ended_s)
            time.sleep(0.05 + 3 * rtt_ms / 1000)
    return settles_s[2:], retries_s[2:]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="40 tasks of each kind instead of 200")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every wait there")
    parser.add_argument("--rtt-ms", type=int, nargs="*", default=[0, 10, 100])
    given = parser.parse_args()
    rounds, count = (2, 20) if given.quick else (5, 40)
    print(
        f"{rounds} rounds of {count} tasks, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True
    )
    print(f"{'round trip':<12}{'kind':<10}{'median':>9}{'p95':>9}{'longest':>9}")
    figures: dict[str, list[float]] = {}
    numbers: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        stand = Stand(Path(folder))
        try:
            for rtt_ms in given.rtt_ms:
                waits: dict[Kind, list[float]] = {Kind.LOCKED: [], Kind.PLAIN: []}
                for _ in range(rounds):
                    for kind, taken_s in waits.items():
                        taken_s += measure(stand, kind, rtt_ms, count, numbers)
                for kind, taken_s in waits.items():
                    figures[f"{kind.value} {rtt_ms} ms"] = taken_s
                    print_row(kind.value, rtt_ms, sorted(taken_s), BOUND_TRIPS * rtt_ms / 1000 + BOUND_S)
                found = [lateness(stand, rtt_ms, count, numbers) for _ in range(rounds)]
                for number, (name, bound_s) in enumerate(LATENESS.items()):
                    late_s = sorted(one for each in found for one in each[number])
                    figures[f"{name} {rtt_ms} ms"] = late_s
                    print_row(name, rtt_ms, late_s, bound_s + BOUND_TRIPS * rtt_ms / 1000)
        finally:
            stand.close()
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")


def print_row(name: str, rtt_ms: int, taken_s: list[float], bound_s: float) -> None:
    within = sum(each <= bound_s for each in taken_s) / len(taken_s)
    middle, high = statistics.median(taken_s), taken_s[int(0.95 * len(taken_s))]
    times = "".join(f"{each * 1000:>6.1f} ms" for each in (middle, high, taken_s[-1]))
    print(f"{rtt_ms:>4} ms      {name:<10}{times}  {within:.0%} within {bound_s * 1000:g} ms", flush=True)


if __name__ == "__main__":
    main()
