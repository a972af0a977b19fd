"""The local stack: processes on loopback. Redis, the proxy, producers and workers of one case; no root, no Docker."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from faults.base import Link, PingResult, wait_for
from faults.process import alive, send
from harness import codec
from harness.errors import StackError
from harness.history_io import LEDGER
from harness.load import PLAN
from harness.result import ServerInfo
from harness.runtime import MARKS, RoleConfig
from harness.stack.owned import OwnedProcess, kill_group, log_tail
from harness.stack.proxy_server import ProxyServer
from harness.stack.redis_server import RedisServer, find_binary
from harness.stack.zygote import MESSAGE_BYTES, Spawn
from harness.subject import Settings
from harness.workload import Workload

READY_DEADLINE_S = 20.0
#: More starts than any schedule asks for: a worker that keeps dying is a broken stack, not a finding.
MAX_STARTS = 20


class Pool(StrEnum):
    """Celery pools a worker may run."""

    PREFORK = "prefork"
    THREADS = "threads"
    SOLO = "solo"


class WorkerStart(StrEnum):
    """How a worker process comes to be."""

    ZYGOTE = "zygote"
    COMMAND_LINE = "cli"


@dataclass(frozen=True, slots=True)
class StackOptions:
    """What a person may choose about a stack."""

    workers: int = 2
    producers: int = 1
    pool: Pool = Pool.PREFORK
    worker_start: WorkerStart = WorkerStart.ZYGOTE
    redis_binary: str | None = None
    settings: Settings = Settings()


class Zygote:
    """The harness's end of the zygote process."""

    def __init__(self, log: Path) -> None:
        """Start it; the imports go on while the caller does other things."""
        self._lock = threading.Lock()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            argv = [sys.executable, "-m", "harness.stack.zygote", str(theirs.fileno())]
            self._process = OwnedProcess("zygote", argv, log, fds=(theirs.fileno(),))
        self._socket = ours
        self._socket.settimeout(READY_DEADLINE_S)
        self._ready = False

    def _exchange(self, request: Mapping[str, object], fds: list[int]) -> dict[str, int | None]:
        with self._lock:
            try:
                if not self._ready:
                    self._ready = bool(self._socket.recv(MESSAGE_BYTES))
                socket.send_fds(self._socket, [json.dumps(request).encode()], fds)
                answer = self._socket.recv(MESSAGE_BYTES)
            except OSError as error:
                raise StackError(f"the zygote does not answer ({error}): {self._process.tail()}") from error
            if not answer:
                raise StackError(f"the zygote ended: {self._process.tail()}")
            return json.loads(answer)  # type: ignore[no-any-return]

    def spawn(self, what: Spawn, config: RoleConfig, log: Path) -> Spawned:
        """Fork a process for a role; it still has to become ready."""
        config.save()
        ready_read, ready_write = os.pipe()
        told_read, told_write = os.pipe()
        try:
            request = {"spawn": what.value, "config": str(config.path), "log": str(log)}
            answer = self._exchange(request, [ready_write, told_read])
        finally:
            os.close(ready_write)
            os.close(told_read)
        pid = answer["pid"]
        assert pid is not None, "a spawn is always answered with a pid"
        return Spawned(config.role, pid, ready_read, told_write, log, self)

    def exit_status(self, pid: int) -> int | None:
        """The return code of a forked process; None while it runs."""
        return self._exchange({"status": pid}, [])["status"]

    def stop(self) -> None:
        """End it and with it everything it forked. Idempotent."""
        self._socket.close()
        self._process.stop(grace_s=0.2)


class Spawned:
    """One process forked by the zygote."""

    def __init__(self, role: str, pid: int, ready_fd: int, told_fd: int, log: Path, zygote: Zygote) -> None:
        self.role = role
        self.pid = pid
        self.log = log
        self._ready_fd = ready_fd
        self._told_fd = told_fd
        self._zygote = zygote
        self._is_ready = False
        self._ended = False
        self._polling = threading.Lock()

    def wait_ready(self, deadline_s: float = READY_DEADLINE_S) -> None:
        """Wait until it says so. Raises StackError with the end of its log when it ends first or time runs out."""
        if self.poll_ready(deadline_s):
            return
        if self._ended:
            raise StackError(f"{self.role} ended while starting: {log_tail(self.log, 1)}")
        raise StackError(f"{self.role} was not ready within {deadline_s:g} s: {log_tail(self.log)}")

    def poll_ready(self, wait_s: float = 0.0) -> bool:
        """Whether it has said that it is ready, waiting at most `wait_s`."""
        with self._polling:
            undecided = not self._is_ready and not self._ended and self._ready_fd >= 0
            if undecided and select.select([self._ready_fd], [], [], wait_s)[0]:
                self._is_ready = os.read(self._ready_fd, 1) == b"1"
                self._ended = not self._is_ready  # end of file: it ended without a word
            return self._is_ready

    def tell(self, message: bytes) -> None:
        """Write to its control pipe."""
        os.write(self._told_fd, message)

    def alive(self) -> bool:
        """Whether the process runs."""
        return alive(self.pid)

    def exit_status(self) -> int | None:
        """Its return code, None while it runs."""
        return self._zygote.exit_status(self.pid)

    def end(self) -> None:
        """SIGKILL to its group, and close the pipes. Idempotent."""
        kill_group(self.pid)
        for fd in (self._ready_fd, self._told_fd):
            if fd >= 0:
                os.close(fd)
        self._ready_fd = self._told_fd = -1


_zygotes: dict[int, Zygote] = {}


def zygote(log: Path) -> Zygote:
    """This harness process's zygote, started on first use and kept for all cases."""
    if os.getpid() not in _zygotes:
        _zygotes[os.getpid()] = Zygote(log)
        atexit.register(stop_zygote)
    return _zygotes[os.getpid()]


def stop_zygote() -> None:
    """End this process's zygote, if there is one."""
    running = _zygotes.pop(os.getpid(), None)
    if running is not None:
        running.stop()


class LocalWorker:
    """A worker as faults see it (`faults.base.Worker`)."""

    def __init__(self, config: RoleConfig, what: Spawn, log: Path, zygote_: Zygote) -> None:
        self._config = config
        self._what = what
        self._log = log
        self._zygote = zygote_
        self._expected_death = False
        self._starting = threading.Lock()
        self._all: list[Spawned] = []

    @property
    def name(self) -> str:
        return self._config.role

    @property
    def pid(self) -> int:
        return self._all[-1].pid

    @property
    def starts(self) -> int:
        """How often it was started."""
        return len(self._all)

    def start(self) -> None:
        """Fork the process; `wait_ready` has to follow."""
        with self._starting:
            self._all.append(self._zygote.spawn(self._what, self._config, self._log))
            self._expected_death = False  # last: until here the old process's end is still the fault's doing

    def wait_ready(self) -> None:
        """Wait until it consumes. Raises StackError."""
        self._all[-1].wait_ready()

    def children(self) -> tuple[int, ...]:
        return children_of(self.pid)

    def states(self) -> tuple[str, ...]:
        return tuple(s for pid in (self.pid, *self.children()) if (s := state_of(pid)) is not None)

    def expect_death(self) -> None:
        self._expected_death = True

    def respawn(self) -> None:
        if not self.ready():
            self.start()
            self.wait_ready()

    def ready(self) -> bool:
        return bool(self._all) and self._all[-1].poll_ready() and self._all[-1].alive()

    def died(self) -> str | None:
        """How the parent ended, if it ended and no fault ended it; None otherwise, and once it was started anew."""
        if self._starting.locked() or self._expected_death or not self._all or self._all[-1].alive():
            return None
        return f"ended with status {self._all[-1].exit_status()}: {log_tail(self._log, 3)}"

    def stop(self, grace_s: float) -> None:
        """SIGTERM to the parent when there is a grace, then SIGKILL to every group this worker ever had."""
        if self._all and grace_s > 0:
            send(self.pid, signal.SIGTERM)
            wait_for(lambda: not self._all[-1].alive(), grace_s)
        for spawned in self._all:
            spawned.end()


def state_of(pid: int) -> str | None:
    """The scheduler state letter of a process, None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0]
    except OSError:
        return None


def children_of(pid: int) -> tuple[int, ...]:
    """The live children of a process, oldest first."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="ascii", errors="replace") as stat:
                fields = stat.read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] not in ("Z", "X"):
            found.append(int(entry))
    return tuple(sorted(found))


class LocalStack:
    """Everything one case runs on. Use as a context manager: leaving it ends every process it started."""

    def __init__(self, folder: Path, subject_spec: str, workload: Workload, options: StackOptions) -> None:
        self.folder = folder
        self._subject = subject_spec
        self._workload = workload
        self._options = options
        self.links: dict[str, Link] = {}
        self.workers: dict[str, LocalWorker] = {}
        self._producers: dict[str, Spawned] = {}
        self._redis: RedisServer | None = None
        self._proxy: ProxyServer | None = None

    def __enter__(self) -> LocalStack:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def redis(self) -> RedisServer:
        """The server, past the proxy: for final reads only."""
        assert self._redis is not None, "the stack is not started"
        return self._redis

    @property
    def server(self) -> ServerInfo:
        """Which server it is."""
        return self.redis.info

    def _start(self) -> None:
        logs = self.folder / "logs"
        for sub in (LEDGER, MARKS, "logs", "roles"):
            (self.folder / sub).mkdir(parents=True, exist_ok=True)
        self._zygote = zygote(logs / "zygote.log")
        self._proxy = ProxyServer(logs / "proxy.log")
        self._redis = RedisServer(find_binary(self._options.redis_binary), self.folder / "redis", logs / "redis.log")
        self._proxy.connect()
        for n in range(1, self._options.producers + 1):
            self._link(f"producer-{n}")
        for n in range(1, self._options.workers + 1):
            self._link(f"worker-{n}")
            self._link(f"worker-{n}-results")
        plan = {"workload": codec.encode(self._workload), "producers": self._options.producers}
        (self.folder / PLAN).write_text(json.dumps(plan))
        self._start_producers()

    def _link(self, name: str) -> None:
        assert self._proxy is not None
        self.links[name] = self._proxy.link(name, self.redis.port)

    def _config(self, role: str) -> RoleConfig:
        results = self.links.get(f"{role}-results", self.links[role])
        return RoleConfig(
            role=role,
            subject=self._subject,
            broker_url=self.links[role].url(),
            result_url=results.url(),
            folder=str(self.folder.resolve()),
            settings=self._options.settings,
            pool=self._options.pool.value,
        )

    def _start_producers(self) -> None:
        for n in range(1, self._options.producers + 1):
            role = f"producer-{n}"
            log = self.folder / "logs" / f"{role}.log"
            self._producers[role] = self._zygote.spawn(Spawn.PRODUCER, self._config(role), log)
        for producer in self._producers.values():
            producer.wait_ready()

        what = Spawn.WORKER if self._options.worker_start is WorkerStart.ZYGOTE else Spawn.CLI_WORKER
        for n in range(1, self._options.workers + 1):
            role = f"worker-{n}"
            log = self.folder / "logs" / f"{role}.log"
            self.workers[role] = LocalWorker(self._config(role), what, log, self._zygote)

    def start_workers(self) -> None:
        """Start every worker and wait until all consume. Raises StackError."""
        for worker in self.workers.values():
            worker.start()
        for worker in self.workers.values():
            worker.wait_ready()

    def begin_load(self, at_ns: int) -> None:
        """Tell the producers when the load begins (CLOCK_MONOTONIC)."""
        for producer in self._producers.values():
            producer.tell(str(at_ns).encode())

    def load_done(self) -> bool:
        """Whether every producer has sent its part and ended. Raises StackError if one ended badly."""
        if any(p.alive() for p in self._producers.values()):
            return False
        for producer in self._producers.values():
            if producer.exit_status() not in (0, None):
                raise StackError(f"{producer.role} ended with status {producer.exit_status()}: {log_tail(producer.log, 3)}")
        return True

    def end_load(self) -> None:
        """Kill producers that still run; what they had begun stays pending in the ledger, that is unknown."""
        for producer in self._producers.values():
            producer.end()

    def revive(self) -> list[tuple[str, str]]:
        """Start again, as a supervisor would, workers that died although no fault ended them: (role, how it ended).

        Does not wait until they are ready. Raises StackError when a worker keeps dying.
        """
        dead = [(w, how) for w in self.workers.values() if (how := w.died()) is not None]
        for worker, how in dead:
            if worker.starts > MAX_STARTS:
                raise StackError(f"{worker.name} was started {worker.starts} times and {how}")
            worker.start()
        return [(w.name, how) for w, how in dead]

    def whole(self) -> str:
        """Empty when the world is healed: no toxics, all links answer, all workers run. Otherwise what is not."""
        assert self._proxy is not None
        for state in self._proxy.client.proxies().values():
            if not state.enabled or state.toxics:
                return f"link {state.name} still carries a fault"
        for link in self.links.values():
            if link.ping().result is not PingResult.PONG:
                return f"no PONG through link {link.name}"
        for worker in self.workers.values():
            if not worker.ready():
                return f"{worker.name} does not run"
            if "T" in worker.states():
                return f"{worker.name} is stopped"
        return ""

    def stop(self, grace_s: float = 0.0) -> None:
        """End everything, workers first. Idempotent."""
        for worker in self.workers.values():
            worker.stop(grace_s)
        self.end_load()
        if self._proxy is not None:
            self._proxy.stop()
        if self._redis is not None:
            self._redis.stop()


def with_settings(options: StackOptions, **changes: object) -> StackOptions:
    """The options with some of the subject settings changed."""
    return replace(options, settings=replace(options.settings, **changes))  # type: ignore[arg-type]
