"""Power loss: Redis ends, and what it had not written through to its disk is gone.

This is what tells `appendfsync everysec` from `always`. Under `always` nothing that was acknowledged is lost; under
`everysec` up to two seconds of it may be.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Protocol, runtime_checkable

from taskchaos.faults.base import Ability, Evidence, FaultError
from taskchaos.faults.bounds import Choice, Whole
from taskchaos.faults.redis_process import ServerDown

#: What is lost: all that was not synced; or only the last write, of which a part is there.
UNSYNCED, TORN = "unsynced", "torn"


@dataclass(frozen=True, slots=True)
class PowerLoss:
    """What a power loss took. seen: in words. since_ns: as `Evidence.forgot_since_ns`. bytes: of append-only files."""

    seen: str
    bytes: int
    since_ns: int | None


@runtime_checkable
class OnVolatileDisk(Protocol):
    """A server whose disk can forget what was not synced."""

    def lose_power(self, *, torn: bool, nth: int) -> PowerLoss:
        """End it without a word, and take from its disk what was not synced.

        torn: all that was written lasts, but the last write only in part. nth: at the nth sync of the append-only file
        from now on, which fails then; 0: now. Returns when it has ended and forgotten. Raises FaultError.
        """


@dataclass
class RedisPowerLoss(ServerDown):
    """Power loss, and a start with what had been written through."""

    kind: ClassVar[str] = "redis_power_loss"
    summary: ClassVar[str] = "power loss: Redis ends, and what it had not synced (fsync) is gone; started again"
    needs: ClassVar[frozenset[Ability]] = frozenset({Ability.VOLATILE_DISK})
    lose: Annotated[str, Choice((UNSYNCED, TORN))] = UNSYNCED
    nth: Annotated[int, Whole(0, 10_000)] = 0
    _loss: PowerLoss | None = field(default=None, init=False)

    def end(self) -> None:
        if not isinstance(self.server, OnVolatileDisk):
            raise FaultError(f"{self.target} has a disk that keeps everything: run the case with volatile_disk=True")
        self._loss = self.server.lose_power(torn=self.lose == TORN, nth=self.nth)

    def how(self) -> str:
        return "power loss"

    def prove(self) -> Evidence | None:
        evidence = super().prove()
        if evidence is None or self._loss is None or (self.lose == TORN and not self._loss.bytes):
            return None
        return Evidence(f"{evidence.seen}; {self._loss.seen}", forgot_since_ns=self._loss.since_ns)

    def missing(self) -> str:
        if self._loss is not None and self.lose == TORN and not self._loss.bytes:
            return f"{self._loss.seen}: there was no write to tear; give nth, which meets the write before a sync"
        return super().missing()
