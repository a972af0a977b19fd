"""Faults of a worker's processes: SIGKILL of the tree, of a pool child, of the parent; a pause.

They differ in what survives: a killed child leaves a parent that can react, a killed parent leaves orphans that
finish their task and can tell nobody, a killed tree leaves nothing. A pause leaves everything, later.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, ClassVar

from taskchaos.faults.base import Evidence, Fault, FaultError, On, Undo, Worker, wait_for
from taskchaos.faults.bounds import Choice, Whole
from taskchaos.faults.draw import Draw, NotDrawn
from taskchaos.faults.loop import Loop

#: By what a worker is told to end.
TOLD = {name: signal.Signals[name] for name in ("SIGTERM", "SIGINT", "SIGQUIT")}
#: The longest that one may be given for that.
MOST_GRACE_S = 600
#: How long orphans get to end with their parent, before they count as living on.
ORPHANS_END_S = 0.3
#: How long a worker may take to consume again that was started again.
RESPAWN_S = 1.0


def ended(worker: Worker, pids: tuple[int, ...], deadline_s: float) -> bool:
    """Whether all of these processes of a worker have ended, which is awaited for so long."""
    return wait_for(lambda: not any(map(worker.alive, pids)), deadline_s)


@dataclass
class WorkerFault(Fault):
    """Base: a fault of one worker."""

    on = On.WORKER

    worker: Worker

    @property
    def target(self) -> str:
        return self.worker.name


@dataclass
class KillFault(WorkerFault):
    """Base: some of a worker's processes are ended. Healing starts the worker again, as a supervisor would."""

    lasts: ClassVar[bool] = False
    drawn: ClassVar[Draw | NotDrawn] = Draw((0.1, 2.0), after_s=RESPAWN_S)
    _parent: int = field(default=0, init=False)
    _victims: tuple[int, ...] = field(default=(), init=False)
    _had_children: int = field(default=0, init=False)

    def undo(self) -> Undo:
        return Undo("start the worker again", self.worker.name)

    def choose(self) -> tuple[int, ...]:
        """The pids to kill, parent first."""
        raise NotImplementedError

    def inject(self) -> None:
        wait_for(self.worker.ready, self.proof_deadline_s)  # a schedule may begin before the workers do
        self._parent = self.worker.pid
        self._had_children = len(self.worker.children())
        self._victims = self.choose()
        if not self._victims:
            raise FaultError(f"{self.kind}: {self.target} has no process to kill")
        if self.worker.pid in self._victims:
            self.worker.expect_death()
        self.kill()

    def kill(self) -> None:
        """Kill what was chosen."""
        self.worker.kill(self._victims)

    def how(self) -> str:
        """How they were ended, in words."""
        return "SIGKILL"

    def prove(self) -> Evidence | None:
        """The dead have to be of this worker, and of the life of it that the fault was done to."""
        if not self._victims or self._parent != self.worker.pid:
            return None
        if ended(self.worker, self._victims, 1.0):
            return Evidence(f"{len(self._victims)} process(es) gone after {self.how()}", self._victims)
        return None

    def heal(self) -> None:
        self._await_death()
        self.worker.respawn()

    def _await_death(self) -> bool:
        """What is dying still looks alive, and nobody starts again what lives."""
        return ended(self.worker, self._victims, self.proof_deadline_s)

    def healed(self) -> bool:
        return self.worker.ready() and not any(map(self.worker.alive, self._victims))


@dataclass
class KillTree(KillFault):
    """SIGKILL to the parent and all pool children at once: the container is gone."""

    kind: ClassVar[str] = "kill_tree"
    summary: ClassVar[str] = "SIGKILL to a worker's parent and all its pool children"

    def choose(self) -> tuple[int, ...]:
        return (self.worker.pid, *self.worker.children())


@dataclass
class KillParent(KillFault):
    """SIGKILL to the parent only: its pool children become orphans."""

    kind: ClassVar[str] = "kill_parent"
    summary: ClassVar[str] = "SIGKILL to a worker's parent only; its pool children are orphaned"

    _orphans: tuple[int, ...] = field(default=(), init=False)

    def choose(self) -> tuple[int, ...]:
        self._orphans = self.worker.children()
        return (self.worker.pid,)

    def prove(self) -> Evidence | None:
        """Orphans that end with their parent count as killed too: what they were doing ended there."""
        evidence = super().prove()
        if evidence is None:
            return None
        ended(self.worker, self._orphans, ORPHANS_END_S)
        gone = tuple(pid for pid in self._orphans if not self.worker.alive(pid))
        left = len(self._orphans) - len(gone)
        return Evidence(f"{evidence.seen}; {left} orphan(s) live on", evidence.killed_pids + gone)


@dataclass
class KillChild(KillFault):
    """SIGKILL to one pool child: what the kernel's OOM killer does. The parent lives and replaces it."""

    kind: ClassVar[str] = "kill_child"
    summary: ClassVar[str] = "SIGKILL to one pool child, as the OOM killer does"
    drawn: ClassVar[Draw] = Draw((0.1, 1.0), starves=False, after_s=RESPAWN_S)

    def choose(self) -> tuple[int, ...]:
        return self.worker.children()[:1]

    def heal(self) -> None:
        """The parent replaces the child by itself; a parent that died over it is started again."""
        self._await_death()
        if not self.worker.ready():
            self.worker.respawn()

    def healed(self) -> bool:
        return super().healed() and len(self.worker.children()) >= self._had_children


@dataclass
class Pause(WorkerFault):
    """The whole worker stops where it is, and goes on when healed: a long garbage collection, a frozen machine."""

    kind: ClassVar[str] = "pause"
    summary: ClassVar[str] = "a worker's whole tree is stopped (SIGSTOP, docker pause), and goes on when healed"
    #: Whether a stop of nearly a lease ends it depends on when it was last renewed: nobody is to be judged by that.
    drawn: ClassVar[Draw] = Draw((0.2, 4.5), never_s=(1.5, 3.3))
    _tree: tuple[int, ...] = field(default=(), init=False)

    def undo(self) -> Undo:
        return Undo("SIGCONT to the worker's processes, or docker unpause", self.worker.name)

    def inject(self) -> None:
        self.worker.pause()
        self._tree = (self.worker.pid, *self.worker.children())

    def _stopped(self) -> bool:
        stopped, of = self.worker.paused()
        return stopped == of > 0

    def prove(self) -> Evidence | None:
        if not wait_for(self._stopped, 1.0):
            return None
        return Evidence(f"{self.worker.paused()[0]} process(es) stopped", stopped_pids=self._tree)

    def holds(self) -> bool:
        return self._stopped()

    def heal(self) -> None:
        self.worker.resume()

    def healed(self) -> bool:
        return self.worker.paused()[0] == 0 and self.worker.ready()


@dataclass
class Restart(KillTree):
    """The worker is told to end, killed when it has not after `grace_s`, and started again: a deployment.

    told: by SIGTERM or SIGINT Celery ends when its tasks have (warm shutdown); by SIGQUIT at once (cold), or after
    `worker_soft_shutdown_timeout` (soft).
    """

    kind: ClassVar[str] = "restart"
    summary: ClassVar[str] = (
        "a worker is told to end (`told`: SIGTERM, SIGINT, SIGQUIT), gets SIGKILL grace_s later, and is started again"
    )
    drawn: ClassVar[Draw | NotDrawn] = Draw((0.1, 0.5), {"grace_s": (1, 2), "told": tuple(TOLD)}, after_s=2 + RESPAWN_S)
    grace_s: Annotated[int, Whole(0, MOST_GRACE_S)] = 1
    told: Annotated[str, Choice(tuple(TOLD))] = "SIGTERM"

    def kill(self) -> None:
        self.worker.terminate(self.grace_s, TOLD[self.told])

    def how(self) -> str:
        return f"{self.told} and {self.grace_s} s"


@dataclass
class KillLoop(WorkerFault):
    """SIGKILL to the whole worker again and again, `every_ms` after each start: most meet one that has just begun.

    A supervisor that starts again at once what its memory limit ends, for example.
    """

    kind: ClassVar[str] = "kill_loop"
    summary: ClassVar[str] = "SIGKILL to the whole worker again and again, every_ms after each start"
    drawn: ClassVar[Draw] = Draw((2.0, 4.0), {"every_ms": range(200, 401)}, after_s=RESPAWN_S)
    every_ms: Annotated[int, Whole(10, 10_000)] = 300
    _loop: Loop | None = field(default=None, init=False)
    _killed: list[int] = field(default_factory=list, init=False)
    _lives: set[int] = field(default_factory=set, init=False)  # main processes that it killed or started
    _times: int = field(default=0, init=False)

    @classmethod
    def clash(cls, values: Mapping[str, Any], hold_s: float) -> str:
        if hold_s * 1000 > values["every_ms"]:
            return ""
        return f"hold_s has to be longer than every_ms, {values['every_ms']}: it is to kill more than once"

    def undo(self) -> Undo:
        return Undo("start the worker again", self.worker.name)

    def inject(self) -> None:
        wait_for(self.worker.ready, self.proof_deadline_s)
        kill = partial(self._kill, self.worker)
        self._loop = Loop(f"kill_loop-{self.target}", kill, self.every_ms / 1000, at_once=True)
        self._loop.start()

    def _kill(self, worker: Worker) -> None:
        victims = (worker.pid, *worker.children())
        self._lives.add(worker.pid)
        worker.expect_death()
        worker.kill(victims)
        self._killed += victims
        if not ended(worker, victims, self.proof_deadline_s):
            raise FaultError(f"{self.target} (pid {victims[0]}) did not end at SIGKILL")
        self._times += 1
        worker.start()
        self._lives.add(worker.pid)

    def prove(self) -> Evidence | None:
        """It has killed twice at least, and this worker."""
        if not self.holds() or self._times < 2 or self.worker.pid not in self._lives:
            return None
        return Evidence(f"killed {self._times} times, {len(self._killed)} processes so far", tuple(self._killed))

    def missing(self) -> str:
        trouble = self._loop.trouble if self._loop else ""
        return f"after {self._times} kills: {trouble}" if trouble else super().missing()

    def killed(self) -> tuple[int, ...]:
        return tuple(self._killed)

    def holds(self) -> bool:
        return self._loop is not None and self._loop.running

    def heal(self) -> None:
        if self._loop is not None:
            self._loop.end(self.heal_deadline_s)
        self.worker.respawn()

    def healed(self) -> bool:
        return (self._loop is None or self._loop.ended) and self.worker.ready()
