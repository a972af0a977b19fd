"""The local stack: processes on loopback. Redis, the proxy, producers and workers of one case; no root, no Docker."""

from __future__ import annotations

import json
from pathlib import Path

from redis import Redis

from faults.base import Link, PingResult
from harness import codec
from harness.errors import StackError
from harness.history_io import LEDGER
from harness.load import PLAN
from harness.result import ServerInfo
from harness.runtime import MARKS, RoleConfig
from harness.stack.base import StackOptions, WorkerStart
from harness.stack.local_worker import LocalWorker
from harness.stack.owned import log_tail
from harness.stack.proc import alive
from harness.stack.proxy_server import ProxyServer
from harness.stack.redis_server import RedisServer, find_binary
from harness.stack.spawn import Spawned, zygote
from harness.stack.zygote import Spawn
from harness.workload import Workload

#: More starts than any schedule asks for: a worker that keeps dying is a broken stack, not a finding.
MAX_STARTS = 20


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
    def inspector(self) -> Redis:
        """A client past the proxy: for final reads only."""
        return self.redis.client

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
            for name in (f"worker-{n}", f"worker-{n}-results"):
                self._link(name, self._options.distance_ms)
        plan = {"workload": codec.encode(self._workload), "producers": self._options.producers}
        (self.folder / PLAN).write_text(json.dumps(plan))
        self._start_producers()

    def _link(self, name: str, distance_ms: int = 0) -> None:
        assert self._proxy is not None
        self.links[name] = self._proxy.link(name, self.redis.port, distance_ms)

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
                raise StackError(
                    f"{producer.role} ended with status {producer.exit_status()}: {log_tail(producer.log, 3)}"
                )
        return True

    def end_load(self) -> None:
        """Kill producers that still run; what they had begun stays pending in the ledger, that is unknown."""
        for producer in self._producers.values():
            producer.end()

    def alive(self, pid: int) -> bool:
        """Whether a process of a worker still runs."""
        return alive(pid)

    def check(self) -> None:
        """Raises StackError when Redis or the proxy ended by itself."""
        for server in (self._redis, self._proxy):
            if server is not None and (status := server.process.exit_status()) is not None:
                raise StackError(f"{server.process.name} ended with status {status}: {server.process.tail(3)}")

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
        if broken := self._proxy.broken():
            return f"link {broken} still carries a fault"
        for link in self.links.values():
            if link.ping().result is not PingResult.PONG:
                return f"no PONG through link {link.name}"
        for worker in self.workers.values():
            if not worker.ready():
                return f"{worker.name} does not run"
            if worker.paused()[0]:
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
