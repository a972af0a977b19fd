"""The compose stack: Redis, Toxiproxy and workers in containers of docker-compose.chaos.yml, a project for each case.

The harness's side is as on the local stack: producers are processes of this machine, which reach the proxy at its
address in the project's network, as the inspector reaches Redis. (A published port would not do: the engine's relay
accepts connections that the proxy refuses.) The ledger is a bind mount; one machine means one CLOCK_MONOTONIC.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from taskchaos.faults.base import RESULTS, Link, wait_for
from taskchaos.faults.guarded import GuardedClient
from taskchaos.faults.toxiproxy import ToxiproxyClient, ToxiproxyError
from taskchaos.faults.traffic import TrafficSource
from taskchaos.harness.case.stack_options import ProxyKind, StackOptions
from taskchaos.harness.errors import StackError
from taskchaos.harness.record.layout import LEDGER, MARKS
from taskchaos.harness.record.result import ServerInfo
from taskchaos.harness.stack.base import Stack, set_distance
from taskchaos.harness.stack.containers import engine
from taskchaos.harness.stack.containers.images import CONTAINER_USER, environment
from taskchaos.harness.stack.containers.redis_container import RedisContainer
from taskchaos.harness.stack.containers.role import FIRST_PORT, PROXY, RUN
from taskchaos.harness.stack.containers.socket_traffic import SocketTraffic
from taskchaos.harness.stack.containers.subject_code import Code, code_of
from taskchaos.harness.stack.containers.worker import ContainerWorker
from taskchaos.harness.stack.direct_client import direct_client
from taskchaos.harness.stack.redis_access import info_of
from taskchaos.harness.stack.sockets import Socket, connections
from taskchaos.harness.stack.zygote import TEMPORARY
from taskchaos.harness.workload import Workload

API_PORT = 8474
START_DEADLINE_S = 30.0
#: How often it is asked whether Redis and the proxy still run.
CHECK_EVERY_S = 1.0
LINKS = "links.json"
REDIS = "redis"


class ComposeStack(Stack):
    """Everything one case runs on, as containers of a project of its own."""

    workers: dict[str, ContainerWorker]

    def __init__(
        self, folder: Path, subject_spec: str, workload: Workload, options: StackOptions, *, name: str = ""
    ) -> None:
        super().__init__(folder, subject_spec, workload, options, name=name)
        self.workers = {}
        self.project = f"taskchaos-{uuid.uuid4().hex[:8]}"
        self._code: Code = code_of(subject_spec)
        self._env: dict[str, str] = {}
        self._containers: dict[str, Any] = {}
        self._client: Redis | None = None
        self._redis: RedisContainer | None = None
        self._info = ServerInfo("redis", "?")
        self._checked_s = 0.0
        self._repairs: deque[str] = deque()
        self._repairing = threading.Lock()

    @property
    def inspector(self) -> Redis:
        assert self._client is not None, "the stack is not started"
        return self._client

    @property
    def direct_url(self) -> str:
        return f"redis://{self._address(REDIS)}:6379/0"

    @property
    def server(self) -> ServerInfo:
        return self._info

    def _start(self) -> None:
        self._share_folder()
        ports = {name: FIRST_PORT + n for n, name in enumerate(self.link_names())}
        self._write_links(ports)
        self._env = self._environment()
        # Not --wait: a health check costs a process each time, and is asked for again below, without one.
        engine.compose(self.project, "up", "--detach", "--no-build", REDIS, PROXY, "worker", env=self._env)
        self._find_containers()
        proxy = self._address(PROXY)
        api = self._api(proxy)
        self._client = direct_client(self._address(REDIS), 6379)
        self._await("the proxy", lambda: set(ports) <= set(api.proxies()))
        self._await("Redis", lambda: bool(self.inspector.ping()))
        self._info = info_of(self.inspector)
        small = bool(self._options.redis_disk_mb)
        self._redis = RedisContainer(REDIS, self._containers[REDIS], self.inspector, small_disk=small)
        self.servers[REDIS] = self._redis
        if isinstance(api, GuardedClient):
            api.adopt()
        for name, port in ports.items():
            self.links[name] = Link(name, proxy, port, api, self._traffic(name, proxy, port, api))
        set_distance(api, [name for name in ports if name.startswith("worker")], self._options.distance_ms)
        self._make_workers(ports)

    def _share_folder(self) -> None:
        """Let the containers' user write where the roles write."""
        for sub in (LEDGER, MARKS, "logs", TEMPORARY, RUN):
            place = self.folder / sub
            place.mkdir(exist_ok=True)
            if os.getuid() == 0:
                os.chown(place, CONTAINER_USER, CONTAINER_USER)

    def _write_links(self, ports: dict[str, int]) -> None:
        links = [
            {"name": name, "listen": f"[::]:{port}", "upstream": "redis:6379", "enabled": True}
            for name, port in ports.items()
        ]
        (self.folder / LINKS).write_text(json.dumps(links, indent=1) + "\n", encoding="utf-8")

    def _environment(self) -> dict[str, str]:
        """What the compose file is filled in with."""
        case = self.folder.resolve()
        disk_mb = self._options.redis_disk_mb
        return {
            **environment(self._options),
            "COMPOSE_PROJECT_NAME": self.project,
            "CHAOS_OWNER": engine.owner_of(os.getpid()),
            "CHAOS_CASE_ID": self.folder.name,
            "CHAOS_CASE": str(case),
            "CHAOS_LINKS": str(case / LINKS),
            "CHAOS_WORKERS": str(self._options.workers),
            "CHAOS_HEALTH_INTERVAL": "1h",
            "CHAOS_AFTER": "service_started",
            **{f"CHAOS_REDIS_{name.upper()}": value for name, value in self._options.fsync.settings.items()},
            **({"CHAOS_REDIS_DISK": "small", "CHAOS_REDIS_DISK_SIZE": f"{disk_mb}m"} if disk_mb else {}),
            **({"CHAOS_SUBJECT_FOLDER": str(self._code.folder)} if self._code.folder else {}),
        }

    def _find_containers(self) -> None:
        """By service; the workers' also by number."""
        wanted = {"label": f"{engine.STACK}={self.project}"}
        for container in engine.client().containers.list(all=True, filters=wanted):
            service = container.labels["com.docker.compose.service"]
            number = container.labels["com.docker.compose.container-number"]
            self._containers[f"{service}-{number}" if service == "worker" else service] = container

    def _address(self, service: str) -> str:
        networks = self._containers[service].attrs["NetworkSettings"]["Networks"]
        address = next((n["IPAddress"] for n in networks.values() if n["IPAddress"]), "")
        if not address:
            self._gone(service)
            raise StackError(f"{service} has no address in the network of {self.project}")
        return str(address)

    def _api(self, address: str) -> ToxiproxyClient:
        if self._options.proxy is ProxyKind.EMBEDDED:
            return ToxiproxyClient(address, API_PORT)
        return GuardedClient(address, API_PORT, restart=self._restart_proxy, restarted=self._repairs.append)

    def _traffic(self, link: str, proxy: str, port: int, api: ToxiproxyClient) -> TrafficSource | None:
        """Where the traffic of a link is seen; None where the proxy says it, as the embedded one does."""
        if self._options.proxy is ProxyKind.EMBEDDED:
            return None
        role = link.removesuffix(RESULTS)

        def seen() -> list[Socket]:
            if role in self.workers:
                return self.workers[role].connections(proxy, port)
            return connections(proxy, port)  # producers are processes of this machine

        return SocketTraffic(api, link, seen)

    def _restart_proxy(self) -> None:
        """The real one hangs for good when a client dies while a toxic is removed. Raises StackError if it moved."""
        container = self._containers[PROXY]
        with self._repairing:
            before = self._address(PROXY)
            container.restart(timeout=0)
            container.reload()
            if self._address(PROXY) != before:
                raise StackError(f"the proxy was restarted and is not at {before} any more: the links are lost")

    def repairs(self) -> list[str]:
        found = []
        while self._repairs:
            found.append(self._repairs.popleft())
        return found

    def _await(self, what: str, ready: Callable[[], bool]) -> None:
        """Wait for a server. Raises StackError when it ends first, or is not ready in time."""
        last = [""]

        def is_ready() -> bool:
            try:
                return ready()
            except (ToxiproxyError, RedisError) as error:
                last[0] = str(error)
                self._gone(REDIS, PROXY)
                return False

        if not wait_for(is_ready, START_DEADLINE_S, every_s=0.02):
            raise StackError(
                f"{what} was not ready within {START_DEADLINE_S:g} s: {last[0] or 'its links are missing'}"
            )

    def _gone(self, *services: str) -> None:
        """Raises StackError when one of these containers has ended."""
        for service in services:
            container = self._containers[service]
            if (how := engine.how_it_ended(container)) is not None:
                raise StackError(f"{service} {how}: {engine.printed(container)}")

    def _make_workers(self, ports: dict[str, int]) -> None:
        for number, role in enumerate(self.roles("worker"), 1):
            broker, results = (f"redis://{PROXY}:{ports[link]}/0" for link in (role, f"{role}-results"))
            config = self.config(role, broker, results, subject=self._code.spec)
            log = self.logs / f"{role}.log"
            self.workers[role] = ContainerWorker(config, self.worker_kind, log, self._containers[role], number)

    def start_workers(self) -> None:
        for worker in self.workers.values():
            worker.await_zygote()  # all of them first: the drain of a queue is measured from the last start on
        super().start_workers()

    def alive(self, pid: int) -> bool:
        return any(worker.alive(pid) for worker in self.workers.values())

    def check(self) -> None:
        if time.monotonic() - self._checked_s > CHECK_EVERY_S:
            with self._repairing:
                self._gone(PROXY)
                if self._redis is not None and not self._redis.down_on_purpose:
                    self._gone(REDIS)
            self._checked_s = time.monotonic()

    def _stop_servers(self) -> None:
        if not self._env:
            return  # nothing was started
        if self._client is not None:
            self._client.close()
        for name, container in self._containers.items():
            (self.logs / f"container-{name}.log").write_bytes(container.logs())
        engine.compose(self.project, "down", "--volumes", "--timeout", "0", env=self._env)
        self._env = {}
