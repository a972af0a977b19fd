"""The event stream of a run: what happens, appended as it happens, to the case's and the run's `events.jsonl`.

Everything that is shown or written (terminal, JUnit, JSON, Markdown, HTML) is a handler over this stream. Each line
is one O_APPEND write, so several processes share the run's file, and a crash leaves a readable prefix.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

from taskchaos.faults.state import FaultState
from taskchaos.harness import codec
from taskchaos.harness.clock import now_ns
from taskchaos.harness.contract import PhaseName
from taskchaos.harness.errors import StackError
from taskchaos.harness.files import open_file
from taskchaos.harness.record.history import OperationHit
from taskchaos.harness.record.result import CaseResult, Expectation, Missing, ServerInfo
from taskchaos.harness.record.shard import Shard


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events. `at_ns` is CLOCK_MONOTONIC."""

    type: ClassVar[str] = ""
    at_ns: int = field(default_factory=now_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """suites, subjects: what was asked for. chosen: the options beyond these, stack, profile and seed, as words.

    minutes: of a soak, how long it is to last; the cases that are collected are then at most as many as run.
    """

    type: ClassVar[str] = "run_started"
    run: str
    seed: int
    stack: str
    profile: str
    target_tps: float | None
    versions: Mapping[str, str]
    started: str
    workers: int = 1  # cases at the same time
    chosen: tuple[str, ...] = ()
    shard: Shard | None = None  # this run is only a part
    suites: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    minutes: float | None = None
    configured: tuple[str, ...] = ()  # what of it stood in [tool.taskchaos] of a pyproject.toml


@dataclass(frozen=True, slots=True, kw_only=True)
class CasesCollected(Event):
    """cases: their ids in the order in which they are to be run, if known.

    dealt: of a shard, the ids that each shard of the run gets; together they are the whole selection. costs_s: about
    how long each of the cases takes, where their suites say so; 0 where one does not. alone: so many of the last cases
    measure capacity with nothing beside them.
    """

    type: ClassVar[str] = "cases_collected"
    count: int
    cases: tuple[str, ...] = ()
    costs_s: tuple[float, ...] = ()
    alone: int = 0
    dealt: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseStarted(Event):
    type: ClassVar[str] = "case_started"
    case: str
    suite: str
    scenario: str
    subject: str
    expected: Expectation
    control: bool
    folder: str
    wall: str = ""  # the time of day, ISO 8601 with its zone: what logs tell times in


@dataclass(frozen=True, slots=True, kw_only=True)
class StackReady(Event):
    type: ClassVar[str] = "stack_ready"
    case: str
    server: ServerInfo
    boot_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseBegan(Event):
    type: ClassVar[str] = "phase_began"
    case: str
    phase: PhaseName
    planned_s: float | None  # None = until done


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadExtended(Event):
    """The load went on until the last heal: with a fault phase of so many seconds instead of those planned."""

    type: ClassVar[str] = "load_extended"
    case: str
    fault_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OutageSet(Event):
    """When what the tasks depend on is down (CLOCK_MONOTONIC): said when the load begins."""

    type: ClassVar[str] = "outage_set"
    case: str
    begun_ns: int
    ended_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseEnded(Event):
    """offered_tps is None where no load is sent. done_tps counts effects of any kind in the phase."""

    type: ClassVar[str] = "phase_ended"
    case: str
    phase: PhaseName
    took_s: float
    offered_tps: float | None
    done_tps: float
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultChanged(Event):
    """One step in the life of a fault.

    hits: operations that the fault is seen to have met themselves, so far as they are known. forgot_since_ns: since
    when Redis may have lost what it acknowledged (0: everything); None: it lost nothing. began_ns: when it began to
    bite, where its injection took a while.
    """

    type: ClassVar[str] = "fault_changed"
    case: str
    fault: int
    kind: str
    target: str
    state: FaultState
    evidence: str = ""
    killed_pids: tuple[int, ...] = ()
    stopped_pids: tuple[int, ...] = ()
    hits: tuple[OperationHit, ...] = ()
    forgot_since_ns: int | None = None
    began_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerDied(Event):
    """A worker ended although no fault ended it."""

    type: ClassVar[str] = "worker_died"
    case: str
    role: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessGone(Event):
    """A worker's process was found to be gone in the middle of an attempt. alive_ns: when it was last seen, or 0."""

    type: ClassVar[str] = "process_gone"
    case: str
    pid: int
    alive_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StackRepaired(Event):
    """Something of the stack had to be restarted, although no fault was meant for it."""

    type: ClassVar[str] = "stack_repaired"
    case: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseDisturbed(Event):
    """The verdict that follows is no finding, for this reason: the case is run once more."""

    type: ClassVar[str] = "case_disturbed"
    case: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseJudged(Event):
    type: ClassVar[str] = "case_judged"
    case: str
    result: CaseResult


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseLeftOut(Event):
    """A case that was collected does not apply to its subject or pool; it was not run, and is no finding."""

    type: ClassVar[str] = "case_left_out"
    case: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseWithdrawn(Event):
    """A case that was collected was not begun, because the time of the run was up: the plan was as many as fit."""

    type: ClassVar[str] = "case_withdrawn"
    case: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem(Event):
    """Something the person should know that belongs to no single case.

    usage: what was given cannot be used. stack: the harness itself failed. doubt: the run proves nothing because of it.
    """

    type: ClassVar[str] = "problem"
    text: str
    usage: bool = False
    stack: bool = False
    doubt: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NotCollected(Event):
    """A file or class of tests that cannot be collected: what it holds was never planned."""

    type: ClassVar[str] = "not_collected"
    where: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TestFailed(Event):
    """A test failed for another reason than the verdict of its case, or has none.

    case: the id of its case; "" for a test that runs none. when: setup, call or teardown. assertion: what failed was
    an assertion of the suite, which is a finding; anything else is the suite's own trouble.
    """

    type: ClassVar[str] = "test_failed"
    case: str
    test: str
    when: str
    assertion: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardsMerged(Event):
    """This run was put together from shards. missing: shards that were not there, and cases without a verdict."""

    type: ClassVar[str] = "shards_merged"
    count: int
    missing: tuple[Missing, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(Event):
    """status: pytest's exit code, if pytest said one. interrupted: by the user, not by an error."""

    type: ClassVar[str] = "run_ended"
    wall_s: float
    interrupted: bool = False
    status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable(Event):
    """Made by `read`, never written: so many lines of the file are no events."""

    lines: int


EVENTS: Mapping[str, type[Event]] = {
    cls.type: cls
    for cls in (
        RunStarted,
        CasesCollected,
        CaseStarted,
        StackReady,
        PhaseBegan,
        LoadExtended,
        OutageSet,
        PhaseEnded,
        FaultChanged,
        WorkerDied,
        ProcessGone,
        StackRepaired,
        CaseDisturbed,
        CaseJudged,
        CaseLeftOut,
        CaseWithdrawn,
        Problem,
        NotCollected,
        TestFailed,
        ShardsMerged,
        RunEnded,
    )
}


class Handler(Protocol):
    """Something that shows or writes what happens."""

    def handle(self, event: Event) -> None:
        """Take one event, in order."""


def to_line(event: Event) -> bytes:
    """The line of one event, newline included."""
    return json.dumps({"type": event.type, **codec.encode(event)}, separators=(",", ":")).encode() + b"\n"


def from_line(line: bytes) -> Event | None:
    """The event of one line; None for a type of a newer version, and for what is no event."""
    try:
        return _event(line)
    except ValueError:
        return None


def _event(line: bytes) -> Event | None:
    """The event of one line; None for a type of a newer version. Raises ValueError for what is no event."""
    try:
        data = json.loads(line)
    except RecursionError:
        raise ValueError("no event: nested too deeply") from None
    kind = data.get("type") if isinstance(data, dict) else None
    if not isinstance(kind, str):
        raise ValueError("no event: an object with a type is wanted")
    cls = EVENTS.get(kind)
    return codec.decode(cls, data) if cls else None


class Log:
    """Appends events to one or several files. Everything raises StackError when that is not possible."""

    def __init__(self, *paths: Path) -> None:
        self._files: dict[Path, int] = {}
        self._torn: set[Path] = set()  # what follows a line that was cut off begins a line of its own
        for path in paths:
            try:
                self._files[path] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            except OSError as error:
                self.close()
                raise StackError(f"{path} cannot be written: {error.strerror}") from error

    def emit(self, event: Event) -> None:
        """Append one event: one write for each file."""
        line, troubles = to_line(event), []
        for path, fd in self._files.items():
            data = b"\n" + line if path in self._torn else line
            try:
                written = os.write(fd, data)
            except OSError as error:
                troubles.append(f"{path} cannot be written: {error.strerror}")
                continue
            self._torn.discard(path)
            if written != len(data):
                self._torn.add(path)
                troubles.append(f"{path} cannot be written: {written} of {len(data)} bytes were")
        if troubles:
            raise StackError("; ".join(troubles))

    def close(self) -> None:
        """Close the files. Idempotent."""
        while self._files:
            os.close(self._files.popitem()[1])


def append(path: Path, event: Event) -> None:
    """Append one event to a file. Raises StackError when that is not possible."""
    log = Log(path)
    try:
        log.emit(event)
    finally:
        log.close()


def read(path: Path) -> Iterator[Event]:
    """The events of a file, in order. Lines that cannot be read are left out, or become one `Unreadable` at the end.

    A last line without a newline is only torn: its writer was killed, or is about to finish it.
    """
    unreadable = 0
    with open_file(path) as lines:
        for line in lines:
            try:
                event = _event(line)
            except ValueError:
                unreadable += line.endswith(b"\n")
                continue
            if event is not None:
                yield event
    if unreadable:
        yield Unreadable(at_ns=0, lines=unreadable)
