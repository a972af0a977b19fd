"""The local stack: processes on loopback. Redis, the proxy, producers and workers of one case; no root, no Docker."""

from __future__ import annotations

import time
from pathlib import Path

from redis import Redis

from taskchaos.faults.base import Link, Release
from taskchaos.faults.preload.page import library
from taskchaos.faults.toxiproxy import ToxiproxyError
from taskchaos.harness.case.stack_options import StackOptions
from taskchaos.harness.case.subject_names import spec_of
from taskchaos.harness.errors import StackError
from taskchaos.harness.record.result import ServerInfo
from taskchaos.harness.stack.base import Stack, set_distance
from taskchaos.harness.stack.local.proxy_server import ProxyServer
from taskchaos.harness.stack.local.worker import LocalWorker
from taskchaos.harness.stack.procfs import alive
from taskchaos.harness.stack.redis_group import RedisGroup
from taskchaos.harness.stack.redis_server import RedisServer, find_binary
from taskchaos.harness.stack.volatile_redis import VolatileRedis
from taskchaos.harness.stack.zygote_client import zygote
from taskchaos.harness.workload import Workload

#: How often the proxy is asked whether it is there, and how long it may take.
PROXY_EVERY_S = 0.5
PROXY_ANSWER_S = 2.0
#: The proxy's way to the primary for the harness itself: no fault is done to it.
DIRECT = "direct"


class LocalStack(Stack):
    """Everything one case runs on, as processes of this machine."""

    workers: dict[str, LocalWorker]

    def __init__(
        self, folder: Path, subject_spec: str, workload: Workload, options: StackOptions, *, name: str = ""
    ) -> None:
        super().__init__(folder, subject_spec, workload, options, name=name)
        self.workers = {}
        self._redis: RedisServer | RedisGroup | None = None
        self._direct_port: int | None = None
        self._proxy: ProxyServer | None = None
        self._proxy_seen_s = 0.0

    @property
    def inspector(self) -> Redis:
        return self.redis.client

    @property
    def redis(self) -> RedisServer | RedisGroup:
        """The server, past the proxy: for final reads only."""
        assert self._redis is not None, "the stack is not started"
        return self._redis

    @property
    def direct_url(self) -> str:
        return f"redis://127.0.0.1:{self._direct_port or self.redis.port}/0"

    @property
    def server(self) -> ServerInfo:
        return self.redis.info

    def _start(self) -> None:
        self._proxy = ProxyServer(self.logs / "proxy.log")
        self._redis = self._start_redis(self._proxy)
        self.servers[self._redis.name] = self._redis
        if isinstance(self._redis, RedisServer) and self._options.preload:
            self.clocks[self._redis.name] = self._redis
        api = self._proxy.client
        for name in self.link_names():
            state = api.create(name, f"127.0.0.1:{self.redis.port}")
            self.links[name] = Link(name, state.host, state.port, api)
        if isinstance(self._redis, RedisGroup):
            # What reads Redis for the harness from another process has to find the primary, too.
            self._direct_port = api.create(DIRECT, f"127.0.0.1:{self.redis.port}").port
            for name in (*self.links, DIRECT):
                self._redis.lead(name)
        set_distance(api, [name for name in self.links if name.startswith("worker")], self._options.distance_ms)
        for role in self.roles("worker"):
            config = self.config(role, self.links[role].url(), self.links[f"{role}-results"].url())
            self.workers[role] = LocalWorker(config, self.worker_kind, self.logs / f"{role}.log", self._zygote)
        if self._options.previous and self._options.behind:
            self._offer(self._options.previous)

    def _offer(self, python: str) -> None:
        """Let workers be of the release in this environment too; the last ones begin as such."""
        home = zygote(self.logs / "previous.log", library() if self._options.preload else None, python)
        for number, worker in enumerate(self.workers.values(), start=1):
            worker.offer_previous(home, spec_of(self._subject))  # names of subjects are not known there
            if number > self._options.workers - self._options.behind:
                worker.change_release(Release.PREVIOUS)

    def _start_redis(self, proxy: ProxyServer) -> RedisServer | RedisGroup:
        """Redis as the case wants it, and the proxy ready. Raises StackError."""
        options, binary = self._options, find_binary(self._options.redis_binary)
        if options.failover:
            proxy.connect()
            return RedisGroup(binary, self.folder / "redis", self.logs, options.fsync, proxy.client)
        places = (binary, self.folder / "redis", self.logs / "redis.log", options.fsync)
        if options.volatile_disk:
            started: RedisServer = VolatileRedis(*places)
        else:
            started = RedisServer(*places, preload=library() if options.preload else None)
        proxy.connect()  # it was starting meanwhile
        return started

    def alive(self, pid: int) -> bool:
        return alive(pid)

    def check(self) -> None:
        if self._redis is not None and (how := self._redis.died()):
            raise StackError(f"{self._redis.name} {how}")
        if self._proxy is not None and (status := self._proxy.process.exit_status()) is not None:
            raise StackError(f"the proxy ended with status {status}: {self._proxy.process.tail(3)}")

    def audit(self, *, full_on_purpose: bool) -> None:
        super().audit(full_on_purpose=full_on_purpose)
        if self._proxy is None or time.monotonic() - self._proxy_seen_s < PROXY_EVERY_S:
            return
        began_s = time.monotonic()
        try:
            self._proxy.client.version()
        except ToxiproxyError as error:
            raise StackError(f"the proxy does not answer although nothing was done to it: {error}") from error
        if (took_s := time.monotonic() - began_s) > PROXY_ANSWER_S:
            raise StackError(f"the proxy took {took_s:.1f} s to answer, and held up what went through it")
        self._proxy_seen_s = time.monotonic()

    def _stop_servers(self) -> None:
        if self._proxy is not None:
            self._proxy.stop()
        if self._redis is not None:
            self._redis.stop()
