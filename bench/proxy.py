"""How fast the embedded proxy is, next to a real Toxiproxy and to no proxy at all.

usage: CHAOS_TOXIPROXY=/path/to/toxiproxy-server python bench/proxy.py [--quick] [--json FILE]

A 50-byte message goes to an echo and back, on 1, 8 and 64 connections, each sending the next message when the last has
returned. The ratios are embedded/real within one pair of rounds run right after each other, in alternating order, and
the interval is the exact one of their median (order statistics, at least 95 %). The added latency is what a round
through the proxy takes longer than a direct one, at the same quantile and number of connections.

The load is one thread that is the clients and the echo alike, over one epoll, so that on two cores the proxy has one to
itself. Its own cost is the "direct" column: what it reaches with nothing in between. That cost is part of every
figure, so the ratios understate the better proxy.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import on_sigterm  # noqa: F401
from estimate import Estimate

MESSAGE = b"x" * 50
CONNECTIONS = (1, 8, 64)
FULL_PAIRS, FULL_ROUND_S = 12, 1.0
QUICK_PAIRS, QUICK_ROUND_S = 6, 0.3
WARM_UP_S = 0.1
EMBEDDED, REAL, DIRECT = "embedded", "real", "direct"


@dataclass(frozen=True, slots=True)
class Round:
    """One measurement through one target; `cpu_us` is what its process spent per request."""

    per_s: float
    p50_us: float
    p99_us: float
    cpu_us: float


@dataclass(frozen=True, slots=True)
class Target:
    """Where clients connect to; `pid` 0 is no process."""

    name: str
    port: int
    pid: int = 0

    def cpu_s(self) -> float:
        if not self.pid:
            return 0.0
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Load:
    """Clients and echo in one thread. `listener` is the upstream of all targets."""

    listener: socket.socket
    poll: select.epoll = field(default_factory=select.epoll)

    def round(self, target: Target, connections: int, seconds: float) -> Round:
        clients, echoes = self._connect(target.port, connections)
        try:
            self._run(clients, echoes, WARM_UP_S)
            cpu_s, start_s = target.cpu_s(), time.perf_counter()
            times_ns = sorted(self._run(clients, echoes, seconds))
            taken_s, cpu_s = time.perf_counter() - start_s, target.cpu_s() - cpu_s
        finally:
            for sock in (*clients.values(), *echoes.values()):
                self.poll.unregister(sock)
                sock.close()
        count = len(times_ns)
        return Round(
            per_s=count / taken_s,
            p50_us=times_ns[count // 2] / 1000,
            p99_us=times_ns[count * 99 // 100] / 1000,
            cpu_us=cpu_s / count * 1e6,
        )

    def _connect(self, port: int, count: int) -> tuple[dict[int, socket.socket], dict[int, socket.socket]]:
        ends: tuple[dict[int, socket.socket], dict[int, socket.socket]] = ({}, {})
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", port), timeout=5)
            echo, _ = self.listener.accept()
            for sock, among in zip((client, echo), ends, strict=True):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setblocking(False)
                among[sock.fileno()] = sock
                self.poll.register(sock, select.EPOLLIN)
        return ends

    def _run(self, clients: dict[int, socket.socket], echoes: dict[int, socket.socket], seconds: float) -> list[int]:
        """How long each message took, in ns."""
        now_ns, size = time.perf_counter_ns, len(MESSAGE)
        sent_ns: dict[int, int] = {}
        taken_ns: list[int] = []
        end_ns = now_ns() + int(seconds * 1e9)
        for number, sock in clients.items():
            sent_ns[number] = now_ns()
            sock.send(MESSAGE)
        while sent_ns:
            events = self.poll.poll(5)
            if not events:
                raise SystemExit("a message has not come back within 5 s")
            for number, _ in events:
                if number in echoes:
                    echoes[number].send(echoes[number].recv(4096))
                    continue
                received = len(clients[number].recv(4096))
                if received != size:
                    raise SystemExit(f"{received} of {size} bytes came back in one piece")
                received_ns = now_ns()
                taken_ns.append(received_ns - sent_ns[number])
                if received_ns < end_ns:
                    sent_ns[number] = received_ns
                    clients[number].send(MESSAGE)
                else:
                    del sent_ns[number]
        return taken_ns


@contextlib.contextmanager
def server(command: list[str], name: str, upstream: str, api_port: int = 0) -> Iterator[Target]:
    """A proxy process with one proxy to `upstream`."""
    # An untagged build of the real one logs every step unless it is told not to.
    environment = {"LOG_LEVEL": "info", **os.environ}
    output = subprocess.DEVNULL if api_port else subprocess.PIPE
    process = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL, text=True, env=environment)
    try:
        if process.stdout is not None:
            api_port = json.loads(process.stdout.readline())["port"]
        body = json.dumps({"name": "bench", "listen": "127.0.0.1:0", "upstream": upstream}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{api_port}/proxies", body, method="POST")
        for attempt in range(100):
            try:
                with urllib.request.urlopen(request, timeout=5) as answer:
                    listen = json.load(answer)["listen"]
                break
            except OSError:
                if attempt == 99:
                    raise
                time.sleep(0.05)
        yield Target(name, int(listen.rpartition(":")[2]), process.pid)
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def all_targets(listener: socket.socket) -> Iterator[list[Target]]:
    port = listener.getsockname()[1]
    embedded = [sys.executable, "-m", "taskchaos.faults.proxy", "--port", "0"]
    with contextlib.ExitStack() as stack:
        targets = [stack.enter_context(server(embedded, EMBEDDED, f"127.0.0.1:{port}"))]
        path = os.environ.get("CHAOS_TOXIPROXY")
        if path:
            with socket.socket() as probe:  # it does not say which port it got, so one has to be found for it
                probe.bind(("127.0.0.1", 0))
                api_port = probe.getsockname()[1]
            command = [path, "-host", "127.0.0.1", "-port", str(api_port)]
            targets.append(stack.enter_context(server(command, REAL, f"127.0.0.1:{port}", api_port)))
        yield [*targets, Target(DIRECT, port)]


def measure(pairs: int, round_s: float) -> dict[int, dict[str, list[Round]]]:
    results: dict[int, dict[str, list[Round]]] = {}
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener, all_targets(listener) as targets:
        listener.settimeout(5)
        load = Load(listener)
        for count in CONNECTIONS:
            rounds = results[count] = {target.name: [] for target in targets}
            for pair in range(pairs):
                for target in targets if pair % 2 else targets[::-1]:
                    rounds[target.name].append(load.round(target, count, round_s))
    return results


def ratios(rounds: dict[str, list[Round]]) -> dict[str, Estimate]:
    """Embedded to real, pair by pair: above 1 is better for requests/s, below 1 for all others."""
    triples = list(zip(rounds[EMBEDDED], rounds[REAL], rounds[DIRECT], strict=True))
    return {
        "requests/s": Estimate.of([ours.per_s / real.per_s for ours, real, _ in triples]),
        "added p50": Estimate.of(
            [added(ours, direct, "p50_us") / added(real, direct, "p50_us") for ours, real, direct in triples]
        ),
        "added p99": Estimate.of(
            [added(ours, direct, "p99_us") / added(real, direct, "p99_us") for ours, real, direct in triples]
        ),
        "cpu": Estimate.of([ours.cpu_us / max(real.cpu_us, 0.01) for ours, real, _ in triples]),
    }


def added(through: Round, direct: Round, quantile: str) -> float:
    """Microseconds; at least one, as noise must not turn a ratio's sign."""
    return max(1.0, float(getattr(through, quantile)) - float(getattr(direct, quantile)))


def print_table(results: dict[int, dict[str, list[Round]]]) -> None:
    print(f"{'connections':<12}{'target':<10}{'requests/s':>11}{'p50 us':>9}{'p99 us':>9}{'cpu us/request':>16}")
    for count, rounds in results.items():
        for name, measured in rounds.items():
            mid = [statistics.median(getattr(each, column) for each in measured) for column in Round.__slots__]
            print(f"{count:<12}{name:<10}{mid[0]:>11.0f}{mid[1]:>9.0f}{mid[2]:>9.0f}{mid[3]:>16.1f}")


def print_ratios(results: dict[int, dict[str, list[Round]]]) -> None:
    if REAL not in results[CONNECTIONS[0]]:
        print("\nno ratios: set CHAOS_TOXIPROXY to the path of a real Toxiproxy server")
        return
    print("\nembedded/real, median of pairs [exact interval]: requests/s above 1 is better, the others below 1")
    for count, rounds in results.items():
        line = "  ".join(f"{name} {estimate}" for name, estimate in ratios(rounds).items())
        print(f"{count:>3} connections  {line}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, less than 40 s in all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round and the ratios there")
    given = parser.parse_args()
    pairs, round_s = (QUICK_PAIRS, QUICK_ROUND_S) if given.quick else (FULL_PAIRS, FULL_ROUND_S)
    print(f"{pairs} pairs of {round_s} s, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    results = measure(pairs, round_s)
    print_table(results)
    print_ratios(results)
    if given.json:
        document = {
            str(count): {
                "rounds": {name: [asdict(each) for each in measured] for name, measured in rounds.items()},
                "ratios": {n: asdict(each) for n, each in ratios(rounds).items()} if REAL in rounds else {},
            }
            for count, rounds in results.items()
        }
        given.json.write_text(json.dumps(document, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
