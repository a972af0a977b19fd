"""Schedules: which fault, on what, when and for how long. A pure function of a seed; runs nothing itself."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Annotated, Any

from taskchaos.faults.base import RESULTS, Contained, Fault, FaultError, Link, On, Server, Worker
from taskchaos.faults.bounds import LONGEST_S, Kind, Real, Text, check, default_of, objection, shown, unknown
from taskchaos.faults.clock import Clocked, ClockWrong
from taskchaos.faults.command import CutBefore, ErrorReply, ReplyLate, ReplyLost, RequestLate
from taskchaos.faults.container import Disconnect, OutOfMemory
from taskchaos.faults.message import PoisonMessage, Queue
from taskchaos.faults.network import BlackHole, BlackHoleReplies, BlackHoleRequests, Latency, RefusedLink, Reset
from taskchaos.faults.network_quality import Bandwidth, Flapping, Jitter, LimitData, Slicing, SlowClose
from taskchaos.faults.process import KillChild, KillLoop, KillParent, KillTree, Pause, Restart
from taskchaos.faults.producer import KillProducer, Producer
from taskchaos.faults.redis_answers import RedisAcl, RedisEvicting, RedisOutOfMemory, RedisReadOnly
from taskchaos.faults.redis_clients import RedisClientKill, RedisClientPause, RedisClientsFull, RedisOutputLimit
from taskchaos.faults.redis_disk import DiskFull, RedisDiskSlow, RedisSyncError
from taskchaos.faults.redis_expiry import RedisExpiryOff
from taskchaos.faults.redis_failover import FailoverKill, FailoverPlanned
from taskchaos.faults.redis_loading import RedisLoading
from taskchaos.faults.redis_power import RedisPowerLoss
from taskchaos.faults.redis_process import RedisEmptied, RedisKilled, RedisPaused, RedisRestarted
from taskchaos.faults.redis_repeated import RedisBusy, RedisScriptFlush
from taskchaos.faults.release import ChangeRelease
from taskchaos.faults.together import Together

#: Every fault there is, by kind. A new one is a class, whose `on` says what it is done to, and a name here.
FAULTS: Mapping[str, type[Fault]] = {
    fault.kind: fault
    for fault in (
        Latency,
        RefusedLink,
        BlackHole,
        BlackHoleRequests,
        BlackHoleReplies,
        Reset,
        Jitter,
        Bandwidth,
        Slicing,
        LimitData,
        SlowClose,
        Flapping,
        KillTree,
        KillParent,
        KillChild,
        Pause,
        Restart,
        ChangeRelease,
        KillLoop,
        KillProducer,
        Disconnect,
        OutOfMemory,
        RedisKilled,
        RedisRestarted,
        RedisEmptied,
        RedisPaused,
        RedisReadOnly,
        RedisLoading,
        RedisBusy,
        RedisOutOfMemory,
        RedisEvicting,
        RedisClientPause,
        RedisClientKill,
        RedisClientsFull,
        RedisOutputLimit,
        RedisScriptFlush,
        RedisAcl,
        RedisExpiryOff,
        RedisPowerLoss,
        FailoverPlanned,
        FailoverKill,
        DiskFull,
        RedisSyncError,
        RedisDiskSlow,
        ClockWrong,
        PoisonMessage,
        ReplyLost,
        CutBefore,
        ErrorReply,
        ReplyLate,
        RequestLate,
        Together,
    )
}


def faults_on(*what: On) -> tuple[str, ...]:
    """The kinds that are done to these."""
    return tuple(kind for kind, fault in FAULTS.items() if fault.on in what)


def role_of(target: str) -> str:
    """The role that a target belongs to: a worker's result path is that worker's."""
    return target.removesuffix(RESULTS)


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """One fault of a schedule. at_s counts from the start of the fault phase; parameters: whole numbers and texts.

    What a parameter may be, its fault says (`Fault.parameters`). Raises ValueError, in one line that names fault,
    target and field, for what is no fault, or out of its bounds.
    """

    kind: Annotated[str, Text()]
    target: Annotated[str, Text()]
    at_s: Annotated[float, Real(0, LONGEST_S)] = 0.0
    hold_s: Annotated[float, Real(0, LONGEST_S)] = 0.0
    parameters: Annotated[Mapping[str, int | str], Kind(Mapping, "a dict of parameters")] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or self.kind not in FAULTS:
            raise ValueError(unknown("kind of fault", self.kind, FAULTS, "`taskchaos faults` lists them"))
        check(self, f"{self}: ")
        known = FAULTS[self.kind].parameters()
        for name, value in self.parameters.items():
            if name not in known:
                raise ValueError(f"{self}: {unknown('parameter', name, known)}")
            if why := objection(name, known[name], value):
                raise ValueError(f"{self}: {why}")
        if why := FAULTS[self.kind].clash(self.values, inf):
            raise ValueError(f"{self}: {why}")

    @property
    def values(self) -> dict[str, Any]:
        """Its parameters, those that are not given with their defaults."""
        fault = FAULTS[self.kind]
        return {name: default_of(fault, name) for name in fault.parameters()} | dict(self.parameters)

    @property
    def useless(self) -> str:
        """Why it does nothing when it is held for so long; "" if it does."""
        if FAULTS[self.kind].lasts and not self.hold_s:
            return "hold_s has to be above 0: it is there until it is healed"
        return FAULTS[self.kind].clash(self.values, self.hold_s)

    def __str__(self) -> str:
        return f"{self.kind} on {self.target if Text().fits(self.target) else shown(self.target)}"

    def make(
        self,
        links: Mapping[str, Link],
        workers: Mapping[str, Worker],
        servers: Mapping[str, Server] | None = None,
        queues: Mapping[str, Queue] | None = None,
        clocks: Mapping[str, Clocked] | None = None,
        producers: Mapping[str, Producer] | None = None,
    ) -> Fault:
        """The fault on its target. Raises FaultError for a target that is not there."""
        on = FAULTS[self.kind].on
        targets: Mapping[str, object] = {
            On.LINK: links,
            On.COMMAND: links,
            On.WORKER: workers,
            On.CONTAINER: workers,
            On.PRODUCER: producers or {},
            On.SERVER: servers or {},
            On.QUEUE: queues or {},
            On.CLOCK: clocks or {},
        }[on]
        if self.target not in targets:
            there = ", ".join(targets) or "none on this stack"
            raise FaultError(f"{self.kind}: no target {self.target!r}; there are {there}")
        target = targets[self.target]
        if on is On.CONTAINER and not isinstance(target, Contained):
            raise FaultError(f"{self.kind}: {self.target} is in no container")
        make: Callable[..., Fault] = FAULTS[self.kind]
        return make(target, **self.parameters)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Faults over time, in order of begin. Raises ValueError for one that could do nothing in the time that it has."""

    faults: tuple[PlannedFault, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.faults, tuple) or not all(isinstance(one, PlannedFault) for one in self.faults):
            raise ValueError(f"a schedule is of faults, Schedule.of(PlannedFault(...), ...), not {shown(self.faults)}")
        for planned in self.faults:
            if why := planned.useless:
                raise ValueError(f"{planned}: {why}")

    @property
    def length_s(self) -> float:
        """From the start of the fault phase to the last planned heal."""
        return max((f.at_s + f.hold_s for f in self.faults), default=0.0)

    @classmethod
    def of(cls, *faults: PlannedFault) -> Schedule:
        """A schedule of these faults."""
        return cls(tuple(sorted(faults, key=lambda f: getattr(f, "at_s", 0.0))))

    @classmethod
    def spread(
        cls,
        seed: int,
        count: int,
        within_s: float,
        hold_s: float,
        kinds: Sequence[str],
        targets: Mapping[str, Sequence[str]],
    ) -> Schedule:
        """`count` faults drawn from `kinds`, one at a time, spread over `within_s`. targets: by kind, who may be hit.

        The same arguments give the same schedule on every machine.
        """
        draw = random.Random(seed)
        slot_s = within_s / count
        planned = []
        for index in range(count):
            kind = draw.choice(list(kinds))
            at_s = index * slot_s + draw.uniform(0, max(0.0, slot_s - hold_s))
            planned.append(PlannedFault(kind, draw.choice(list(targets[kind])), round(at_s, 3), hold_s))
        return cls(tuple(planned))
