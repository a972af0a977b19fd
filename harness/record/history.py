"""The history of a case: what was asked, what happened, what broke, and what was left, in columns.

Operations are numbered 0..planned-1 within a case, so every table is a set of parallel integer columns
(`array('q')`): a million operations stay near 100 MB and can be judged in single passes. All times are
CLOCK_MONOTONIC nanoseconds. `judge/reader.py` reads these tables from a case folder.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from taskchaos.harness.contract import PhaseName, Slo
from taskchaos.harness.record.seen import Seen


def column() -> array[int]:
    """An empty column of signed 64-bit integers."""
    return array("q")


#: What the name of a worker's path to the result backend ends with.
RESULTS = "-results"
#: The target of what is sent to the queue.
QUEUE = "queue"
#: Texts of failed submits that are kept.
MOST_ERRORS = 1000
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
    CRASHED = 5  # the body ended its process, as the plan has it


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
    role: array[int] = field(default_factory=column)  # index into History.roles


@dataclass(slots=True)
class Drops:
    """One row per operation that a producer was too late for, and never began."""

    op: array[int] = field(default_factory=column)
    due_ns: array[int] = field(default_factory=column)


@dataclass(slots=True)
class Revokes:
    """One row per revoke that was begun. `heard_ns`: when it was acknowledged; NEVER if it was not."""

    op: array[int] = field(default_factory=column)
    begun_ns: array[int] = field(default_factory=column)
    heard_ns: array[int] = field(default_factory=column)


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
class Reports:
    """One row per statement of the subject about an operation."""

    op: array[int] = field(default_factory=column)
    at_ns: array[int] = field(default_factory=column)
    kind: array[int] = field(default_factory=column)  # ClaimKind


@dataclass(frozen=True, slots=True)
class OperationHit:
    """A fault met this operation itself: `what` is the command that carried it."""

    op: int
    at_ns: int
    what: str


@dataclass(frozen=True, slots=True)
class FaultInterval:
    """One fault as it happened.

    proven: evidence that it bit the traffic of its target was found; held: it was still in force right before its heal
    (True for what has no duration), at `seen_ns`; healed: its heal was verified. unused: a link that nothing has used
    in the whole case, and that nothing has to use. `killed_pids` are processes it ended (their open attempts ended at
    `injected_ns` at the latest), `stopped_pids` those that stood still meanwhile. forgot_since_ns: the server lost what
    it acknowledged from then until it was injected (0: from the beginning to its heal); None: it lost nothing.
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
    held: bool = True
    unused: bool = False
    hits: tuple[OperationHit, ...] = ()
    seen_ns: int = NEVER  # when it was last seen in force
    forgot_since_ns: int | None = None
    began_ns: int | None = None

    @property
    def since_ns(self) -> int:
        """When it began to bite: at its injection, unless that took a while."""
        return self.injected_ns if self.began_ns is None else self.began_ns

    @property
    def role(self) -> str:
        """Whose fault it is: the role whose link or processes it is done to, or the server's name."""
        return role_of(self.target)


def role_of(target: str) -> str:
    """The role that a target belongs to: a worker's result path is that worker's."""
    return target.removesuffix(RESULTS)


@dataclass(frozen=True, slots=True)
class Phase:
    """One stretch of the case. `offered` = submits whose due time lies in it."""

    name: PhaseName
    begun_ns: int
    ended_ns: int
    offered: int = 0


@dataclass(frozen=True, slots=True)
class Outage:
    """When what the tasks depend on was down, so that every attempt failed."""

    begun_ns: int
    ended_ns: int


@dataclass(frozen=True, slots=True)
class Redrive:
    """One dead letter that was run again after the final read, its body made to succeed.

    begun_ns: what the operation did from then on is no part of the case. error: why it could not be asked for.
    """

    op: int
    begun_ns: int
    effect: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What was in use at one moment.

    connections, memory_bytes, keys: of the server; keys that expire by themselves are not counted. files: open files
    of each worker's processes; empty where they cannot be counted.
    """

    at_ns: int
    connections: int
    memory_bytes: int
    keys: int
    files: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FinalState:
    """What was left, read past the proxy after the last heal.

    reads: complete, equal readings in a row that this rests on (0 = never read: completeness claims are unknown).
    pending: operations still on the broker, by their number; `opaque_pending`: entries that name no operation.
    dead: operations in the subject's dead letters. results: what the result backend says, ClaimKind by operation.
    leaks: keys of the subject that are left although nothing is pending.
    converged: nothing pending, nothing running, workers idle, over several readings.
    quiet: nothing moved (no ledger record, no change of the broker) for the quiet period before the final read.
    overdue: converged is False but every redelivery timeout has passed since the last heal, so what is
    pending will not move any more.
    stalled_since_ns: things moved, but nothing got further since then (no first effect, no attempt that ended by
    itself, nothing given up), for longer than every redelivery timeout and the longest wait that the subject claims;
    NEVER otherwise.
    redrive: what came of running a dead letter again, if the subject offers a way.
    usage_before, usage: what was in use at the end of the baseline, and is now, where the case counts that.
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
    stalled_since_ns: int = NEVER
    redrive: Redrive | None = None
    usage_before: Usage | None = None
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class ReleaseSeen:
    """One of two releases that worked side by side: its versions, in words, and the effects of its workers."""

    release: str
    versions: str
    effects: int = 0


@dataclass(slots=True)
class History:
    """Everything the checker may look at. It looks at nothing else."""

    planned: int = 0  # operations in the plan: 0..planned-1
    permanent: frozenset[int] = frozenset()  # operations whose body always fails permanently
    poison: frozenset[int] = frozenset()  # operations whose body ends its process each time
    failures: bytes = b""  # by operation: how often its body fails before it succeeds; empty: never
    outage: Outage | None = None  # as it was set; None: none
    planned_outage: bool = False
    producers: tuple[str, ...] = ()  # the roles that had to send the plan
    finished: frozenset[str] = frozenset()  # producers that said that they had gone through their part of it
    gone_through: int | None = None  # operations, as they said; None: not known
    roles: tuple[str, ...] = ()
    submits: Submits = field(default_factory=Submits)
    drops: Drops = field(default_factory=Drops)
    submit_errors: dict[int, str] = field(default_factory=dict)  # by operation, of the first MOST_ERRORS at most
    revokes: Revokes = field(default_factory=Revokes)
    unheard: str = ""  # why one of them was not acknowledged
    deliveries: Deliveries = field(default_factory=Deliveries)
    attempts: Attempts = field(default_factory=Attempts)
    effects: Effects = field(default_factory=Effects)
    claims: Reports = field(default_factory=Reports)
    faults: tuple[FaultInterval, ...] = ()
    planned_faults: int = 0
    phases: tuple[Phase, ...] = ()
    final: FinalState = field(default_factory=FinalState)
    slo: Slo = field(default_factory=Slo)
    keep_results: bool = False  # the subject was asked to keep results
    keys: int = 0  # so many business keys, in turn
    priorities: int = 0  # so many priorities, in turn, the most urgent first
    chord_of: int = 0  # of so many and one consecutive operations the last is the body of a chord of the others
    again: bool = False  # some operations were submitted a second time on purpose
    revoking: bool = False  # some are revoked
    delays_ns: Mapping[int, int] = field(default_factory=dict)  # by operation that was sent to be run so much later
    must_see: frozenset[Seen] = frozenset()  # what the case has to come through, so that its verdict means anything
    lease_ns: int = 0  # for how long a subject may keep what it holds without a sign of life
    longest_wait_ns: int = 0  # for how long the subject claims that an operation may rightly wait between two attempts
    gone: Mapping[int, int] = field(default_factory=dict)  # processes gone in an attempt: when last seen alive, by pid
    deaths: tuple[str, ...] = ()  # workers that ended although no fault ended them
    repairs: tuple[str, ...] = ()  # what of the stack had to be restarted
    releases: tuple[ReleaseSeen, ...] = ()  # in a case with two of them
    torn_records: int = 0  # ledger lines that could not be read

    def role_name(self, index: int) -> str:
        """What the role of this index in a table is called."""
        return self.roles[index] if 0 <= index < len(self.roles) else f"role {index}"
