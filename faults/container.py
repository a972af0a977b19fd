"""Faults of containers: a worker without a network, a worker without memory.

Done to the container itself, so they need a stack of containers. A one-way cut is no fault of a container: a link's
`black_hole_requests` and `black_hole_replies` do that, on every stack.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from taskchaos.faults.base import Ability, ContainedWorker, Evidence, On, Undo
from taskchaos.faults.draw import Draw
from taskchaos.faults.process import RESPAWN_S, KillChild, WorkerFault

CONTAINERS = frozenset({Ability.CONTAINERS})


@dataclass
class Disconnect(WorkerFault):
    """The worker's container is in no network, both ways: its connections hang and new ones have no route.

    Healed, it is in the same networks again under the same names. Its address is the engine's choice: the one that it
    had, unless another container took it meanwhile; then the old connections stay dead until their timeouts.
    """

    on = On.CONTAINER
    kind: ClassVar[str] = "disconnect"
    summary: ClassVar[str] = "a worker's container is taken out of its network (docker network disconnect)"
    needs: ClassVar[frozenset[Ability]] = CONTAINERS
    drawn: ClassVar[Draw] = Draw((0.5, 4.0), after_s=RESPAWN_S)
    worker: ContainedWorker

    def undo(self) -> Undo:
        return Undo("docker network connect, with the network and aliases of the project", self.worker.name)

    def inject(self) -> None:
        self.worker.disconnect()

    def prove(self) -> Evidence | None:
        return None if self.worker.connected() else Evidence("the engine has the container in no network")

    def heal(self) -> None:
        self.worker.reconnect()

    def healed(self) -> bool:
        return self.worker.connected() and self.worker.ready()


@dataclass
class OutOfMemory(KillChild):
    """The container's memory runs out, and the kernel kills a pool child, or the parent where there are no children.

    Which one is no chance: the victim is made the kernel's first choice. Celery's parent replaces a child by itself.
    """

    on = On.CONTAINER
    kind: ClassVar[str] = "out_of_memory"
    summary: ClassVar[str] = "a worker's container runs out of memory, and the kernel kills a pool child"
    needs: ClassVar[frozenset[Ability]] = CONTAINERS
    #: Filling the container's memory takes about a second per GiB.
    proof_deadline_s: ClassVar[float] = 10.0
    worker: ContainedWorker
    _kills_before: int = field(default=0, init=False)

    def undo(self) -> Undo:
        return Undo("none for a pool child, which is replaced; otherwise start the worker again", self.worker.name)

    def choose(self) -> tuple[int, ...]:
        return super().choose() or (self.worker.pid,)

    def kill(self) -> None:
        self._kills_before = self.worker.oom_kills()
        self.worker.exhaust_memory(self._victims[0])

    def prove(self) -> Evidence | None:
        if not (gone := super().prove()) or self.worker.oom_kills() == self._kills_before:
            return None
        return Evidence(f"{gone.seen}: the kernel says that the container's memory ran out", gone.killed_pids)
