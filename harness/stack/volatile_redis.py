"""A Redis whose disk forgets what was not synced, when the power is lost."""

from __future__ import annotations

from pathlib import Path

from taskchaos.faults.base import FaultError, wait_for
from taskchaos.faults.redis_power import PowerLoss
from taskchaos.harness.case.stack_options import Fsync
from taskchaos.harness.clock import NS_PER_S, now_ns
from taskchaos.harness.errors import StackError
from taskchaos.harness.stack.mounted_disk import MountedDisk, no_fuse
from taskchaos.harness.stack.redis_server import RedisServer
from taskchaos.harness.stack.sync_marks import SyncMarks

#: How long the nth sync may take to come: one a second under everysec, if there is something to sync.
_NTH_DEADLINE_S = 3.0


class VolatileRedis(RedisServer):
    """A server on a FUSE disk that knows what was synced.

    Where there is no FUSE: on a disk like any other, whose append-only file is cut where the server last confirmed that
    it was synced (WAITAOF). Under `always` that is after everything that was acknowledged, and nothing is cut.
    """

    def __init__(self, binary: Path, folder: Path, log: Path, fsync: Fsync = Fsync.EVERYSEC) -> None:
        """Start and wait until it answers. Raises StackError."""
        self._disk: MountedDisk | None = None
        self._marks: SyncMarks | None = None
        if not (why := no_fuse()):
            try:
                self._disk = MountedDisk(folder, log.with_name("disk.log"))
            except StackError as error:
                why = str(error)
        self._without = why
        try:
            super().__init__(binary, folder / "data", log, fsync)
        except BaseException:
            self._release()
            raise
        if self._disk is None and fsync is Fsync.EVERYSEC:
            self._marks = SyncMarks(self.port)

    @property
    def forgets_exactly(self) -> bool:
        """Whether its disk knows what was synced, and so can tear a write, and lose power at a sync."""
        return self._disk is not None

    def lose_power(self, *, torn: bool, nth: int) -> PowerLoss:
        if self._disk is None:
            return self._cut(torn=torn, nth=nth)
        self._down_on_purpose = True
        if nth:
            self._disk.ask("arm", nth=nth)
            if not wait_for(lambda: not self.running(), _NTH_DEADLINE_S + nth):
                self._disk.ask("arm", nth=0)
                if self.running():  # it was not the last moment
                    self._down_on_purpose = False
                    raise FaultError(f"{self.name} did not sync its append-only file {nth} times: is nothing written?")
        self.kill()
        found = self._disk.ask("forget", torn=torn)
        since_ns = None if self._fsync is Fsync.ALWAYS else int(found["since_ns"])
        what = f"{found['bytes']} bytes of {found['writes']} writes"
        where = f" at sync {nth} from then on" if nth else ""
        parts = (f"{what} that were not synced{where} are gone", "the first in part" * found["torn"], _since(since_ns))
        return PowerLoss("; ".join(filter(None, parts)) + " (FUSE)", int(found["bytes"]), since_ns)

    def _cut(self, *, torn: bool, nth: int) -> PowerLoss:
        """Without FUSE. Under `always` a kill takes no less than a power loss would, of what was acknowledged."""
        if torn or nth:
            raise FaultError(f"a torn write, or a loss at a sync, needs FUSE: {self._without}")
        if self._fsync is Fsync.OFF:
            raise FaultError(f"without an append-only file everything is lost: that is redis_empty ({self._without})")
        last = self._marks.last() if self._marks else None
        if self._marks is not None and last is None:
            raise FaultError(f"when it last synced is not known, for it knows no WAITAOF; and {self._without}")
        self.kill()
        if last is None:
            return PowerLoss(f"nothing that was acknowledged was not synced ({self._without})", 0, None)
        cut = last.cut(self._folder)
        seen = f"{cut} bytes after the last known sync cut off; {_since(last.at_ns)} ({self._without})"
        return PowerLoss(seen, cut, last.at_ns)

    def start(self, *, load_delay_us: int = 0) -> None:
        super().start(load_delay_us=load_delay_us)
        if self._marks is not None:
            self._marks.resume()

    def died(self) -> str:
        return super().died() or (self._disk.died() if self._disk else "")

    def stop(self) -> None:
        """End it, and unmount its disk. Idempotent."""
        super().stop()
        self._release()

    def _release(self) -> None:
        if self._marks is not None:
            self._marks.stop()
        if self._disk is not None:
            self._disk.stop()


def _since(since_ns: int | None) -> str:
    if since_ns is None:
        return "nothing that was acknowledged"
    return f"what was acknowledged in the last {(now_ns() - since_ns) / NS_PER_S:.2f} s may be gone"
