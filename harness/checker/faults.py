"""How the faults of a history are read: what one lacks, whom it was done to, and when it was in force for whom."""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile

from taskchaos.harness.checker.flight import Flight
from taskchaos.harness.record.history import NEVER, QUEUE, FaultInterval, History

NO_EVIDENCE = "no evidence that it bit"
#: Later than every recorded time.
FOREVER = sys.maxsize


def happened(fault: FaultInterval) -> bool:
    """Whether it was injected, is proven to have bitten, and still held right before its heal.

    Only such a fault excuses anything.
    """
    return fault.injected_ns != NEVER and fault.proven and fault.held


def doubtful(fault: FaultInterval) -> bool:
    """Whether it was injected, but may never have bitten, or not for as long as it is recorded."""
    return fault.injected_ns != NEVER and not happened(fault) and not idle(fault)


def idle(fault: FaultInterval) -> bool:
    """Whether it was done to a link that nothing uses: it can neither bite nor be missed."""
    return fault.unused and not fault.proven


def ended_ns(fault: FaultInterval) -> int:
    """When it was healed; FOREVER if it was not."""
    return FOREVER if fault.healed_ns == NEVER else fault.healed_ns


def label(fault: FaultInterval) -> str:
    """What it is called in reasons."""
    return f"{fault.kind} on {fault.target}"


def gap_of(fault: FaultInterval, flight: Flight) -> str:
    """What keeps a fault from counting as evidence; empty when it is sound or idle."""
    if fault.injected_ns == NEVER:
        return "never injected"
    if not idle(fault):
        if not fault.proven:
            return f"{NO_EVIDENCE}: {fault.evidence}" if fault.evidence not in ("", NO_EVIDENCE) else NO_EVIDENCE
        if not fault.held:
            return "vanished before its heal"
    if not fault.healed or fault.healed_ns == NEVER:
        return "heal not verified"
    if not idle(fault) and not flight.between(fault.injected_ns, ended_ns(fault)):
        return "no task was in flight"
    return ""


def sound(history: History, flight: Flight) -> list[FaultInterval]:
    """The faults that count as evidence: proven, in force until their verified heal, with operations in flight."""
    return [fault for fault in history.faults if not idle(fault) and not gap_of(fault, flight)]


@dataclass(frozen=True, slots=True)
class Spans:
    """Stretches of time in order, none of which meets another."""

    begins: list[int]
    ends: list[int]

    def meet(self, begin_ns: int, end_ns: int) -> bool:
        """Whether one of them has an instant in common with this stretch, ends included."""
        at = bisect_left(self.ends, begin_ns)
        return at < len(self.ends) and self.begins[at] <= end_ns

    def within(self, begin_ns: int, end_ns: int) -> int:
        """For how long of this stretch one of them is there."""
        return sum(
            max(0, min(end_ns, until_ns) - max(begin_ns, since_ns))
            for since_ns, until_ns in takewhile(lambda span: span[0] < end_ns, self.since(begin_ns))
        )

    def since(self, begin_ns: int) -> Iterator[tuple[int, int]]:
        """Those that were not over before this time, in order."""
        at = bisect_left(self.ends, begin_ns)
        return zip(self.begins[at:], self.ends[at:], strict=True)


def _joined(stretches: Iterable[tuple[int, int]]) -> Spans:
    begins: list[int] = []
    ends: list[int] = []
    for begin_ns, end_ns in sorted(stretches):
        if ends and begin_ns <= ends[-1]:
            ends[-1] = max(ends[-1], end_ns)
        else:
            begins.append(begin_ns)
            ends.append(max(begin_ns, end_ns))
    return Spans(begins, ends)


@dataclass(frozen=True, slots=True)
class Bites:
    """When the faults that happened were in force, by the role they were done to. A server's fault meets every role."""

    by_role: dict[str, Spans]
    servers: Spans

    def of(self, role: str) -> Spans:
        """The stretches in which a fault could trouble this role."""
        return self.by_role.get(role, self.servers)


def in_force(fault: FaultInterval) -> tuple[int, int]:
    """From when it began to bite to its heal."""
    return fault.since_ns, ended_ns(fault)


def as_long_again(fault: FaultInterval) -> tuple[int, int]:
    """The same, and then for as long as it lasted: what a cut has swallowed, TCP sends again by then."""
    begun_ns, healed_ns = in_force(fault)
    return begun_ns, 2 * healed_ns - begun_ns


def bites(history: History, stretch: Callable[[FaultInterval], tuple[int, int]] = in_force) -> Bites:
    """The stretches of the faults of a history that happened."""
    taken = [fault for fault in history.faults if happened(fault)]
    servers = [stretch(fault) for fault in taken if of_server(fault)]
    roles = {fault.role for fault in taken}
    return Bites(
        {role: _joined([*servers, *(stretch(fault) for fault in taken if fault.role == role)]) for role in roles},
        _joined(servers),
    )


def all_bites(history: History, stretch: Callable[[FaultInterval], tuple[int, int]] = in_force) -> Spans:
    """The stretches in which any fault that happened was in force, whomever it was done to."""
    return _joined(stretch(fault) for fault in history.faults if happened(fault))


def stopped(history: History, role: str) -> Spans:
    """The stretches in which processes of a role stood still, or were ended and not there again."""
    own = (fault for fault in history.faults if happened(fault) and fault.role == role)
    return _joined(in_force(fault) for fault in own if fault.stopped_pids or fault.killed_pids)


def of_server(fault: FaultInterval) -> bool:
    """Whether it was done to a server, which all roles use. Producers and workers are numbered (worker-2).

    What is sent to a queue is done to nobody: a subject has to cope with it, and it explains nothing.
    """
    return fault.role != QUEUE and not fault.role.rpartition("-")[2].isdigit()


def kills(faults: Iterable[FaultInterval]) -> dict[int, list[int]]:
    """The times at which faults ended a process, by pid, in order. A process that is gone needs no further proof."""
    found: dict[int, list[int]] = {}
    for fault in sorted((f for f in faults if f.injected_ns != NEVER), key=lambda f: f.injected_ns):
        for pid in fault.killed_pids:
            found.setdefault(pid, []).append(fault.injected_ns)
    return found
