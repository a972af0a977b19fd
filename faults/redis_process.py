"""Faults of Redis's process: killed, shut down, stopped, or back without any of its data.

What a SIGKILL takes from an append-only file is nothing: the kernel has what was written, and Redis writes before it
answers. What power loss takes is `redis_power_loss` (redis_power.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from taskchaos.faults.base import Evidence, Fault, FaultError, On, Server, Undo, wait_for
from taskchaos.faults.draw import Draw, NotDrawn

#: How long a PING may go unanswered before that is evidence.
SILENCE_S = 0.15
#: How long those that were connected may take to be so again.
RECONNECT_S = 1.0


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

    def end(self) -> None:
        self.server.kill()


@dataclass
class RedisRestarted(ServerDown):
    """SIGTERM, and a start: a deployment. Redis writes everything out first."""

    kind: ClassVar[str] = "redis_restart"
    summary: ClassVar[str] = "Redis is shut down (SIGTERM, SIGKILL grace_s later) and started again: a deployment"
    grace_s: int = 5

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
