"""Faults of the disk that Redis writes its append-only file to: full, a sync that fails, syncs that take long."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from taskchaos.faults.base import Ability, Evidence, FaultError, Undo
from taskchaos.faults.bounds import Choice, Whole
from taskchaos.faults.preload.page import Word
from taskchaos.faults.redis_answers import errors
from taskchaos.faults.redis_process import ServerFault

#: What a sync may fail with.
SYNC_ERRORS = ("EIO", "ENOSPC", "EDQUOT", "EROFS", "EBADF", "EINVAL")
_NS_PER_MS = 1_000_000


@dataclass
class DiskFull(ServerFault):
    """No room is left for Redis's append-only file: it refuses writes (MISCONF) until there is some again.

    On the local stack the file may not grow (RLIMIT_FSIZE of its process), in a container its small disk is filled.
    """

    kind: ClassVar[str] = "disk_full"
    summary: ClassVar[str] = "the disk of Redis's append-only file is full: it refuses writes (MISCONF)"

    def undo(self) -> Undo:
        return Undo("prlimit --fsize=unlimited of Redis; in a container, remove /data/filler", self.server.name)

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


@dataclass
class RedisSyncError(ServerFault):
    """A sync of the append-only file fails (fsync, fdatasync), as a dying disk's does, and then does not any more.

    good: how many are good first. error: by name, such as EIO, ENOSPC. Under `everysec` one is enough for MISCONF for
    good: what is refused is not written, and what is not written is not synced, so no time helps. A new file does
    (appendonly no, then yes); BGREWRITEAOF helps Valkey 9.1, and not Redis 7.0. Under `always` Redis ends itself.
    """

    kind: ClassVar[str] = "redis_sync_error"
    summary: ClassVar[str] = "a sync of Redis's append-only file fails: MISCONF until appendonly is set to no, then yes"
    needs: ClassVar[frozenset[Ability]] = frozenset({Ability.PRELOAD})
    error: Annotated[str, Choice(SYNC_ERRORS)] = "EIO"
    good: Annotated[int, Whole(0, 10_000)] = 0
    proof_deadline_s: ClassVar[float] = 4.0  # a sync comes each second, if there is something to be synced
    _before: int | None = field(default=None, init=False)
    _refused: int = field(default=0, init=False)
    _seen: bool = field(default=False, init=False)

    def undo(self) -> Undo:
        return Undo("CONFIG SET appendonly no; CONFIG SET appendonly yes", self.target)

    def inject(self) -> None:
        page = self.server.page()
        self.await_clients()
        self._refused = self._misconf()
        self._before = page[Word.SYNCS_FAILED]
        page[Word.SYNC_GOOD] = self.good
        page[Word.SYNC_ERRNO] = getattr(errno, self.error)

    def prove(self) -> Evidence | None:
        if self._before is None:
            return None
        failed = self.server.page()[Word.SYNCS_FAILED] - self._before
        self._seen = failed > 0 and self.holds()
        refused = self._misconf() - self._refused if self._seen else 0
        if refused <= 0:
            return None
        return Evidence(
            f"{failed} syncs of {self.target} failed ({self.error}), and it answered MISCONF {refused} times"
        )

    @property
    def in_force(self) -> bool:
        return self._seen

    def missing(self) -> str:
        return "a sync failed, and nobody met it: offer more" if self._seen else "no sync was tried: offer more"

    def holds(self) -> bool:
        return self._before is not None and self.server.figures("persistence")["aof_last_write_status"] != "ok"

    def _misconf(self) -> int:
        return errors(self.server.figures("errorstats"), "MISCONF")

    def heal(self) -> None:
        """Make its syncs good again, and have it begin a new file if it needs one."""
        if self._before is None:
            return
        page = self.server.page()
        page[Word.SYNC_ERRNO] = page[Word.SYNC_GOOD] = 0
        if not self.server.running() or self.server.figures("persistence")["aof_last_write_status"] == "ok":
            return
        for value in ("no", "yes"):
            self.server.ask("CONFIG", "SET", "appendonly", value)

    def healed(self) -> bool:
        if self._before is not None and self.server.page()[Word.SYNC_ERRNO]:
            return False
        return not self._writing_anew() and not self.server.whole()

    def _writing_anew(self) -> bool:
        """Whether a new file is being made: until it is there, nothing is logged."""
        try:
            said = self.server.figures("persistence")
        except FaultError:
            return True
        return bool(said["aof_rewrite_in_progress"] or said.get("aof_rewrite_scheduled"))


@dataclass
class RedisDiskSlow(ServerFault):
    """Each sync of the append-only file takes longer. Under `everysec` writes wait once one takes more than 2 s."""

    kind: ClassVar[str] = "redis_disk_slow"
    summary: ClassVar[str] = "each sync of Redis's append-only file takes `delay_ms` longer"
    needs: ClassVar[frozenset[Ability]] = frozenset({Ability.PRELOAD})
    delay_ms: Annotated[int, Whole(1, 60_000)] = 500
    proof_deadline_s: ClassVar[float] = 4.0
    _before: int | None = field(default=None, init=False)

    def undo(self) -> Undo:
        return Undo("nothing: only the process sees that disk", self.target)

    def inject(self) -> None:
        page = self.server.page()
        self.await_clients()
        self._before = page[Word.SYNCS_DELAYED]
        page[Word.SYNC_DELAY_NS] = self.delay_ms * _NS_PER_MS

    def prove(self) -> Evidence | None:
        """A sync is of what somebody has written."""
        if not self.holds():
            return None
        slow = self.server.page()[Word.SYNCS_DELAYED] - (self._before or 0)
        return Evidence(f"{slow} syncs of {self.target} take {self.delay_ms} ms longer") if slow > 0 else None

    def holds(self) -> bool:
        return self._before is not None and self.server.page()[Word.SYNC_DELAY_NS] > 0

    def heal(self) -> None:
        if self._before is not None:
            self.server.page()[Word.SYNC_DELAY_NS] = 0

    def healed(self) -> bool:
        return not self.holds() and not self.server.whole()
