"""A worker forked by a zygote, as faults see it: a process tree that can be started again."""

from __future__ import annotations

import signal
import threading
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path

from taskchaos.faults.base import Ability, FaultError, Release, wait_for
from taskchaos.harness.errors import StackError, SubjectError
from taskchaos.harness.record import alarm
from taskchaos.harness.stack.child_process import log_tail
from taskchaos.harness.stack.runtime import RoleConfig
from taskchaos.harness.stack.zygote import Spawn
from taskchaos.harness.stack.zygote_client import Spawned, Zygote


class ForkedWorker(ABC):
    """A worker as faults see it (`taskchaos.faults.base.Worker`), except how it is paused."""

    def __init__(self, config: RoleConfig, what: Spawn, log: Path, zygote_: Zygote) -> None:
        self._config = config
        self._what = what
        self._log = log
        self._zygote = zygote_
        self._previous: tuple[Zygote, RoleConfig] | None = None
        self._release = self._next = Release.PRESENT
        self._expected_death = False
        self._stopped = False
        self._starting = threading.Lock()
        self._all: list[Spawned] = []

    @property
    def name(self) -> str:
        return self._config.role

    @property
    def pid(self) -> int:
        if not self._all:
            raise FaultError(f"{self.name} was never started")
        return self._all[-1].pid

    @property
    def release(self) -> Release:
        return self._release

    def change_release(self, release: Release) -> None:
        if release is Release.PREVIOUS and self._previous is None:
            raise FaultError(f"{self.name}: there is no {release} release: {Ability.PREVIOUS}")
        self._next = release

    def offer_previous(self, home: Zygote, subject: str) -> None:
        """Let it be of the previous release, too: forked there, where its subject has this spec."""
        self._previous = home, replace(self._config, release=Release.PREVIOUS.value, subject=subject)
        self._config = replace(self._config, release=Release.PRESENT.value)

    @property
    def starts(self) -> int:
        """How often it was started."""
        return len(self._all)

    def start(self) -> None:
        """Fork the process; `wait_ready` has to follow."""
        with self._starting:
            if self._stopped:
                raise FaultError(f"{self.name}: the stack has stopped")
            before = self._previous if self._next is Release.PREVIOUS else None
            home, config = before or (self._zygote, self._config)
            self._all.append(home.spawn(self._what, config, self._log))
            self._release = self._next
            self._expected_death = False  # last: until here the old process's end is still the fault's doing

    def wait_ready(self) -> None:
        """Wait until it consumes. Raises StackError."""
        self._all[-1].wait_ready()

    def children(self) -> tuple[int, ...]:
        return self._zygote.children(self.pid)

    def alive(self, pid: int) -> bool:
        return self._zygote.alive(pid)

    def kill(self, pids: tuple[int, ...]) -> None:
        self._zygote.send(pids, signal.SIGKILL)

    def terminate(self, grace_s: float, told: signal.Signals = signal.SIGTERM) -> None:
        process = self._all[-1]
        self._zygote.send([process.pid], told)
        wait_for(lambda: not process.alive(), grace_s)
        process.end()

    def open_files(self) -> int | None:
        """How many files its processes have open; None where that cannot be seen."""
        return None

    @abstractmethod
    def pause(self) -> None: ...

    @abstractmethod
    def resume(self) -> None: ...

    @abstractmethod
    def paused(self) -> tuple[int, int]: ...

    def expect_death(self) -> None:
        self._expected_death = True

    def respawn(self) -> None:
        if not self.ready():
            self.start()
            self.wait_ready()

    def ready(self) -> bool:
        return bool(self._all) and self._all[-1].poll_ready() and self._all[-1].alive()

    def died(self) -> str | None:
        """How the parent ended, if it ended and no fault ended it; None otherwise, and once it was started again.

        Raises SubjectError when it said that the subject cannot be used, and StackError when it could not write its
        records.
        """
        if not self._all:
            return None
        process = self._all[-1]
        if process.alive():
            return None
        # In this order: a fault announces the death before it kills, and a new start takes the announcement back last.
        if self._starting.locked() or self._expected_death or self._all[-1] is not process:
            return None
        if not process.poll_ready() and process.refusal:
            raise SubjectError(f"subject in {self.name}: {process.refusal}")
        if not process.poll_ready() and process.fault:
            raise SubjectError(f"subject in {self.name}: {process.fault}")
        return f"{self.how_it_ended()}: {log_tail(self._log, 3)}"

    def how_it_ended(self) -> str:
        """How the parent ended, in words. Raises StackError when it could not write its records."""
        status = self._all[-1].exit_status()
        if status == alarm.EXIT_STATUS:
            raise StackError(f"{self.name} could not write its records, nor say why")
        return f"ended with status {status}"

    def stop(self, grace_s: float) -> None:
        """SIGTERM to the parent when there is a grace, then SIGKILL to every group this worker ever had."""
        with self._starting:
            self._stopped = True  # a heal that is still under way must not start it again
        if self._all and grace_s > 0:
            self.terminate(grace_s)
        for spawned in self._all:
            spawned.end()
