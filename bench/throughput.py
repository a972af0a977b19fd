"""How many tasks per second locked_retry runs next to plain Celery and the interview's lock, near Redis and far.

usage: python bench/throughput.py [--quick] [--json FILE] [--rtt-ms 0 2 10 100]

A queue filled beforehand with no-op tasks is worked off by `celery worker -P prefork -c 2` through the embedded proxy,
which adds half of the round trip each way; AOF everysec, results ignored. Plain Celery has acks_late and its default
prefetch; the interview's task sets a lock key with NX and EX around its work and deletes it. Rounds are taken in
interleaved pairs, in alternating order; a ratio is formed within its pair, and its interval is the exact one of the
median (order statistics). Counted is what left queue and bookkeeping within the window, so a task counts when it is
settled. Round trips are requests that the workers waited for. CPU is processor time per task: of the server, and of
all processes of the workers.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from estimate import Estimate
from stand import TRIPS, Kind, Stand, cpu_s, message, until

WARM_UP_S = 1.5
SMALL, LARGE = 200, 10_000
#: Filled in for each second: more than any of them has run.
MOST_TPS = {Kind.LOCKED: 6500, Kind.PLAIN: 2500, Kind.INTERVIEW: 2500}


@dataclass(frozen=True, slots=True)
class Round:
    """One measurement, per task except `tps`."""

    tps: float
    trips: float
    redis_us: float
    worker_us: float


@dataclass(frozen=True, slots=True)
class Setting:
    """What is measured. `payload`: bytes of the task's argument. `task`: noop, or wait, which sleeps for 1 ms."""

    kind: Kind
    rtt_ms: int
    workers: int = 1
    payload: int = SMALL
    task: str = "noop"

    def __str__(self) -> str:
        workers = f"{self.workers} worker{'s' * (self.workers > 1)}"
        return f"{self.kind.value:<10}{self.rtt_ms:>4} ms {self.payload:>6} B  {self.task}  {workers}"


def measure(stand: Stand, setting: Setting, window_s: float) -> Round:
    """Fill the queue, start the workers, look at one window."""
    redis = stand.redis
    redis.flushall()
    # Far away, those that wait for each command run at a few dozen a second.
    most = MOST_TPS[setting.kind] if setting.rtt_ms < 2 or setting.kind is Kind.LOCKED else 600
    pipe = redis.pipeline(transaction=False)
    for _ in range(math.ceil(most * setting.workers**0.5 * (WARM_UP_S + window_s + 1)) + 100):
        pipe.lpush("celery", message("x" * setting.payload, setting.task))
    pipe.execute()
    with stand.latency(setting.rtt_ms), stand.workers(setting.kind, setting.workers) as sessions:
        full = left(stand)
        until(lambda: left(stand) < full, f"the first task of {setting}")
        time.sleep(WARM_UP_S)
        before, began_s = (left(stand), trips(stand, setting.kind)), time.perf_counter()
        redis_cpu_s, worker_cpu_s = stand.redis_cpu_s(), cpu_s(sessions)
        time.sleep(window_s)
        after, took_s = (left(stand), trips(stand, setting.kind)), time.perf_counter() - began_s
        redis_cpu_s, worker_cpu_s = stand.redis_cpu_s() - redis_cpu_s, cpu_s(sessions) - worker_cpu_s
    if not after[0]:
        raise SystemExit(f"the queue of {setting} ran empty within the window: fill in more")
    done = max(before[0] - after[0], 1)
    return Round(done / took_s, (after[1] - before[1]) / done, redis_cpu_s / done * 1e6, worker_cpu_s / done * 1e6)


def left(stand: Stand) -> int:
    """Tasks that are queued or held."""
    pipe = stand.redis.pipeline(transaction=False)
    pipe.llen("celery").hlen("unacked").zcard("lr:lease")
    return int(sum(pipe.execute()))


def trips(stand: Stand, kind: Kind) -> int:
    """Commands so far that this kind of worker waits for."""
    stats: Any = stand.redis.info("commandstats")
    return sum(int(stats.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in TRIPS[kind])


def compare(stand: Stand, a: Setting, b: Setting, pairs: int, window_s: float) -> dict[str, Any]:
    """Pairs of rounds of two settings; prints both and their ratio."""
    rounds: dict[Setting, list[Round]] = {a: [], b: []}
    for number in range(pairs):
        for setting in (a, b) if number % 2 == 0 else (b, a):
            rounds[setting].append(measure(stand, setting, window_s))
    ratio = Estimate.of([x.tps / y.tps for x, y in zip(rounds[a], rounds[b], strict=True)])
    for setting, taken in rounds.items():
        tps, per_task, redis_us, worker_us = (
            statistics.median(getattr(each, name) for each in taken) for name in Round.__slots__
        )
        figures = f"{tps:>8.1f} tasks/s {per_task:>6.3f} trips {redis_us:>5.0f} us Redis {worker_us:>6.0f} us workers"
        print(f"{setting!s:<42}{figures}")
    print(f"{'':<42}ratio {ratio.median:.2f} [{ratio.low:.2f}, {ratio.high:.2f}], {pairs} pairs\n", flush=True)
    measured = [{**asdict(s), "rounds": [asdict(r) for r in taken]} for s, taken in rounds.items()]
    return {"settings": measured, "ratio": asdict(ratio)}


def comparisons(rtts_ms: list[int]) -> list[tuple[Setting, Setting]]:
    """What is put side by side."""
    found = []
    for rtt_ms in rtts_ms:
        found.append((Setting(Kind.LOCKED, rtt_ms), Setting(Kind.PLAIN, rtt_ms)))
        found.append((Setting(Kind.LOCKED, rtt_ms), Setting(Kind.INTERVIEW, rtt_ms)))
        for task in ("noop", "wait"):  # with no-op tasks one worker keeps more than one core busy
            found.append((Setting(Kind.LOCKED, rtt_ms, 2, task=task), Setting(Kind.LOCKED, rtt_ms, task=task)))
        found.append((Setting(Kind.LOCKED, rtt_ms, payload=LARGE), Setting(Kind.PLAIN, rtt_ms, payload=LARGE)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="6 pairs of 1 s windows instead of 8 of 4 s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round and the ratios there")
    parser.add_argument("--rtt-ms", type=int, nargs="*", default=[0, 2, 10, 100])
    given = parser.parse_args()
    pairs, window_s = (6, 1.0) if given.quick else (8, 4.0)
    print(
        f"{pairs} pairs of {window_s} s, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n", flush=True
    )
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        stand = Stand(Path(folder))
        try:
            for a, b in comparisons(given.rtt_ms):
                figures.append(compare(stand, a, b, pairs, window_s))
        finally:
            stand.close()
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
