"""The nemesis: runs a schedule, and heals everything it began whatever happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from faults.base import Evidence, Fault, FaultError, Link, Server, Undo, Worker, wait_for
from faults.schedule import PlannedFault, Schedule


class FaultState(StrEnum):
    """The life cycle of a fault."""

    INJECTED = "injected"
    PROVEN = "proven"
    UNPROVEN = "unproven"
    HEALED = "healed"
    HEAL_FAILED = "heal_failed"


@dataclass(frozen=True, slots=True)
class Change:
    """One step in the life of the `index`-th fault of the schedule."""

    index: int
    planned: PlannedFault
    state: FaultState
    evidence: Evidence


Listener = Callable[[Change], None]
UndoLog = Callable[[int, Undo], None]


class Nemesis:
    """Runs a schedule in a thread of its own; `heal_all` takes back whatever is still in force."""

    def __init__(
        self,
        schedule: Schedule,
        links: Mapping[str, Link],
        workers: Mapping[str, Worker],
        listener: Listener,
        undo_log: UndoLog,
        servers: Mapping[str, Server] | None = None,
    ) -> None:
        """Raises FaultError at once when the schedule names a kind or target that is not there."""
        self._plan = [(p, p.make(links, workers, servers)) for p in schedule.faults]
        self._listener = listener
        self._undo_log = undo_log
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._active: dict[int, Fault] = {}
        self._why_not: dict[int, str] = {}
        self._abandoned = False
        self._threads: list[threading.Thread] = []

    def start(self, at_monotonic_s: float) -> None:
        """Begin the schedule at this moment of CLOCK_MONOTONIC (seconds). Faults may overlap."""
        for index, (planned, fault) in enumerate(self._plan):
            thread = threading.Thread(
                target=self._live, args=(index, planned, fault, at_monotonic_s), name=f"nemesis-{index}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def join(self, timeout_s: float) -> bool:
        """Wait until every fault has run its course; False when that takes longer."""
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(t.is_alive() for t in self._threads)

    def abandon(self) -> None:
        """End the schedule without healing: the stack is gone, and with it whatever was broken in it."""
        self._abandoned = True
        self._stop.set()

    def heal_all(self, timeout_s: float = 15.0) -> bool:
        """End the schedule now and heal what is in force. Idempotent; True when every heal was verified."""
        self._stop.set()
        if self._abandoned:
            return False
        finished = self.join(timeout_s)
        for index in list(self._active):
            self._heal(index, self._plan[index][0])
        return finished and not self._active

    @property
    def unhealed(self) -> tuple[str, ...]:
        """What could not be healed, and why."""
        return tuple(f"{self._plan[i][0].kind} on {self._plan[i][0].target}: {why}" for i, why in self._why_not.items())

    def _live(self, index: int, planned: PlannedFault, fault: Fault, start_s: float) -> None:
        """One fault's life: wait, note the undo, inject, prove, hold, heal, verify."""
        if self._stop.wait(max(0.0, start_s + planned.at_s - time.monotonic())):
            return
        heal_at = start_s + planned.at_s + planned.hold_s
        self._undo_log(index, fault.undo())
        with self._lock:
            self._active[index] = fault
        try:
            fault.inject()
            self._say(index, planned, FaultState.INJECTED, Evidence(""))
            self._prove(index, planned, fault)
        except FaultError as error:
            self._say(index, planned, FaultState.UNPROVEN, Evidence(str(error)))
        self._stop.wait(max(0.0, heal_at - time.monotonic()))
        self._heal(index, planned)

    def _prove(self, index: int, planned: PlannedFault, fault: Fault) -> None:
        found: list[Evidence] = []

        def seen() -> bool:
            evidence = fault.prove()
            found.extend([evidence] if evidence else [])
            return evidence is not None

        if wait_for(seen, min(fault.proof_deadline_s, max(planned.hold_s, 1.0))):
            self._say(index, planned, FaultState.PROVEN, found[-1])
        else:
            self._say(index, planned, FaultState.UNPROVEN, Evidence("no evidence that it bit"))

    def _heal(self, index: int, planned: PlannedFault) -> None:
        fault = self._active[index]
        try:
            fault.heal()
            whole, why = fault.verify_healed(), "still visible after its heal"
        except FaultError as error:
            whole, why = False, str(error)
        except Exception as error:  # a stack that cannot start a worker again, for example: report, never hide
            whole, why = False, f"{type(error).__name__}: {error}"
        if whole:
            with self._lock:
                self._active.pop(index, None)
                self._why_not.pop(index, None)
            self._say(index, planned, FaultState.HEALED, Evidence(""))
        else:
            with self._lock:
                self._why_not[index] = why
            self._say(index, planned, FaultState.HEAL_FAILED, Evidence(why))

    def _say(self, index: int, planned: PlannedFault, state: FaultState, evidence: Evidence) -> None:
        self._listener(Change(index, planned, state, evidence))
