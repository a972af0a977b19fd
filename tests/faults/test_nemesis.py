"""The nemesis keeps apart what the plan keeps apart, however long a heal takes."""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import dataclass, field

import pytest
from waiting import until

from taskchaos.faults.nemesis import Change, Nemesis
from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.faults.state import FaultState

HEALS_FOR_S = 0.5


@dataclass
class Slow:
    """A worker whose `resume` takes its time, unless something is done to the worker meanwhile."""

    name: str
    pid: int = 1
    stopped: bool = False
    met: threading.Event = field(default_factory=threading.Event)
    gone: set[int] = field(default_factory=set)

    def children(self) -> tuple[int, ...]:
        return ()

    def alive(self, pid: int) -> bool:
        return pid not in self.gone

    def kill(self, pids: tuple[int, ...]) -> None:
        self.gone |= {*pids}
        self.met.set()

    def terminate(self, grace_s: float, told: signal.Signals = signal.SIGTERM) -> None:
        self.kill((self.pid,))

    def pause(self) -> None:
        if self.stopped:
            self.met.set()
        self.stopped = True

    def resume(self) -> None:
        self.met.wait(HEALS_FOR_S)
        self.stopped = False

    def paused(self) -> tuple[int, int]:
        return int(self.stopped), 1

    def expect_death(self) -> None: ...

    def respawn(self) -> None:
        self.pid += 1

    def ready(self) -> bool:
        return self.alive(self.pid)


def course(*faults: PlannedFault) -> list[tuple[int, FaultState]]:
    """The changes of the faults of a schedule, in order."""
    changes: list[Change] = []
    workers = {name: Slow(name) for name in ("worker-1", "worker-2")}
    nemesis = Nemesis(Schedule.of(*faults), {}, workers, changes.append, lambda index, undo: None)
    nemesis.start(time.monotonic())
    until(lambda: nemesis.done)
    assert nemesis.heal_all()
    return [(change.index, change.state) for change in changes]


PAUSE = PlannedFault("pause", "worker-1", 0.0, 0.05)


@pytest.mark.parametrize("kind", ["kill_tree", "pause"])
def test_a_fault_waits_for_the_heal_of_the_one_before_of_its_role(kind: str) -> None:
    said = course(PAUSE, PlannedFault(kind, "worker-1", 0.06, 0.05))
    assert said.index((0, FaultState.HEALED)) < said.index((1, FaultState.INJECTED))


def test_a_fault_of_another_role_does_not_wait() -> None:
    said = course(PAUSE, PlannedFault("kill_tree", "worker-2", 0.06, 0.05))
    assert said.index((1, FaultState.HEALED)) < said.index((0, FaultState.HEALED))


def test_faults_that_overlap_by_plan_do() -> None:
    said = course(PAUSE, PlannedFault("kill_tree", "worker-1", 0.02, 0.05))
    assert said.index((1, FaultState.INJECTED)) < said.index((0, FaultState.HEALED))
