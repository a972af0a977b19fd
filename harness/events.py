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
from typing import Any, ClassVar, Protocol

from harness import codec
from harness.clock import now_ns
from harness.contract import PhaseName
from harness.result import CaseResult, Missing, ServerInfo
from harness.shard import Shard


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events. `at_ns` is CLOCK_MONOTONIC."""

    type: ClassVar[str] = ""
    at_ns: int = field(default_factory=now_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """chosen: the options that a person gave beyond suites, subjects, stack, profile and seed, as words."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class CasesCollected(Event):
    """cases: their ids in the order in which they are to be run, if known.

    dealt: of a shard, the ids that each shard of the run gets; together they are the whole selection.
    """

    type: ClassVar[str] = "cases_collected"
    count: int
    cases: tuple[str, ...] = ()
    dealt: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseStarted(Event):
    type: ClassVar[str] = "case_started"
    case: str
    suite: str
    scenario: str
    subject: str
    expected: str
    control: bool
    folder: str


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
    """state: injected, proven, unproven, healed, heal_failed."""

    type: ClassVar[str] = "fault_changed"
    case: str
    fault: int
    kind: str
    target: str
    state: str
    evidence: str = ""
    killed_pids: tuple[int, ...] = ()
    stopped_pids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerDied(Event):
    """A worker ended although no fault ended it."""

    type: ClassVar[str] = "worker_died"
    case: str
    role: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StackRepaired(Event):
    """Something of the stack had to be restarted, although no fault was meant for it."""

    type: ClassVar[str] = "stack_repaired"
    case: str
    detail: str


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
class Problem(Event):
    """Something the person should know that belongs to no single case (an error while collecting, for example)."""

    type: ClassVar[str] = "problem"
    text: str
    usage: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardsMerged(Event):
    """This run was put together from shards. missing: shards that were not there, and cases without a verdict."""

    type: ClassVar[str] = "shards_merged"
    count: int
    missing: tuple[Missing, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(Event):
    type: ClassVar[str] = "run_ended"
    wall_s: float
    interrupted: bool = False


EVENTS: Mapping[str, type[Event]] = {
    cls.type: cls
    for cls in (
        RunStarted,
        CasesCollected,
        CaseStarted,
        StackReady,
        PhaseBegan,
        PhaseEnded,
        FaultChanged,
        WorkerDied,
        StackRepaired,
        CaseJudged,
        CaseLeftOut,
        Problem,
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
    """The event of one line; None for a type of a newer version or a torn last line."""
    try:
        data: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    cls = EVENTS.get(data.get("type", ""))
    return codec.decode(cls, data) if cls else None


class Log:
    """Appends events to one or several files."""

    def __init__(self, *paths: Path) -> None:
        self._fds = [os.open(p, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644) for p in paths]

    def emit(self, event: Event) -> None:
        """Append one event; one write per file, whole or not at all."""
        line = to_line(event)
        for fd in self._fds:
            os.write(fd, line)

    def close(self) -> None:
        """Close the files. Idempotent."""
        while self._fds:
            os.close(self._fds.pop())


def read(path: Path) -> Iterator[Event]:
    """The events of a file, in order. A torn last line is skipped."""
    with path.open("rb") as lines:
        for line in lines:
            event = from_line(line)
            if event is not None:
                yield event
