"""What every stack is and does, wherever Redis, the proxy and the workers run."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from taskchaos.faults.base import Link, PingResult, Server, wait_for
from taskchaos.faults.clock import Clocked
from taskchaos.faults.command_api import CommandClient
from taskchaos.faults.message import Queue
from taskchaos.faults.preload.page import ProcessPage, library
from taskchaos.faults.toxiproxy import Stream, ToxiproxyClient, ToxiproxyError
from taskchaos.harness import codec
from taskchaos.harness.case.stack_options import ProxyKind, StackOptions, WorkerStart, roles
from taskchaos.harness.clock import now_ns
from taskchaos.harness.errors import StackError
from taskchaos.harness.record import alarm, wire
from taskchaos.harness.record.history import Usage
from taskchaos.harness.record.layout import LEDGER, MARKS
from taskchaos.harness.record.result import ServerInfo
from taskchaos.harness.record.wire import WireCommand
from taskchaos.harness.stack.forked_producer import ForkedProducer
from taskchaos.harness.stack.forked_worker import ForkedWorker
from taskchaos.harness.stack.inspection import BrokerInspector
from taskchaos.harness.stack.message_queue import MessageQueue
from taskchaos.harness.stack.producer import PLAN, Told
from taskchaos.harness.stack.runtime import RoleConfig
from taskchaos.harness.stack.zygote import TEMPORARY, Spawn, page_of
from taskchaos.harness.stack.zygote_client import LocalZygote, Spawned, zygote
from taskchaos.harness.workload import Workload

#: More starts than any schedule asks for: a worker that keeps dying is a broken stack, not a finding.
MAX_STARTS = 20
#: The role that reads Redis for the harness, past the proxy.
INSPECTOR = "inspector"
#: What a producer that is ended gets to say where it stands.
LAST_WORDS_S = 0.5
#: What toxics that belong to the stack begin with: how far away Redis is.
DISTANCE = "distance"


class Stack(ABC):
    """Everything one case runs on. A context manager: leaving it ends everything that was started.

    Entering starts Redis, the proxy and the producers (which wait to be told); workers are started apart, because a
    prefilled queue needs none. Every start raises StackError when it does not succeed in time.

    links: the paths through the proxy, by role; a worker's result path is `<role>-results`. workers, producers: by
    role. servers: those that faults may be done to, by role. clocks: whose clock may be set, by role. reader: the
    subject's own eyes on Redis, in a process of its own. name: the subject's, for error messages.
    """

    def __init__(
        self, folder: Path, subject_spec: str, workload: Workload, options: StackOptions, *, name: str = ""
    ) -> None:
        self.folder = folder
        self._subject = subject_spec
        self._name = name or subject_spec
        self._workload = workload
        self._options = options
        self.links: dict[str, Link] = {}
        self.workers: Mapping[str, ForkedWorker] = {}
        self.producers: dict[str, ForkedProducer] = {}
        self.servers: dict[str, Server] = {}
        self.clocks: dict[str, Clocked] = {}
        self._inspecting: Spawned | None = None
        self.reader: BrokerInspector

    def __enter__(self) -> Self:
        try:
            self._prepare_folder()
            self._zygote = zygote(self.logs / "zygote.log", library() if self._options.preload else None)
            if self._options.preload:
                self._make_pages()
            self._start()
            self._watch_wire()
            self._start_producers()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def logs(self) -> Path:
        """Where every process of the case logs to."""
        return self.folder / "logs"

    @property
    @abstractmethod
    def inspector(self) -> Redis:
        """A client past the proxy, for final reads and audits only."""

    @property
    def queues(self) -> dict[str, Queue]:
        """What messages of faults are sent to, by role."""
        queue = MessageQueue(self.inspector)
        return {queue.name: queue}

    @property
    @abstractmethod
    def direct_url(self) -> str:
        """Redis past the proxy, for the inspector only."""

    @property
    @abstractmethod
    def server(self) -> ServerInfo:
        """Which server it is."""

    @abstractmethod
    def alive(self, pid: int) -> bool:
        """Whether the worker's process with this pid of the ledger still runs."""

    @abstractmethod
    def check(self) -> None:
        """Raises StackError when Redis or the proxy ended by itself: nothing that follows could prove anything."""

    def audit(self, *, full_on_purpose: bool) -> None:
        """Raises StackError when what belongs to the harness has failed although it still runs.

        full_on_purpose: a fault of the case lets Redis refuse writes. Everything else that makes it refuse them is
        ours, for example a run folder on a full disk, and is not to be held against the subject.
        """
        if why := alarm.raised(self.folder / LEDGER):
            raise StackError(why)
        if not self._zygote.running():
            raise StackError("the zygote ended, and with it every process of the case")
        if full_on_purpose:
            return
        try:
            refused = self.inspector.info("errorstats").get("errorstat_MISCONF")
        except (RedisConnectionError, RedisTimeoutError) as error:
            self.check()  # how it ended says more, if it did
            raise StackError(f"Redis does not answer although nothing was done to it: {error}") from error
        except RedisError:
            return  # a script of the subject's may keep it busy
        if refused:
            raise StackError(
                f"Redis could not write its append-only file, and refused {refused['count']} commands for that: "
                f"is the disk of {self.folder} full?"
            )

    def repairs(self) -> list[str]:
        """What of the stack itself had to be restarted since the last call, in words.

        Nothing: what runs beside us has never needed it.
        """
        return []

    @abstractmethod
    def _start(self) -> None:
        """Start Redis and the proxy, fill `links`, and make `workers` without starting them. Raises StackError."""

    @abstractmethod
    def _stop_servers(self) -> None:
        """End what `_start` started; called after a failed start too. Idempotent."""

    def _watch_wire(self) -> None:
        """Have the proxy note the commands that carry tasks, before anybody has a connection."""
        if self._keeps_wire:
            for link in self.links.values():
                CommandClient.beside(link.api).keep_journal(link.name, about=wire.PATTERNS)

    @property
    def _keeps_wire(self) -> bool:
        return self._options.wire and self._options.proxy is ProxyKind.EMBEDDED

    def wire_commands(self) -> list[WireCommand] | None:
        """The commands that carried tasks up to now; None where they were not noted, or cannot be had any more."""
        if not self._keeps_wire:
            return None
        try:
            return wire.record_of(CommandClient.beside(next(iter(self.links.values())).api).journal())
        except (ToxiproxyError, KeyError, TypeError, ValueError):
            return None

    def _prepare_folder(self) -> None:
        for sub in (LEDGER, MARKS, "logs", "roles", TEMPORARY):
            (self.folder / sub).mkdir(parents=True, exist_ok=True)
        alarm.prepare(self.folder / LEDGER)
        plan = {"workload": codec.encode(self._workload), "producers": self._options.producers}
        plan["workers"] = self._options.workers
        (self.folder / PLAN).write_text(json.dumps(plan), encoding="utf-8")

    def _make_pages(self) -> None:
        """What the processes of the roles will be made to see; nothing, to begin with."""
        for role in (*self.roles("producer"), *self.roles("worker")):
            page = ProcessPage(page_of(self.config(role, "", "").path))
            self.clocks[role] = RoleClock(role, page)

    def roles(self, kind: str) -> tuple[str, ...]:
        """The roles of "producer" or "worker"."""
        count = self._options.producers if kind == "producer" else self._options.workers
        return roles(kind, count)

    @property
    def worker_kind(self) -> Spawn:
        """How a worker process comes to be."""
        return Spawn.WORKER if self._options.worker_start is WorkerStart.ZYGOTE else Spawn.CLI_WORKER

    def link_names(self) -> tuple[str, ...]:
        """The links that the case needs: one for each producer, two for each worker."""
        workers = self.roles("worker")
        return (*self.roles("producer"), *(name for role in workers for name in (role, f"{role}-results")))

    def config(self, role: str, broker_url: str, result_url: str, *, subject: str = "") -> RoleConfig:
        """What a role's process has to know. subject: its spec there, if it is another one than here."""
        return RoleConfig(
            role=role,
            subject=subject or self._subject,
            broker_url=broker_url,
            result_url=result_url,
            folder=str(self.folder.resolve()),
            settings=self._options.settings,
            pool=self._options.pool.value,
        )

    def _start_producers(self) -> None:
        home: LocalZygote = self._zygote
        for role in self.roles("producer"):
            url = self.links[role].url()
            producer = ForkedProducer(self.config(role, url, url), self.logs / f"{role}.log", home)
            producer.start()
            self.producers[role] = producer
        direct = self.config(INSPECTOR, self.direct_url, self.direct_url)
        eyes = home.spawn(Spawn.INSPECTOR, direct, self.logs / f"{INSPECTOR}.log")
        self._inspecting = eyes
        for producer in self.producers.values():
            producer.wait_ready()
        eyes.wait_ready()
        self.reader = BrokerInspector(eyes, self._name)

    def start_workers(self) -> None:
        """Start every worker and wait until all consume. Raises StackError."""
        for worker in self.workers.values():
            worker.start()
        for worker in self.workers.values():
            worker.wait_ready()

    def begin_load(self, at_ns: int, *, open_end: bool = False) -> None:
        """Tell the producers when the load begins (CLOCK_MONOTONIC).

        open_end: after the last operation of the plan they wait for `extend_load`.
        """
        planned = self._workload.operations if open_end else None
        self._tell_producers(Told(begin_ns=at_ns, operations=planned, last=False))

    def extend_load(self, operations: int, *, last: bool) -> None:
        """Tell the producers of a load with an open end how many operations there are, at the rate of the plan."""
        self._tell_producers(Told(operations=operations, last=last))

    def _tell_producers(self, told: Told) -> None:
        for producer in self.producers.values():
            producer.tell(told)

    def load_done(self) -> bool:
        """Whether every producer has sent its part and ended. Raises StackError or SubjectError if one did badly."""
        if any(producer.at_work() for producer in self.producers.values()):
            return False
        for producer in self.producers.values():
            if how := producer.died():
                raise StackError(f"{producer.name} {how}")
        return True

    def end_load(self) -> None:
        """End producers that still run; what they had begun is unknown, and they write down where it stands."""
        for producer in self.producers.values():
            producer.dismiss()
        wait_for(lambda: not any(producer.running() for producer in self.producers.values()), LAST_WORDS_S)
        for producer in self.producers.values():
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
        """Empty when the world is healed: no toxics, no rules, all links answer, all workers run. Else what is not."""
        knows_rules = self._options.proxy is ProxyKind.EMBEDDED
        if left := left_behind(next(iter(self.links.values())).api, knows_rules=knows_rules):
            return left
        for link in self.links.values():
            if link.ping().result is not PingResult.PONG:
                return f"no PONG through link {link.name}"
        for server in self.servers.values():
            if why := server.whole():
                return why
        for worker in self.workers.values():
            if not worker.ready():
                return f"{worker.name} does not run"
            if worker.paused()[0]:
                return f"{worker.name} is stopped"
        return ""

    def usage(self) -> Usage | None:
        """What the server and the workers have in use; None when the server does not say."""
        try:
            clients, memory, space = (self.inspector.info(section) for section in ("clients", "memory", "keyspace"))
        except RedisError:
            return None
        files = {role: worker.open_files() for role, worker in self.workers.items()}
        return Usage(
            at_ns=now_ns(),
            connections=int(clients["connected_clients"]),
            memory_bytes=int(memory["used_memory"]),
            keys=sum(int(base["keys"]) - int(base["expires"]) for base in space.values()),
            files={role: number for role, number in files.items() if number is not None},
        )

    def stop(self, grace_s: float = 0.0) -> None:
        """End everything, workers first. Idempotent."""
        for worker in self.workers.values():
            worker.stop(grace_s)
        for producer in self.producers.values():
            producer.end()
        if self._inspecting is not None:
            self._inspecting.end()
        self._stop_servers()


@dataclass(frozen=True, slots=True)
class RoleClock:
    """A worker or producer whose clock can be set (`taskchaos.faults.clock.Clocked`)."""

    name: str
    _page: ProcessPage

    def page(self) -> ProcessPage:
        """What its process is made to see."""
        return self._page


def set_distance(api: ToxiproxyClient, links: Sequence[str], distance_ms: int) -> None:
    """Make each round trip over the links take `distance_ms` longer, for as long as the proxy runs."""
    there_ms = distance_ms // 2
    for link in links if distance_ms else ():
        for stream, latency_ms in ((Stream.UPSTREAM, there_ms), (Stream.DOWNSTREAM, distance_ms - there_ms)):
            name = f"{DISTANCE}_{stream.value}"
            api.add_toxic(link, "latency", stream=stream, attributes={"latency": latency_ms}, name=name)


def left_behind(api: ToxiproxyClient, *, knows_rules: bool) -> str:
    """What faults have left in the proxy, in words; "" if nothing."""
    for state in api.proxies().values():
        if not state.enabled or any(not toxic.name.startswith(DISTANCE) for toxic in state.toxics):
            return f"link {state.name} still carries a fault"
        if knows_rules and (rules := CommandClient.beside(api).rules(state.name)):
            return f"link {state.name} still carries rule {rules[0].name}"
    return ""
