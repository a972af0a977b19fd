"""What is known of one operation, put together for who looks for a cause: attempts, effects, commands, faults."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from taskchaos.faults.base import RESULTS
from taskchaos.harness.checker.faults import ended_ns, happened, label, of_server
from taskchaos.harness.record.history import (
    NEVER,
    AttemptOutcome,
    FaultInterval,
    History,
    SubmitOutcome,
    role_of,
)
from taskchaos.harness.record.wire import WireCommand

#: Where kombu notes what it has been given.
NOTED = frozenset({("ZADD", "unacked_index"), ("HSET", "unacked")})
#: What puts a message into a queue, unless it is there.
PUTS = frozenset({"LPUSH", "RPUSH", "ZADD", "XADD"})
#: What a fault has cut or swallowed may show so much later.
AFTERMATH_NS = 500_000_000


@dataclass(frozen=True, slots=True)
class Attempt:
    """One execution of the body. ended_ns: NEVER where no end is known; kill: the fault that ended its process.

    killed_ns: NEVER where nobody knows when, since the fault kills again and again.
    """

    begun_ns: int
    ended_ns: int
    outcome: AttemptOutcome
    role: str
    pid: int
    killed_ns: int = NEVER
    kill: FaultInterval | None = None

    @property
    def over_ns(self) -> int:
        """When it ended, or its process was killed; NEVER where nobody knows."""
        return self.ended_ns if self.ended_ns != NEVER else self.killed_ns

    @property
    def known_ns(self) -> int:
        """The last that is known of it: when it was over, else when it began."""
        return self.over_ns if self.over_ns != NEVER else self.begun_ns


@dataclass(slots=True)
class Course:
    """Everything of one operation, each table in the order of time. wire: None where no record was kept."""

    op: int
    attempts: list[Attempt] = field(default_factory=list)
    effects: list[int] = field(default_factory=list)
    submits: list[tuple[int, int, SubmitOutcome, str]] = field(default_factory=list)  # begun, done, outcome, role
    claims: list[tuple[int, int]] = field(default_factory=list)  # at, ClaimKind
    received: list[tuple[int, str]] = field(default_factory=list)  # at, role
    wire: Sequence[WireCommand] | None = None
    #: Commands of workers that were never answered, of any task or of none: what Redis gave them went nowhere.
    unanswered: Sequence[WireCommand] = ()
    #: Redis gave the retries of other tasks to workers, whatever had put them there: they do not wait in memory.
    retries_from_redis: bool = False

    def commands(self, wanted: Callable[[WireCommand], bool]) -> list[WireCommand]:
        """Those of its commands."""
        return [command for command in self.wire or () if wanted(command)]

    @property
    def given(self) -> list[WireCommand]:
        """Those by which Redis gave it to a worker, in the order in which it did.

        Who names a task already is told of it, rather than given it.
        """
        gave = self.commands(lambda c: self.op in c.given and of_worker(c) and not c.reads)
        unasked = [command for command in gave if self.op not in command.sent]
        return sorted(unasked or gave, key=lambda command: command.came_ns)

    def given_for(self, attempt: Attempt) -> WireCommand | None:
        """The one by which who made this attempt got it; None where that is not known."""
        return next((command for command in reversed(self.given) if command.came_ns <= attempt.begun_ns), None)

    @property
    def published(self) -> list[WireCommand]:
        """Those by which producers sent it."""
        return self.commands(lambda c: self.op in c.sent and c.link.startswith("producer") and not c.reads)

    @property
    def reported(self) -> list[WireCommand]:
        """Those by which workers said what came of it."""
        return self.commands(lambda c: self.op in c.sent and c.link.endswith(RESULTS) and not c.reads)

    def told(self, since_ns: int, until_ns: int | None = None) -> list[WireCommand]:
        """Those by which workers told Redis of it, in this time."""
        told = self.commands(lambda c: self.op in c.sent and of_worker(c) and not c.reads)
        return [c for c in told if since_ns <= c.at_ns and (until_ns is None or c.at_ns < until_ns)]


def hands_on(command: WireCommand) -> bool:
    """Whether it puts something into a queue, and is not kombu's note of what it has."""
    return command.command in PUTS and (command.command, command.key) not in NOTED


def of_worker(command: WireCommand) -> bool:
    """Whether it came from a worker, and is about its messages."""
    return command.link.startswith("worker") and not command.link.endswith(RESULTS)


def courses(history: History, wanted: Iterable[int], wire: Sequence[WireCommand] | None) -> dict[int, Course]:
    """The courses of these operations. The messages of a chord name its body too: there, commands tell nothing."""
    found = {op: Course(op) for op in wanted}
    if wire is not None and not history.chord_of:
        _add_wire(found, wire)
    kills = Kills.of(history)
    attempts = history.attempts
    for row, op in enumerate(attempts.op):
        if op in found:
            pid, begun_ns, ended_ns_ = attempts.pid[row], attempts.begun_ns[row], attempts.ended_ns[row]
            killed_ns, fault = kills.after(pid, begun_ns) if ended_ns_ == NEVER else (NEVER, None)
            outcome = AttemptOutcome(attempts.outcome[row])
            role = history.role_name(attempts.role[row])
            found[op].attempts.append(Attempt(begun_ns, ended_ns_, outcome, role, pid, killed_ns, fault))
    for row, op in enumerate(history.deliveries.op):
        if op in found:
            found[op].received.append((history.deliveries.at_ns[row], history.role_name(history.deliveries.role[row])))
    for row, op in enumerate(history.effects.op):
        if op in found:
            found[op].effects.append(history.effects.at_ns[row])
    submits = history.submits
    for row, op in enumerate(submits.op):
        if op in found:
            outcome_ = SubmitOutcome(submits.outcome[row])
            who = history.role_name(submits.role[row])
            found[op].submits.append((submits.begun_ns[row], submits.done_ns[row], outcome_, who))
    for row, op in enumerate(history.claims.op):
        if op in found:
            found[op].claims.append((history.claims.at_ns[row], history.claims.kind[row]))
    from_redis = wire is not None and not history.chord_of and _given_again(history, wire)
    for course in found.values():
        course.retries_from_redis = from_redis
        course.attempts.sort(key=lambda attempt: attempt.begun_ns)
        course.effects.sort()
        course.submits.sort()
        course.claims.sort()
        course.received.sort()
    return found


def _given_again(history: History, wire: Sequence[WireCommand]) -> bool:
    """Whether Redis gave an operation to a worker between an attempt that failed and the next one."""
    attempts, failed = history.attempts, dict[int, list[int]]()
    for op, ended_ns_, outcome in zip(attempts.op, attempts.ended_ns, attempts.outcome, strict=True):
        if outcome == AttemptOutcome.TRANSIENT and ended_ns_ != NEVER:
            failed.setdefault(op, []).append(ended_ns_)
    begun: dict[int, list[int]] = {}
    for op, begun_ns in zip(attempts.op, attempts.begun_ns, strict=True):
        begun.setdefault(op, []).append(begun_ns)
    return any(
        any(end_ns < command.came_ns and any(at_ns >= command.came_ns for at_ns in begun[op]) for end_ns in failed[op])
        for command in wire
        if of_worker(command) and not command.reads
        for op in command.given
        if op in failed and op not in command.sent
    )


def _add_wire(found: Mapping[int, Course], wire: Sequence[WireCommand]) -> None:
    rows: dict[int, list[WireCommand]] = {op: [] for op in found}
    for command in wire:
        for op in {*command.sent, *command.given}:
            if op in rows:
                rows[op].append(command)
    unanswered = [c for c in wire if c.unheard and of_worker(c) and not c.sent and not c.given]
    for op, commands in rows.items():
        found[op].wire, found[op].unanswered = commands, unanswered


@dataclass(frozen=True, slots=True)
class Kills:
    """When a fault ended a process."""

    by_pid: Mapping[int, Sequence[tuple[int, FaultInterval]]]

    @classmethod
    def of(cls, history: History) -> Kills:
        """Those of a history."""
        by_pid: dict[int, list[tuple[int, FaultInterval]]] = {}
        for fault in history.faults:
            for pid in fault.killed_pids if fault.injected_ns != NEVER else ():
                by_pid.setdefault(pid, []).append((fault.injected_ns, fault))
        return cls(by_pid)

    def after(self, pid: int, at_ns: int) -> tuple[int, FaultInterval | None]:
        """The first that ended this process from then on; NEVER and None if none did.

        One that kills again and again is known by the first time: it killed what began before its heal, at some time.
        """
        kills = self.by_pid.get(pid, ())
        later = [kill for kill in kills if kill[0] >= at_ns]
        if later:
            return min(later, key=lambda kill: kill[0])
        again = [fault for _, fault in kills if at_ns <= ended_ns(fault)]
        return NEVER, max(again, key=lambda fault: fault.since_ns, default=None)


def fault_on(history: History, role: str, at_ns: int, until_ns: int) -> FaultInterval | None:
    """The fault that may explain what happened to a role at a moment, or did not happen until another one.

    One that was in force then, or had just been; else the first that came until the second moment. Those of the role
    come before those of a server.
    """
    known = [fault for fault in history.faults if happened(fault) and fault.since_ns <= until_ns]
    own = [fault for fault in known if fault.role == role_of(role)]
    servers = [fault for fault in known if of_server(fault)]
    for faults in (own, servers):
        if met := [f for f in faults if f.since_ns <= at_ns <= ended_ns(f) + AFTERMATH_NS]:
            return max(met, key=lambda fault: fault.since_ns)
    for faults in (own, servers):
        if later := [f for f in faults if f.since_ns > at_ns]:
            return min(later, key=lambda fault: fault.since_ns)
    return None


def fault_name(fault: FaultInterval | None) -> str:
    """What it is called; "" for none."""
    return label(fault) if fault is not None else ""
