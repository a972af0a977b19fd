"""The history of a case: what was asked, what happened, what broke, and what was left, in columns.

Operations are numbered 0..planned-1 within a case, so every table is a set of parallel integer columns
(`array('q')`): a million operations stay near 100 MB and can be judged in single passes. All times are
CLOCK_MONOTONIC nanoseconds. `history_io` reads these tables from a case folder.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from enum import IntEnum

from harness.contract import PhaseName, Slo


def column() -> array[int]:
    """An empty column of signed 64-bit integers."""
    return array("q")


#: Stands in a time column for "never happened".
NEVER = -1
#: Stands for the fence of an attempt that named none.
UNFENCED = -1


class SubmitOutcome(IntEnum):
    """What the submitter was told. An exception is UNKNOWN unless it is certain that nothing was sent."""

    PENDING = 0  # the submitter died or still hangs: unknown as well
    ACKNOWLEDGED = 1
    REFUSED = 2
    UNKNOWN = 3


class AttemptOutcome(IntEnum):
    """How one execution of the body ended."""

    OPEN = 0  # no end recorded: killed, or still running
    OK = 1
    TRANSIENT = 2
    PERMANENT = 3
    INTERRUPTED = 4  # an exception that the body did not raise itself (time limit, SystemExit)


class ClaimKind(IntEnum):
    """What the subject said became of an operation."""

    SUCCESS = 1
    FAILURE = 2
    RETRY = 3
    REJECTED = 4
    REVOKED = 5


@dataclass(slots=True)
class Submits:
    """One row per submit that was begun. `due_ns` is when the load wanted it sent."""

    op: array[int] = field(default_factory=column)
    due_ns: array[int] = field(default_factory=column)
    begun_ns: array[int] = field(default_factory=column)
    done_ns: array[int] = field(default_factory=column)  # NEVER while PENDING
    outcome: array[int] = field(default_factory=column)  # SubmitOutcome


@dataclass(slots=True)
class Deliveries:
    """One row per arrival at a worker."""

    op: array[int] = field(default_factory=column)
    at_ns: array[int] = field(default_factory=column)
    role: array[int] = field(default_factory=column)  # index into History.roles


@dataclass(slots=True)
class Attempts:
    """One row per execution of the body."""

    op: array[int] = field(default_factory=column)
    begun_ns: array[int] = field(default_factory=column)
    ended_ns: array[int] = field(default_factory=column)  # NEVER while OPEN
    outcome: array[int] = field(default_factory=column)  # AttemptOutcome
    role: array[int] = field(default_factory=column)
    pid: array[int] = field(default_factory=column)
    fence: array[int] = field(default_factory=column)  # the subject's fencing token, UNFENCED without one


@dataclass(slots=True)
class Effects:
    """One row per effect on the outside world."""

    op: array[int] = field(default_factory=column)
    at_ns: array[int] = field(default_factory=column)


@dataclass(slots=True)
class Claims:
    """One row per statement of the subject about an operation."""

    op: array[int] = field(default_factory=column)
    at_ns: array[int] = field(default_factory=column)
    kind: array[int] = field(default_factory=column)  # ClaimKind


@dataclass(frozen=True, slots=True)
class FaultInterval:
    """One fault as it happened.

    proven: evidence that it bit was found; healed: its heal was verified. `killed_pids` are processes it ended
    (their open attempts ended at `injected_ns` at the latest), `stopped_pids` those that stood still meanwhile.
    """

    kind: str
    target: str
    injected_ns: int
    healed_ns: int  # NEVER when not healed
    proven: bool
    healed: bool
    evidence: str = ""
    killed_pids: frozenset[int] = frozenset()
    stopped_pids: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of the case. `offered` = submits whose due time lies in it."""

    name: PhaseName
    begun_ns: int
    ended_ns: int
    offered: int = 0


@dataclass(frozen=True, slots=True)
class FinalState:
    """What was left, read past the proxy after the last heal.

    reads: complete, equal readings in a row that this rests on (0 = never read: completeness claims are unknown).
    pending: operations still on the broker, by their number; `opaque_pending`: entries that name no operation.
    dead: operations in the subject's dead letters. results: what the result backend says, ClaimKind by operation.
    leaks: keys of the subject that are left although nothing is pending.
    converged: nothing pending, nothing running, workers idle, over several readings.
    quiet: nothing moved (no ledger record, no change of the broker) for the quiet period before the final read.
    overdue: converged is False but every redelivery time-out has passed since the last heal, so what is
    pending will not move any more.
    """

    reads: int = 0
    read_at_ns: int = NEVER
    pending: frozenset[int] = frozenset()
    opaque_pending: int = 0
    dead: frozenset[int] = frozenset()
    results: dict[int, int] = field(default_factory=dict)
    leaks: tuple[str, ...] = ()
    converged: bool = False
    quiet: bool = False
    overdue: bool = False
    healed: bool = True
    reason: str = ""


@dataclass(slots=True)
class History:
    """Everything the checker may look at. It looks at nothing else."""

    planned: int = 0  # operations in the plan: 0..planned-1
    permanent: frozenset[int] = frozenset()  # operations whose body always fails permanently
    roles: tuple[str, ...] = ()
    submits: Submits = field(default_factory=Submits)
    deliveries: Deliveries = field(default_factory=Deliveries)
    attempts: Attempts = field(default_factory=Attempts)
    effects: Effects = field(default_factory=Effects)
    claims: Claims = field(default_factory=Claims)
    faults: tuple[FaultInterval, ...] = ()
    planned_faults: int = 0
    phases: tuple[Phase, ...] = ()
    final: FinalState = field(default_factory=FinalState)
    slo: Slo = field(default_factory=Slo)
    lease_ns: int = 0  # for how long a subject may keep what it holds without a sign of life
    dropped_sends: int = 0  # due operations that the load generator never began
    deaths: tuple[str, ...] = ()  # workers that ended although no fault ended them
    repairs: tuple[str, ...] = ()  # what of the stack had to be restarted
    torn_records: int = 0  # ledger lines that could not be read
