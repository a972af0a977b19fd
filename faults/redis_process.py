"""Faults of Redis's process: killed, shut down, stopped, or back without any of its data.

What a SIGKILL takes from an append-only file is next to nothing: the kernel has what was written. Under `always` Redis
writes before it answers; under `everysec` it may answer first, and write up to two seconds later, while a sync is under
way. So it is killed when it has just said that nothing waits to be written, and that moment is told. What power loss
takes is `redis_power_loss` (redis_power.py).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

from taskchaos.faults.base import Evidence, Fault, FaultError, On, Server, Undo, wait_for
from taskchaos.faults.bounds import Whole
from taskchaos.faults.draw import Draw, NotDrawn

#: Redis postpones a write for up to two seconds while a sync is under way.
WRITES_DEADLINE_S = 3.0
#: How long those that were connected may take to be so again.
RECONNECT_S = 1.0


def written_ns(server: Server) -> int | None:
    """Since when something that is acknowledged may not be written: a moment ago, when it said that nothing waits.

    None under `always`; 0 without an append-only file: all of it. Raises FaultError when it does not come to write.
    """
    found: list[int] = []

    def written() -> bool:
        asked_ns = time.monotonic_ns()
        figures = server.figures("persistence")
        if not figures["aof_enabled"]:
            found.append(0)
        elif not figures.get("aof_buffer_length"):
            found.append(asked_ns)
        return bool(found)

    if "always" in str(server.ask("CONFIG", "GET", "appendfsync")):
        return None
    if not wait_for(written, WRITES_DEADLINE_S, every_s=0.001):
        raise FaultError(f"{server.name} has not written its append-only file for {WRITES_DEADLINE_S:g} s")
    return found[0]


@dataclass
class ServerFault(Fault):
    """Base: a fault of a server."""

    on = On.SERVER
    drawn: ClassVar[Draw | NotDrawn] = Draw((0.3, 2.0), after_s=RECONNECT_S)

    server: Server
    _clients: int = field(default=0, init=False)

    @property
    def target(self) -> str:
        return self.server.name

    def await_clients(self) -> None:
        """Wait until somebody is connected, and remember how many. Raises FaultError when nobody is."""

        def connected() -> bool:
            self._clients = self.server.clients()
            return self._clients > 0

        if not wait_for(connected, self.proof_deadline_s):
            raise FaultError(f"{self.kind}: nobody is connected to {self.target}")


@dataclass
class ServerDown(ServerFault):
    """Base: its process ends, and is started again when healed, as a supervisor would."""

    _pid: int = field(default=0, init=False)

    def undo(self) -> Undo:
        return Undo("start the server again", self.server.name)

    def inject(self) -> None:
        self.await_clients()
        self._pid = self.server.pid
        self.began_ns = time.monotonic_ns()
        self.end()

    def end(self) -> None:
        """End its process. Raises FaultError."""
        raise NotImplementedError

    def how(self) -> str:
        """How it was ended, in words."""
        return "SIGKILL"

    def prove(self) -> Evidence | None:
        if not self._pid or self._pid != self.server.pid or self.server.running():
            return None
        return Evidence(f"{self.target} (pid {self._pid}) gone after {self.how()}, {self._clients} connections with it")

    def heal(self) -> None:
        self.server.resume()  # what is stopped neither ends nor answers
        self.server.start()

    def healed(self) -> bool:
        return self.server.running() and not self.server.whole()


@dataclass
class RedisKilled(ServerDown):
    """SIGKILL, and a start with the append-only file that is there."""

    kind: ClassVar[str] = "redis_kill"
    summary: ClassVar[str] = "SIGKILL to Redis; started again with its append-only file"
    _written_ns: int | None = field(default=None, init=False)

    def end(self) -> None:
        self._written_ns = written_ns(self.server)
        self.server.kill()

    def prove(self) -> Evidence | None:
        evidence = super().prove()
        return replace(evidence, forgot_since_ns=self._written_ns) if evidence else None


@dataclass
class RedisRestarted(ServerDown):
    """SIGTERM, and a start: a deployment. Redis writes everything out first."""

    kind: ClassVar[str] = "redis_restart"
    summary: ClassVar[str] = "Redis is shut down (SIGTERM, SIGKILL grace_s later) and started again: a deployment"
    grace_s: Annotated[int, Whole(0, 600)] = 5

    def end(self) -> None:
        self.server.terminate(self.grace_s)

    def how(self) -> str:
        return "SIGTERM"


@dataclass
class RedisEmptied(ServerDown):
    """SIGKILL, and a start without any of its data: a new instance takes the place of the old one."""

    kind: ClassVar[str] = "redis_empty"
    summary: ClassVar[str] = "SIGKILL to Redis; started again without any of its data"
    drawn: ClassVar[NotDrawn] = NotDrawn("what it takes away is what all other faults are judged by")

    def end(self) -> None:
        self.server.kill(forget=True)

    def prove(self) -> Evidence | None:
        evidence = super().prove()
        return Evidence(f"{evidence.seen}; its data removed", forgot_since_ns=0) if evidence else None


@dataclass
class RedisPaused(ServerFault):
    """Its process stands still: a frozen machine, a long fork. Its clock goes on: leases end meanwhile."""

    kind: ClassVar[str] = "redis_pause"
    summary: ClassVar[str] = "Redis is stopped (SIGSTOP, docker pause), and goes on when healed"
    drawn: ClassVar[Draw] = Draw((0.3, 4.5), after_s=RECONNECT_S)

    def undo(self) -> Undo:
        return Undo("SIGCONT to Redis, or docker unpause", self.server.name)

    def inject(self) -> None:
        self.await_clients()
        self.server.pause()

    def prove(self) -> Evidence | None:
        if not self._clients or not wait_for(self.server.paused, 1.0):
            return None
        return Evidence(f"{self.target} (pid {self.server.pid}) stopped, {self._clients} connections with it")

    def holds(self) -> bool:
        return self.server.paused()

    def heal(self) -> None:
        self.server.resume()

    def healed(self) -> bool:
        return not self.server.paused() and not self.server.whole()
