"""A worker of the local stack: stopped by SIGSTOP."""

from __future__ import annotations

import signal
from typing import Any

from taskchaos.harness.stack.forked_worker import ForkedWorker
from taskchaos.harness.stack.procfs import open_files, state_of


class LocalWorker(ForkedWorker):
    """A worker as faults see it (`taskchaos.faults.base.Worker`)."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._stopped_pids: tuple[int, ...] = ()

    def open_files(self) -> int | None:
        return sum(map(open_files, (self.pid, *self.children())))

    def pause(self) -> None:
        self._stopped_pids = (self.pid, *self.children())
        self._zygote.send(self._stopped_pids, signal.SIGSTOP)

    def resume(self) -> None:
        self._zygote.send(self._stopped_pids, signal.SIGCONT)

    def paused(self) -> tuple[int, int]:
        if not self._all:
            return 0, 0
        tree = (self.pid, *self.children())
        return sum(state_of(pid) == "T" for pid in tree), len(tree)
