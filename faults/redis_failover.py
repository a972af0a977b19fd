"""Failover: Sentinel makes a replica the primary, and everybody is led there, as by a service discovery.

Replication is asynchronous: what the replica had not yet received when it was promoted is gone, although the old
primary had acknowledged it. How much that can be is measured: in bytes by the offset at which the replica left the old
primary's stream, and in time by when the old primary was last seen to be no further.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Protocol, runtime_checkable

from taskchaos.faults.base import Ability, Evidence, FaultError, Undo
from taskchaos.faults.bounds import Whole
from taskchaos.faults.draw import NotDrawn
from taskchaos.faults.redis_process import ServerFault


@dataclass(frozen=True, slots=True)
class Promotion:
    """A replica has become the primary. old, new: run ids. number: of the case, from 1 on.

    offset: so far it had received what the old primary wrote. since_ns: the old primary was there no further than that;
    what it acknowledged from then on may be gone (CLOCK_MONOTONIC). behind_bytes: so much further it was seen.
    """

    number: int
    old: str
    new: str
    offset: int
    since_ns: int
    behind_bytes: int
    seen: str


@runtime_checkable
class Replicated(Protocol):
    """A server that has a replica, and Sentinels that look after both. Everything raises FaultError."""

    def promotion(self) -> Promotion | None:
        """The last one, after everybody was led to the new primary; None: there was none."""

    def leads(self, run_id: str) -> bool:
        """Whether the node with this run id is the primary, and says so itself."""

    def stall_replication(self) -> None:
        """From now on nothing reaches the replica; taken back by `rejoin`."""

    def kill(self) -> None:
        """SIGKILL to the primary, on purpose: Sentinel is to fail over."""

    def fail_over(self) -> None:
        """Have Sentinel fail over. Returns when everybody has been led to the new primary."""

    def rejoin(self) -> None:
        """Have the old primary back as a replica, and wait until it is in sync. Nothing to do is fine."""


@dataclass
class Failover(ServerFault):
    """Base: the replica is promoted. lag_ms: for so long it has received nothing before."""

    needs: ClassVar[frozenset[Ability]] = frozenset({Ability.REPLICA})
    drawn: ClassVar[NotDrawn] = NotDrawn(
        "it needs a Redis with a replica, and what that may lose is bounded by its lag"
    )
    proof_deadline_s: ClassVar[float] = 15.0
    heal_deadline_s: ClassVar[float] = 20.0
    lag_ms: Annotated[int, Whole(0, 10_000)] = 0
    _before: int | None = field(default=None, init=False)

    @property
    def group(self) -> Replicated:
        """The server. Raises FaultError when it has no replica."""
        if not isinstance(self.server, Replicated):
            raise FaultError(f"{self.kind}: {self.target} has no replica: run the case with failover=True")
        return self.server

    def undo(self) -> Undo:
        return Undo("start the old primary again, as a replica of the new one", self.target)

    def inject(self) -> None:
        group = self.group
        self.await_clients()
        before = group.promotion()
        if self.lag_ms:
            group.stall_replication()
            time.sleep(self.lag_ms / 1000)
        self._before = before.number if before else 0
        self.begin()

    def begin(self) -> None:
        """Have the failover begin. Raises FaultError."""
        raise NotImplementedError

    def prove(self) -> Evidence | None:
        found = self._promotion()
        if found is None or not self.group.leads(found.new) or (self.lag_ms and not found.behind_bytes):
            return None
        return Evidence(f"{found.seen}, {self._clients} connections led there", forgot_since_ns=found.since_ns)

    def _promotion(self) -> Promotion | None:
        """The one that came of this fault."""
        found = None if self._before is None else self.group.promotion()
        return None if found is None or found.number == self._before else found

    def missing(self) -> str:
        if found := self._promotion():
            return f"{found.seen}: it did not lag"
        return "Sentinel promoted no replica; hold it for longer"

    def heal(self) -> None:
        self.group.rejoin()

    def healed(self) -> bool:
        return not self.server.whole()


@dataclass
class FailoverPlanned(Failover):
    """As before maintenance. The old primary goes on until its clients are led away; what it takes by then is gone."""

    kind: ClassVar[str] = "failover_planned"
    summary: ClassVar[str] = "Sentinel is told to fail over: the replica is promoted, the old primary becomes a replica"

    def begin(self) -> None:
        self.group.fail_over()


@dataclass
class FailoverKill(Failover):
    """The primary dies, Sentinel notices and promotes the replica; the old primary comes back as a replica."""

    kind: ClassVar[str] = "failover_kill"
    summary: ClassVar[str] = "SIGKILL to the primary: Sentinel promotes the replica; it comes back as a replica"

    def begin(self) -> None:
        self.group.kill()
