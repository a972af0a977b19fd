"""Schedules: which fault, on what, when and for how long. A pure function of a seed; runs nothing itself."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from faults.base import Contained, Fault, FaultError, Link, Server, Worker
from faults.command import CommandFault, CutBefore, ErrorReply, ReplyLate, ReplyLost, RequestLate
from faults.container import Disconnect, DiskFull, OutOfMemory
from faults.message import PoisonMessage, Queue
from faults.network import BlackHole, BlackHoleReplies, BlackHoleRequests, Latency, LinkFault, Refused, Reset
from faults.process import KillChild, KillParent, KillTree, Pause, Restart, WorkerFault

LINK_FAULTS: Mapping[str, type[LinkFault]] = {
    f.kind: f for f in (Latency, Refused, BlackHole, BlackHoleRequests, BlackHoleReplies, Reset)
}
WORKER_FAULTS: Mapping[str, type[WorkerFault]] = {f.kind: f for f in (KillTree, KillParent, KillChild, Pause, Restart)}
#: Faults of a link too, at exact Redis commands.
COMMAND_FAULTS: Mapping[str, type[CommandFault]] = {
    f.kind: f for f in (ReplyLost, CutBefore, ErrorReply, ReplyLate, RequestLate)
}
#: Faults of a worker too, at its container.
CONTAINER_FAULTS: Mapping[str, type[WorkerFault]] = {f.kind: f for f in (Disconnect, OutOfMemory)}
SERVER_FAULTS: Mapping[str, type[DiskFull]] = {f.kind: f for f in (DiskFull,)}
QUEUE_FAULTS: Mapping[str, type[PoisonMessage]] = {f.kind: f for f in (PoisonMessage,)}
#: Every fault there is, by kind.
FAULTS: Mapping[str, type[Fault]] = {
    **LINK_FAULTS,
    **WORKER_FAULTS,
    **CONTAINER_FAULTS,
    **SERVER_FAULTS,
    **QUEUE_FAULTS,
    **COMMAND_FAULTS,
}


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """One fault of a schedule. at_s counts from the begin of the fault phase; parameters: whole numbers and texts."""

    kind: str
    target: str
    at_s: float = 0.0
    hold_s: float = 0.0
    parameters: Mapping[str, int | str] = field(default_factory=dict)

    def make(
        self,
        links: Mapping[str, Link],
        workers: Mapping[str, Worker],
        servers: Mapping[str, Server] | None = None,
        queues: Mapping[str, Queue] | None = None,
    ) -> Fault:
        """The fault on its target. Raises FaultError for an unknown kind, target or parameter."""
        if self.kind not in FAULTS:
            raise FaultError(f"no fault {self.kind!r}; there are {', '.join(FAULTS)}")
        targets: Mapping[str, object] = links
        if self.kind in SERVER_FAULTS:
            targets = servers or {}
        elif self.kind in QUEUE_FAULTS:
            targets = queues or {}
        elif self.kind in WORKER_FAULTS or self.kind in CONTAINER_FAULTS:
            targets = workers
        if self.target not in targets:
            there = ", ".join(targets) or "none on this stack"
            raise FaultError(f"{self.kind}: no target {self.target!r}; there are {there}")
        target = targets[self.target]
        if self.kind in CONTAINER_FAULTS and not isinstance(target, Contained):
            raise FaultError(f"{self.kind}: {self.target} is in no container")
        make: Callable[..., Fault] = FAULTS[self.kind]
        try:
            return make(target, **self.parameters)
        except TypeError as error:
            raise FaultError(f"{self.kind}: {error}") from None


@dataclass(frozen=True, slots=True)
class Schedule:
    """Faults over time, in order of begin."""

    faults: tuple[PlannedFault, ...] = ()

    @property
    def length_s(self) -> float:
        """From the begin of the fault phase to the last planned heal."""
        return max((f.at_s + f.hold_s for f in self.faults), default=0.0)

    @classmethod
    def of(cls, *faults: PlannedFault) -> Schedule:
        """A schedule of these faults."""
        return cls(tuple(sorted(faults, key=lambda f: f.at_s)))

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
