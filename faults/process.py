"""Faults of a worker's processes: SIGKILL of the tree, of a pool child, of the parent; a pause.

They differ in what survives: a killed child leaves a parent that can react, a killed parent leaves orphans that
finish their task and can tell nobody, a killed tree leaves nothing. A pause leaves everything, later.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from typing import ClassVar

from faults.base import Evidence, Fault, FaultError, Undo, Worker, wait_for

#: How long orphans get to end with their parent, before they count as living on.
ORPHANS_END_S = 0.3


def alive(pid: int) -> bool:
    """Whether a process with this pid exists and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to one process; one that is gone is fine."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it ended first


@dataclass
class KillFault(Fault):
    """Base: SIGKILL to some of a worker's processes. Healing starts the worker again, as a supervisor would."""

    worker: Worker
    _victims: tuple[int, ...] = field(default=(), init=False)
    _had_children: int = field(default=0, init=False)

    @property
    def target(self) -> str:
        return self.worker.name

    def undo(self) -> Undo:
        return Undo("start the worker again", self.worker.name)

    def choose(self) -> tuple[int, ...]:
        """The pids to kill, parent first."""
        raise NotImplementedError

    def inject(self) -> None:
        wait_for(self.worker.ready, self.proof_deadline_s)  # a schedule may begin before the workers do
        self._had_children = len(self.worker.children())
        self._victims = self.choose()
        if not self._victims:
            raise FaultError(f"{self.kind}: {self.target} has no process to kill")
        if self.worker.pid in self._victims:
            self.worker.expect_death()
        for pid in self._victims:
            send(pid, signal.SIGKILL)

    def prove(self) -> Evidence | None:
        if self._victims and wait_for(lambda: not any(map(alive, self._victims)), 1.0):
            return Evidence(f"{len(self._victims)} process(es) gone after SIGKILL", self._victims)
        return None

    def heal(self) -> None:
        self.worker.respawn()

    def healed(self) -> bool:
        return self.worker.ready() and not any(map(alive, self._victims))


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
        wait_for(lambda: not any(map(alive, self._orphans)), ORPHANS_END_S)
        gone = tuple(pid for pid in self._orphans if not alive(pid))
        left = len(self._orphans) - len(gone)
        return Evidence(f"{evidence.seen}; {left} orphan(s) live on", evidence.killed_pids + gone)


@dataclass
class KillChild(KillFault):
    """SIGKILL to one pool child: what the kernel's OOM killer does. The parent lives and replaces it."""

    kind: ClassVar[str] = "kill_child"
    summary: ClassVar[str] = "SIGKILL to one pool child, as the OOM killer does"

    def choose(self) -> tuple[int, ...]:
        return self.worker.children()[:1]

    def heal(self) -> None:
        """The parent replaces the child by itself; a parent that died over it is started again."""
        if not self.worker.ready():
            self.worker.respawn()

    def healed(self) -> bool:
        return super().healed() and len(self.worker.children()) >= self._had_children


@dataclass
class Pause(Fault):
    """SIGSTOP to the whole tree, SIGCONT to heal: a long garbage collection, a frozen machine."""

    kind: ClassVar[str] = "pause"
    summary: ClassVar[str] = "SIGSTOP to a worker's whole tree, SIGCONT to heal"
    worker: Worker
    _stopped: tuple[int, ...] = field(default=(), init=False)

    @property
    def target(self) -> str:
        return self.worker.name

    def undo(self) -> Undo:
        return Undo("SIGCONT to the worker's processes", self.worker.name)

    def inject(self) -> None:
        self._stopped = (self.worker.pid, *self.worker.children())
        for pid in self._stopped:
            send(pid, signal.SIGSTOP)

    def prove(self) -> Evidence | None:
        if wait_for(lambda: set(self.worker.states()) == {"T"}, 1.0):
            return Evidence(f"{len(self._stopped)} process(es) in state T")
        return None

    def heal(self) -> None:
        for pid in self._stopped:
            send(pid, signal.SIGCONT)

    def healed(self) -> bool:
        return "T" not in self.worker.states() and self.worker.ready()
