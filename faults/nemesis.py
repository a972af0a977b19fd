"""The nemesis: runs a schedule, and heals everything it began whatever happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from taskchaos.faults.base import Evidence, Fault, FaultError, Link, Server, Undo, Worker
from taskchaos.faults.budget import exclusive
from taskchaos.faults.clock import Clocked
from taskchaos.faults.message import Queue
from taskchaos.faults.producer import Producer
from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.faults.state import FaultState

#: How soon evidence is looked for again: less and less often, because who looks takes the machine's time.
POLL_S = 0.02
SLOWEST_POLL_S = 0.25
#: A fault that is in force, and that its role has not met yet, is held for up to so much longer.
LONGER_S = 1.0


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
    """Runs a schedule, each fault in a thread of its own; `heal_all` takes back whatever is still in force.

    No exception of a fault, of whatever type, ends such a thread before its fault is healed: it is told as what it
    means for the evidence. One of the listener or the undo log makes `heal_all` fail: the record is not whole.
    """

    def __init__(
        self,
        schedule: Schedule,
        links: Mapping[str, Link],
        workers: Mapping[str, Worker],
        listener: Listener,
        undo_log: UndoLog,
        servers: Mapping[str, Server] | None = None,
        queues: Mapping[str, Queue] | None = None,
        clocks: Mapping[str, Clocked] | None = None,
        producers: Mapping[str, Producer] | None = None,
    ) -> None:
        """Raises FaultError at once when the schedule names a kind or target that is not there."""
        self._plan = [(p, p.make(links, workers, servers, queues, clocks, producers)) for p in schedule.faults]
        self._listener = listener
        self._undo_log = undo_log
        self._stop = threading.Event()
        self._ended = [threading.Event() for _ in self._plan]
        self._lock = threading.Lock()
        self._active: dict[int, Fault] = {}
        self._why_not: dict[int, str] = {}
        self._untold: dict[int, str] = {}
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

    @property
    def done(self) -> bool:
        """Whether every fault has run its course."""
        return not any(thread.is_alive() for thread in self._threads)

    def join(self, timeout_s: float) -> bool:
        """Wait until every fault has run its course; False when that takes longer."""
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        return self.done

    def abandon(self) -> None:
        """End the schedule without healing: the stack is gone, and with it whatever was broken in it."""
        self._abandoned = True
        self._stop.set()

    def heal_all(self, timeout_s: float = 15.0) -> bool:
        """End the schedule now and heal what is in force.

        Idempotent; True when every heal was verified, and all that happened was recorded.
        """
        self._stop.set()
        if self._abandoned:
            return False
        finished = self.join(timeout_s)
        for index in list(self._active):
            self._heal(index)
        return finished and not self._active and not self._untold

    @property
    def unhealed(self) -> tuple[str, ...]:
        """What could not be healed or recorded, and why."""
        return tuple(
            f"{self._plan[i][0].kind} on {self._plan[i][0].target}: {why}"
            for reasons in (self._why_not, self._untold)
            for i, why in reasons.items()
        )

    def _live(self, index: int, planned: PlannedFault, fault: Fault, start_s: float) -> None:
        """One fault's life: wait, note the undo, inject, prove, hold, look again, heal, verify."""
        try:
            begin_s = start_s + planned.at_s
            self._wait_until(begin_s)
            if self._await_predecessors(index):
                begin_s = time.monotonic()
            if not self._stop.is_set() and self._note_undo(index, fault):
                self._have_it(index, planned, fault, begin_s)
        finally:
            self._ended[index].set()

    def _await_predecessors(self, index: int) -> bool:
        """A fault that the plan has after one that would spoil it waits for that one's heal. Whether it had to."""
        planned, waited = self._plan[index][0], False
        for (other, _), ended in zip(self._plan[:index], self._ended, strict=False):
            before = other.at_s + other.hold_s <= planned.at_s
            if before and exclusive(planned, other):
                while not ended.is_set() and not self._stop.is_set():
                    waited = True
                    ended.wait(POLL_S)
        return waited

    def _have_it(self, index: int, planned: PlannedFault, fault: Fault, begin_s: float) -> None:
        with self._lock:
            self._active[index] = fault
        heal_s = begin_s + planned.hold_s
        try:
            if self._inject(index, fault):
                told = self._prove(index, fault, planned.hold_s, heal_s)
                if not told and fault.in_force and not fault.unused():
                    told = self._hold_on(index, fault, heal_s + LONGER_S)
                self._wait_until(heal_s - fault.look_s if fault.lasts else heal_s)
                self._look_again(index, fault, told)
        except BaseException as error:  # what should not happen must neither prove anything nor stop the heal
            self._say(index, FaultState.VANISHED, Evidence(f"whether it was still there is not known: {_words(error)}"))
        self._wait_until(heal_s)
        self._heal(index)

    def _wait_until(self, at_s: float) -> None:
        self._stop.wait(max(0.0, at_s - time.monotonic()))

    def _note_undo(self, index: int, fault: Fault) -> bool:
        """Whether the undo was written down: otherwise nothing is injected."""
        try:
            undo = fault.undo()
        except Exception as error:
            self._say(index, FaultState.UNPROVEN, Evidence(f"not injected: {_words(error)}"))
            return False
        try:
            self._undo_log(index, undo)
        except Exception as error:
            self._untold[index] = f"its undo could not be written down: {_words(error)}"
            self._say(index, FaultState.UNPROVEN, Evidence(f"not injected: {self._untold[index]}"))
            return False
        return True

    def _inject(self, index: int, fault: Fault) -> bool:
        try:
            fault.inject()
        except Exception as error:
            self._say(index, FaultState.UNPROVEN, Evidence(_words(error)))
            return False
        self._say(index, FaultState.INJECTED)
        return True

    def _prove(self, index: int, fault: Fault, hold_s: float, heal_s: float) -> bool:
        """Look for evidence: that it is there until its deadline, of the traffic that it is meant for until the end.

        Whether it was decided; what only lacks traffic is decided after the last look.
        """
        give_up_s = time.monotonic() + min(fault.proof_deadline_s, max(hold_s, 1.0))
        poll_s = POLL_S
        while not self._decide(index, fault, last=False):
            now_s = time.monotonic()
            left_s = (heal_s - fault.look_s if fault.in_force else give_up_s) - now_s
            if left_s <= 0 and fault.in_force:
                return False
            if left_s <= 0 or self._stop.wait(min(poll_s, left_s)):
                return self._decide(index, fault, last=True)
            poll_s = min(1.3 * poll_s, SLOWEST_POLL_S)
        return True

    def _hold_on(self, index: int, fault: Fault, give_up_s: float) -> bool:
        """Hold it until its role has met it: an idle worker may say nothing for as long as it was planned. Whether that
        was said.
        """
        while not self._decide(index, fault, last=False):
            left_s = give_up_s - time.monotonic()
            if left_s <= 0 or self._stop.wait(min(POLL_S, left_s)):
                return False
        return True

    def _decide(self, index: int, fault: Fault, *, last: bool) -> bool:
        """Say what `prove` comes to, if it comes to something or this is the last chance. Whether it was said."""
        try:
            if (evidence := fault.prove()) is not None:
                self._say(index, FaultState.PROVEN, evidence)
            elif last and (why := fault.unused()):
                self._say(index, FaultState.UNUSED, Evidence(why))
            elif last:
                self._say(index, FaultState.UNPROVEN, Evidence(fault.missing()))
            else:
                return False
        except Exception as error:
            self._say(index, FaultState.UNPROVEN, Evidence(_words(error)))
        return True

    def _look_again(self, index: int, fault: Fault, decided: bool) -> None:
        """Right before the heal: whether it is still there, and the last chance of evidence."""
        held, why_not = True, "it was not there any more right before its heal"
        if fault.lasts:
            try:
                held = fault.holds()
            except Exception as error:
                held, why_not = False, f"it could not be looked at right before its heal: {_words(error)}"
        if not decided:
            self._decide(index, fault, last=True)
        if not held:
            self._say(index, FaultState.VANISHED, Evidence(why_not))
        elif fault.lasts:
            self._say(index, FaultState.HELD)

    def _heal(self, index: int) -> None:
        fault, told = self._active[index], ""
        try:
            fault.heal()
            whole, why = fault.verify_healed(), "still visible after its heal"
            told = fault.in_all()
        except Exception as error:  # a stack that cannot start a worker again, for example: report, never hide
            whole, why = False, _words(error)
        with self._lock:
            if whole:
                self._active.pop(index, None)
                self._why_not.pop(index, None)
            else:
                self._why_not[index] = why
        self._say(index, *(FaultState.HEALED, Evidence(told)) if whole else (FaultState.HEAL_FAILED, Evidence(why)))

    def _say(self, index: int, state: FaultState, evidence: Evidence = Evidence("")) -> None:  # noqa: B008 (immutable)
        planned, fault = self._plan[index]
        try:
            killed = evidence.killed_pids + fault.killed()
            found = replace(evidence, hits=fault.hits(), killed_pids=killed, began_ns=fault.began_ns)
            self._listener(Change(index, planned, state, found))
        except Exception as error:
            self._untold[index] = f"that it is {state} could not be recorded: {_words(error)}"


def _words(error: BaseException) -> str:
    """An exception for people; the name of its type where it is none that was expected."""
    return str(error) if isinstance(error, FaultError) else f"{type(error).__name__}: {error}"
