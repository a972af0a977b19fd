"""Faults of the disk that Redis writes its append-only file to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from taskchaos.faults.base import Ability, Evidence, FaultError, Undo
from taskchaos.faults.redis_process import ServerFault


@dataclass
class DiskFull(ServerFault):
    """No room is left for Redis's append-only file: it refuses writes (MISCONF) until there is some again."""

    kind: ClassVar[str] = "disk_full"
    summary: ClassVar[str] = "the disk of Redis's append-only file is full: it refuses writes"
    needs: ClassVar[frozenset[Ability]] = frozenset({Ability.CONTAINERS})

    def undo(self) -> Undo:
        return Undo("remove /data/filler in the container", self.server.name)

    def inject(self) -> None:
        self.server.fill_disk()

    def prove(self) -> Evidence | None:
        """Only while it is in force: a Redis that refuses writes for another reason proves nothing."""
        why = self.server.refuses_writes()
        return Evidence(why) if "space" in why or "aof" in why.lower() else None

    def heal(self) -> None:
        self.server.free_disk()

    def healed(self) -> bool:
        try:
            return not self.server.refuses_writes()
        except FaultError:
            return False
