"""What may be chosen about a stack, and what it can do then."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Annotated, TypedDict, Unpack

from taskchaos.faults.base import Ability
from taskchaos.faults.bounds import Flag, Kind, Member, Whole, check, unknown
from taskchaos.faults.preload.page import compiler
from taskchaos.faults.schedule import FAULTS
from taskchaos.harness.subject import Settings


class Pool(StrEnum):
    """Celery pools a worker may run."""

    PREFORK = "prefork"
    THREADS = "threads"
    SOLO = "solo"


class WorkerStart(StrEnum):
    """How a worker process comes to be."""

    ZYGOTE = "zygote"
    COMMAND_LINE = "cli"


class StackKind(StrEnum):
    """Where a stack runs: processes on loopback, or containers."""

    LOCAL = "local"
    COMPOSE = "compose"


class ProxyKind(StrEnum):
    """Which proxy the links go through: our own, which knows Redis commands, or the real Toxiproxy."""

    EMBEDDED = "embedded"
    TOXIPROXY = "toxiproxy"


class Fsync(StrEnum):
    """When Redis writes its append-only file through to the disk; OFF: it has none."""

    ALWAYS = "always"
    EVERYSEC = "everysec"
    OFF = "off"

    @property
    def settings(self) -> dict[str, str]:
        """Redis's settings for it."""
        if self is Fsync.OFF:
            return {"appendonly": "no"}
        return {"appendonly": "yes", "appendfsync": self.value}


#: The most producers, or workers.
MOST_ROLES = 64
_ABILITIES = {
    StackKind.LOCAL: {Ability.VOLATILE_DISK, Ability.REPLICA, Ability.OWN_SERVER, Ability.DEBUG},
    StackKind.COMPOSE: {Ability.CONTAINERS},
}


@dataclass(frozen=True, slots=True)
class StackOptions:
    """What may be chosen about a stack.

    distance_ms: how long each round trip of a worker to Redis takes, during the whole case and not as a fault.
    redis_disk_mb: of containers only: how large Redis's disk is, in MiB, when a fault is to fill it; 0: the engine's.
    fsync: when Redis writes through what it has acknowledged. preload: its process and those of the roles are started
    so that faults can set their clocks, and fail the syncs of its disk. volatile_disk: of processes only: Redis's disk
    can forget what was not synced. failover: of processes only: Redis has a replica, and Sentinels that promote it.
    previous: of processes only: the interpreter of an environment with another release. behind: so many workers, the
    last ones, begin with that release. wire: the embedded proxy keeps a record of the commands that carry tasks.
    """

    place: Annotated[StackKind, Member(StackKind)] = StackKind.LOCAL
    proxy: Annotated[ProxyKind, Member(ProxyKind)] = ProxyKind.EMBEDDED

    workers: Annotated[int, Whole(1, MOST_ROLES)] = 2
    producers: Annotated[int, Whole(1, MOST_ROLES)] = 1
    pool: Annotated[Pool, Member(Pool)] = Pool.PREFORK
    worker_start: Annotated[WorkerStart, Member(WorkerStart)] = WorkerStart.ZYGOTE
    redis_binary: str | None = None
    settings: Annotated[Settings, Kind(Settings)] = Settings()
    distance_ms: Annotated[int, Whole(0, 10_000)] = 0
    redis_disk_mb: Annotated[int, Whole(0, 1_000_000)] = 0
    fsync: Annotated[Fsync, Member(Fsync)] = Fsync.EVERYSEC
    preload: Annotated[bool, Flag()] = False
    volatile_disk: Annotated[bool, Flag()] = False
    failover: Annotated[bool, Flag()] = False
    previous: str | None = None
    behind: Annotated[int, Whole(0, MOST_ROLES)] = 0
    wire: Annotated[bool, Flag()] = False

    def __post_init__(self) -> None:
        """Raises ValueError, naming the field, for a stack that cannot be started."""
        check(self)
        if self.behind > self.workers:
            raise ValueError(f"behind has to be at most workers, {self.workers}, not {self.behind}")

    @property
    def slots(self) -> int:
        """How many tasks the workers run at the same time."""
        return self.workers * (1 if self.pool is Pool.SOLO else self.settings.concurrency)

    @property
    def abilities(self) -> frozenset[Ability]:
        """What faults may need, and this stack has."""
        commands = {Ability.COMMANDS} if self.proxy is ProxyKind.EMBEDDED else set()
        preload = {Ability.PRELOAD} if self.place is StackKind.LOCAL and compiler() else set()
        previous = {Ability.PREVIOUS} if self.place is StackKind.LOCAL and self.previous else set()
        return frozenset(commands | preload | previous | _ABILITIES[self.place])

    def missing(self, kind: str) -> frozenset[Ability]:
        """What a fault of this kind needs, and this stack has not."""
        return FAULTS[kind].needs - self.abilities if kind in FAULTS else frozenset()

    def lacks(self, kind: str) -> str:
        """Why a fault of this kind does not work on this stack; "" when it does."""
        return "; ".join(sorted(self.missing(kind)))


def roles(kind: str, count: int) -> tuple[str, ...]:
    """The names of so many producers or workers."""
    return tuple(f"{kind}-{n}" for n in range(1, count + 1))


class StackChanges(TypedDict, total=False):
    """What a case may ask of its stack, beside what the run has chosen: fields of StackOptions, and of its Settings.

    visibility_timeout_s: give a suite that takes no message away from a worker a longer one than the scaled-down
    default, so that a slow subject is not redelivered what it still holds. workers, producers, concurrency: how many
    there are (default 2 and 1), and how many tasks each worker runs at a time (2).
    """

    workers: int
    producers: int
    distance_ms: int
    redis_disk_mb: int
    fsync: Fsync
    preload: bool
    volatile_disk: bool
    failover: bool
    behind: int
    wire: bool
    visibility_timeout_s: int
    concurrency: int
    keep_results: bool
    business_keys: bool
    max_tasks_per_child: int
    soft_shutdown_s: int
    autoscale: bool
    mingle: bool


#: All that a case may be asked with, beside its load.
ASKED = ("schedule", "slo", "must_see", *StackChanges.__annotations__)


def changed(options: StackOptions, **changes: Unpack[StackChanges]) -> StackOptions:
    """The options with these changed. Raises ValueError, naming the field, for what there is not or that cannot be."""
    for name in changes:
        if name not in StackChanges.__annotations__:
            raise ValueError(f"chaos: {unknown('argument', name, ASKED)}")
    inner = {field.name for field in fields(Settings)}
    settings = {name: value for name, value in changes.items() if name in inner}
    others = {name: value for name, value in changes.items() if name not in inner}
    return replace(options, settings=replace(options.settings, **settings), **others)  # type: ignore[arg-type]
