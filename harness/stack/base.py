"""What every stack is: links, workers and a Redis that can be looked at past the proxy. And what may be chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol, Self

from redis import Redis

from faults.base import Ability, Link, Server, Worker
from faults.schedule import FAULTS
from harness.result import ServerInfo
from harness.subject import Settings


class Pool(StrEnum):
    """Celery pools a worker may run."""

    PREFORK = "prefork"
    THREADS = "threads"
    SOLO = "solo"


class WorkerStart(StrEnum):
    """How a worker process comes to be."""

    ZYGOTE = "zygote"
    COMMAND_LINE = "cli"


class Place(StrEnum):
    """Where a stack runs: processes on loopback, or containers."""

    LOCAL = "local"
    COMPOSE = "compose"


class Proxy(StrEnum):
    """Which proxy the links go through: our own, which knows Redis commands, or the real Toxiproxy."""

    EMBEDDED = "embedded"
    TOXIPROXY = "toxiproxy"


@dataclass(frozen=True, slots=True)
class StackOptions:
    """What may be chosen about a stack.

    distance_ms: how long each round trip of a worker to Redis takes, during the whole case and not as a fault.
    redis_disk_mb: of containers only: how large Redis's disk is, in MiB, when a fault is to fill it; 0: the engine's.
    """

    place: Place = Place.LOCAL
    proxy: Proxy = Proxy.EMBEDDED

    workers: int = 2
    producers: int = 1
    pool: Pool = Pool.PREFORK
    worker_start: WorkerStart = WorkerStart.ZYGOTE
    redis_binary: str | None = None
    settings: Settings = Settings()
    distance_ms: int = 0
    redis_disk_mb: int = 0

    @property
    def abilities(self) -> frozenset[Ability]:
        """What faults may need, and this stack has."""
        commands = {Ability.COMMANDS} if self.proxy is Proxy.EMBEDDED else set()
        return frozenset(commands | ({Ability.CONTAINERS} if self.place is Place.COMPOSE else set()))

    def lacks(self, kind: str) -> str:
        """Why a fault of this kind does not work on this stack; "" when it does."""
        return "; ".join(sorted(FAULTS[kind].needs - self.abilities)) if kind in FAULTS else ""


def with_settings(options: StackOptions, **changes: object) -> StackOptions:
    """The options with some of the subject settings changed."""
    return replace(options, settings=replace(options.settings, **changes))  # type: ignore[arg-type]


class Stack(Protocol):
    """Everything one case runs on. A context manager: leaving it ends everything that was started.

    Entering starts Redis, the proxy and the producers (which wait to be told); workers are started apart, because a
    prefilled queue needs none. Every start raises StackError when it does not succeed in time.
    """

    @property
    def links(self) -> Mapping[str, Link]:
        """The paths through the proxy, by role; a worker's result path is `<role>-results`."""

    @property
    def workers(self) -> Mapping[str, Worker]:
        """The workers, by role."""

    @property
    def servers(self) -> Mapping[str, Server]:
        """The servers that faults may be done to, by role; only those whose disk may be filled."""

    @property
    def server(self) -> ServerInfo:
        """Which server it is."""

    @property
    def inspector(self) -> Redis:
        """A client past the proxy, for final reads and audits only."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def start_workers(self) -> None:
        """Start every worker and wait until all consume."""

    def begin_load(self, at_ns: int) -> None:
        """Tell the producers when the load begins (CLOCK_MONOTONIC)."""

    def load_done(self) -> bool:
        """Whether every producer has sent its part and ended. Raises StackError if one ended badly."""

    def end_load(self) -> None:
        """End producers that still run; what they had begun stays pending in the ledger, that is unknown."""

    def alive(self, pid: int) -> bool:
        """Whether the worker's process with this pid of the ledger still runs."""

    def check(self) -> None:
        """Raises StackError when Redis or the proxy ended by itself: nothing that follows could prove anything."""

    def repairs(self) -> list[str]:
        """What of the stack itself had to be restarted since the last call, in words."""

    def revive(self) -> list[tuple[str, str]]:
        """Start again workers that died although no fault ended them: (role, how it ended)."""

    def whole(self) -> str:
        """Empty when the world is healed, otherwise what is not."""
