"""The workload: operations with unique numbers, and when they are due."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain
from math import ceil
from typing import Annotated, Any

from taskchaos.faults.bounds import LONGEST_S, Member, Real, Whole, check

_TASK_ID = re.compile(r"op-(\d{1,18})(?!\d)")
#: Bounds of a plan: how often an operation may fail, and how many there may be.
MOST_FAILURES = 255
MOST_OPERATIONS = 10_000_000
#: How much later an operation may be run, submitted again or revoked: a case waits for it.
MOST_ETA_MS = 600_000
#: Celery on Redis tells so many priorities apart by itself, this far from one another; the smallest is the most urgent.
MOST_PRIORITIES, PRIORITY_STEP = 4, 3
#: The most bytes that a payload may be padded with.
MOST_PADDING = 100_000_000
#: Each so many-th operation, 0: none; and how much later.
EVERY, LATER_MS = Whole(0, MOST_OPERATIONS), Whole(0, MOST_ETA_MS)
#: In the folder of marks: from when until when the dependency of the tasks is down.
OUTAGE = "outage.json"
#: The longest that a fault phase may last beyond its plan, until its last heal, with the load going on.
MOST_OVERTIME_S = 5.0


class TransientError(Exception):
    """The body failed in a way that a later attempt overcomes: a subject should retry."""


class PermanentError(Exception):
    """The body fails every time: a subject should give up soon and keep the task somewhere."""


class LoadModel(StrEnum):
    """OPEN: a fixed schedule of due times that waits for nobody. PREFILL: fill the queue, then start the workers."""

    OPEN = "open"
    PREFILL = "prefill"


@dataclass(frozen=True, slots=True)
class Operation:
    """One unit of work.

    failures: transient failures before the body succeeds; poison: the body kills its process each time; work_ms: how
    long it works; dependent: it fails as long as the dependency is down, which the body looks up. eta_ms: how long
    after its submit it is to be run; 0: at once. priority: of what waits, the smaller number is to be run first; None:
    nothing is said of that.
    """

    number: int
    failures: int = 0
    permanent: bool = False
    poison: bool = False
    work_ms: int = 0
    padding: int = 0  # bytes of payload
    key: str = ""  # the business key that it shares with others; "": none
    again: bool = False  # this is its second submit
    revoked: bool = False  # this is its revoke
    dependent: bool = False
    eta_ms: int = 0
    priority: int | None = None

    @property
    def task_id(self) -> str:
        """The Celery task id, from which the operation's number can be read back."""
        return f"op-{self.number}"

    def payload(self) -> dict[str, Any]:
        """The task's only argument, as JSON."""
        return {
            "op": self.number,
            "failures": self.failures,
            "permanent": self.permanent,
            "poison": self.poison,
            "work_ms": self.work_ms,
            "padding": "x" * self.padding,
            "key": self.key,
            "dependent": self.dependent,
        }


def operation_number(text: str) -> int | None:
    """The operation a task id, lock key or message names; None if it names none."""
    found = _TASK_ID.search(text)
    return int(found.group(1)) if found else None


@dataclass(frozen=True, slots=True)
class Workload:
    """What is asked of the subject. Times in seconds.

    Every `permanent_every`-th operation fails for good, and every `poison_every`-th kills its process, each time
    (0 = none); one that is due for both is poison. The operations have `keys` business keys in turn (0 = none): what a
    customer or an order is to them, of which some subjects run one task at a time. Every `again_every`-th operation is
    submitted a second time under its id, `again_after_ms` after it was due (0 = none): who sends does not remember.
    Every `revoke_every`-th is revoked, `revoke_after_ms` after it was due (0 = none): it need not run any more.
    `burst` of them are due at once, at the same rate. Every `eta_every`-th is sent to be run `eta_ms` later (0 = none).
    They have `priorities` priorities in turn (0 = none): 0, 3, 6 and 9, of which the smaller is the more urgent.

    Operations come in chords of `chord_of` members and a body (0 = none): of so many and one consecutive numbers the
    last is the body, which runs when all members have succeeded. They are submitted by one call when the first of them
    is due, and only whole chords are. Members and body fail as their numbers say, like any other operation.

    In an OPEN load, `rate_tps` operations per second are due in each of the three phases (a phase of 0 s is left
    out). The fault phase goes on until its faults are healed, for up to MOST_OVERTIME_S longer than planned. A PREFILL
    load sends `prefill` operations before any worker runs, then measures the drain.

    What all tasks depend on is down for `outage_s` from `outage_after_s` on, counted from the beginning of the fault
    phase: an attempt that is made meanwhile fails, transiently, besides the failures that its operation has of its own.
    """

    model: Annotated[LoadModel, Member(LoadModel)] = LoadModel.OPEN
    rate_tps: Annotated[int, Whole(1, MOST_OPERATIONS)] = 100
    baseline_s: Annotated[float, Real(0, LONGEST_S)] = 1.0
    fault_s: Annotated[float, Real(0, LONGEST_S)] = 1.0
    healed_s: Annotated[float, Real(0, LONGEST_S)] = 1.0
    prefill: Annotated[int, Whole(0, MOST_OPERATIONS)] = 0
    failures: Annotated[int, Whole(0, MOST_FAILURES)] = 0
    failing_every: Annotated[int, Whole(1, MOST_OPERATIONS)] = 1  # every n-th operation fails `failures` times first
    permanent_every: Annotated[int, EVERY] = 0
    poison_every: Annotated[int, EVERY] = 0
    work_ms: Annotated[int, Whole(0, 86_400_000)] = 0
    padding: Annotated[int, Whole(0, MOST_PADDING)] = 0
    keys: Annotated[int, EVERY] = 0
    again_every: Annotated[int, EVERY] = 0
    again_after_ms: Annotated[int, LATER_MS] = 0
    revoke_every: Annotated[int, EVERY] = 0
    revoke_after_ms: Annotated[int, LATER_MS] = 0
    burst: Annotated[int, Whole(1, MOST_OPERATIONS)] = 1
    eta_every: Annotated[int, EVERY] = 0
    eta_ms: Annotated[int, LATER_MS] = 0
    priorities: Annotated[int, Whole(0, MOST_PRIORITIES)] = 0
    chord_of: Annotated[int, EVERY] = 0
    outage_after_s: Annotated[float, Real(0, LONGEST_S)] = 0.0
    outage_s: Annotated[float, Real(0, LONGEST_S)] = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError, naming the field, for a load that cannot be sent."""
        check(self)
        if self.outage_s and not self.outage_after_s + self.outage_s <= self.fault_s:
            raise ValueError(f"the outage has to end within the fault phase of {self.fault_s:g} s")
        if self.outage_s and self.model is not LoadModel.OPEN:
            raise ValueError("an outage needs a load with phases")
        if self.chord_of and self.again_every:
            raise ValueError("a chord is submitted once: chord_of and again_every exclude one another")
        if self.revoke_every and (self.chord_of or self.again_every):
            raise ValueError("what is revoked is one task, submitted once: no chord_of or again_every beside it")
        if self.revoke_every and self.model is not LoadModel.OPEN:
            raise ValueError("a revoke needs workers that hear it: a load with phases")
        if bool(self.eta_every) != bool(self.eta_ms):
            raise ValueError("eta_every and eta_ms go together: give both, or none")
        if self.chord_of and self.eta_every:
            raise ValueError("a chord is sent to be run at once: chord_of and eta_every exclude one another")
        if self.priorities and (self.keys or self.eta_every or self.chord_of):
            raise ValueError("what has a priority waits for its turn only: no keys, eta_every or chord_of beside it")
        if self.operations > MOST_OPERATIONS:
            raise ValueError(f"{self.operations:,} tasks are more than a case may have ({MOST_OPERATIONS:,})")

    @property
    def load_s(self) -> float:
        """How long operations are due for."""
        return self.baseline_s + self.fault_s + self.healed_s if self.model is LoadModel.OPEN else 0.0

    @property
    def operations(self) -> int:
        """How many operations the plan holds."""
        number = self.prefill if self.model is LoadModel.PREFILL else round(self.rate_tps * self.load_s)
        return number - number % self.together

    @property
    def together(self) -> int:
        """How many operations one submit sends."""
        return self.chord_of + 1

    def operation(self, number: int) -> Operation:
        """The operation with this number."""
        poison = bool(self.poison_every) and number % self.poison_every == self.poison_every - 1
        permanent = bool(self.permanent_every) and number % self.permanent_every == self.permanent_every - 1
        failing = number % self.failing_every == 0 and not permanent and not poison
        failures = self.failures if failing else 0
        key = f"key-{number % self.keys}" if self.keys else ""
        fate = {"permanent": permanent and not poison, "poison": poison, "dependent": self.outage_s > 0}
        eta_ms = self.eta_ms if self.eta_every and number % self.eta_every == 0 else 0
        priority = number % self.priorities * PRIORITY_STEP if self.priorities else None
        return Operation(
            number,
            failures,
            **fate,
            work_ms=self.work_ms,
            padding=self.padding,
            key=key,
            eta_ms=eta_ms,
            priority=priority,
        )

    def failure_counts(self) -> bytes:
        """How often each operation's body fails before it succeeds, a byte each; empty when none does."""
        if not self.failures:
            return b""
        return bytes(self.operation(number).failures for number in range(self.operations))

    def delays_ns(self) -> dict[int, int]:
        """How long after its submit each operation is to be run that is not to be run at once."""
        if not self.eta_every:
            return {}
        return dict.fromkeys(range(0, self.operations, self.eta_every), self.eta_ms * 1_000_000)

    @property
    def permanent(self) -> frozenset[int]:
        """The operations whose body always fails for good."""
        return self._each(self.permanent_every) - self.poison

    @property
    def poison(self) -> frozenset[int]:
        """The operations whose body kills its process each time."""
        return self._each(self.poison_every)

    def _each(self, every: int) -> frozenset[int]:
        return frozenset(range(every - 1, self.operations, every)) if every else frozenset()

    @property
    def overtime_s(self) -> float:
        """How much longer its fault phase may last than planned."""
        return min(MOST_OVERTIME_S, (MOST_OPERATIONS - self.operations) / self.rate_tps)

    @property
    def overtime_operations(self) -> int:
        """How many operations may be due beyond the plan meanwhile, and some."""
        return ceil(self.rate_tps * self.overtime_s) + self.together if self.model is LoadModel.OPEN else 0

    def with_failures(self, percent: float) -> Workload:
        """The same where this share of the tasks fails once, unless some do already. Raises ValueError."""
        if self.failures or not percent:
            return self
        return replace(self, failures=1, failing_every=max(1, round(100 / percent)))

    def lasting(self, fault_s: float) -> Workload:
        """The same with a fault phase of this length. Raises ValueError like the class."""
        return replace(self, fault_s=fault_s)

    def due(self, producer: int, producers: int, more: int = 0) -> Iterator[tuple[Operation, int]]:
        """The operations of one of several producers, each with its due time in ns after the load began.

        more: so many beyond the plan, at the same rate. What is submitted twice, or revoked, comes twice, in order of
        due times.
        """
        submits = range(producer, (self.operations + more) // self.together, producers)

        def numbers() -> Iterator[int]:
            return chain.from_iterable(range(n * self.together, (n + 1) * self.together) for n in submits)

        first = ((self._due_ns(number), number) for number in numbers())
        every, after_ms = self.again_every, self.again_after_ms
        if self.revoke_every:
            every, after_ms = self.revoke_every, self.revoke_after_ms
        twice = (number for number in numbers() if every and number % every == 0)
        second = ((self._due_ns(number) + after_ms * 1_000_000, number) for number in twice)
        sent = -1
        for due_ns, number in heapq.merge(first, second):
            back = number <= sent and self.revoke_every > 0
            yield replace(self.operation(number), again=number <= sent and not back, revoked=back), due_ns
            sent = max(sent, number)

    def sends(self, producer: int, producers: int, more: int = 0) -> Iterator[tuple[tuple[Operation, ...], int]]:
        """The same by submits: each sends one operation, or those of a chord, whose body is the last."""
        for due in zip(*[self.due(producer, producers, more)] * self.together, strict=True):
            yield tuple(operation for operation, _ in due), due[0][1]

    def _due_ns(self, number: int) -> int:
        if self.model is LoadModel.PREFILL:
            return 0
        first = number - number % self.together
        return (first - first % self.burst) * 1_000_000_000 // self.rate_tps
