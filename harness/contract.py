"""What a subject claims, and what a case demands of it in figures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated

from taskchaos.faults.bounds import LONGEST_S, Flag, Kind, OrNone, Real, SetOf, Whole, check
from taskchaos.harness.backoff import BackoffLaw


class Claim(StrEnum):
    """One promise a subject may make. A rule whose claim is not made is reported as "not claimed".

    DURABLE: what was acknowledged outlives a Redis that loses what it had not written through, or not yet replicated.
    EXCLUSIVE: no two executions of a task at the same time. No lease can keep that while a process is stopped for
    longer than the lease; with FENCED (executions carry numbers that rise, so that a resource can refuse the one that
    was overtaken) it is held to everything else. EXCLUSIVE_KEYS: the same of all tasks with one business key, where a
    case has such keys; to wait for another's end is no failure and costs no attempt. RESULTS: what took effect has its
    result in the result backend in the end, whatever that backend met meanwhile; asked only where a case has results
    kept. ORDER: the body of a chord begins when all its members have taken effect, not before; asked only where a case
    has chords. UNIQUE: a task that is submitted again under its id is the one that was submitted before. BACKOFF:
    between a failed attempt and the next it waits as its law says. ETA: a task that is to be run later does not begin
    before. PRIORITY: of what waits in the queue, a worker takes the more urgent first (what it has taken, it may keep).
    REVOKE: what was revoked before a worker had it does not begin.
    """

    NO_LOSS = "no_loss"
    DURABLE = "durable"
    EXCLUSIVE = "exclusive"
    EXCLUSIVE_KEYS = "exclusive_keys"
    FENCED = "fenced"
    EFFECTIVELY_ONCE = "effectively_once"
    RETRIES_BOUNDED = "retries_bounded"
    BACKOFF = "backoff"
    THROUGHPUT = "throughput"
    RESULTS = "results"
    ORDER = "order"
    UNIQUE = "unique"
    ETA = "eta"
    PRIORITY = "priority"
    REVOKE = "revoke"


@dataclass(frozen=True, slots=True)
class Contract:
    """The claims of a subject.

    max_attempts: executions of one operation the subject allows itself when nothing crashes
    (1 + max_retries); only read when RETRIES_BOUNDED is claimed. max_crashes: executions that may end with their
    process before the operation may be given up; None: never for that reason. backoff: the law of waiting between
    attempts, which a contract that claims BACKOFF has to name.
    """

    claims: Annotated[frozenset[Claim], SetOf(Claim)]
    max_attempts: Annotated[int, Whole(1, 1_000_000)] = 4
    max_crashes: Annotated[int | None, OrNone(Whole(0, 1_000_000))] = None
    backoff: Annotated[BackoffLaw | None, OrNone(Kind(BackoffLaw))] = None

    def __post_init__(self) -> None:
        """Raises ValueError, naming the field, for a claim without what it is judged by, and what is out of bounds."""
        check(self, "contract: ")
        if Claim.BACKOFF in self.claims and self.backoff is None:
            raise ValueError("a contract that claims backoff names its law: Contract(..., backoff=BackoffLaw(...))")

    def has(self, claim: Claim) -> bool:
        """Whether the subject makes this claim."""
        return claim in self.claims

    def claiming(self, *claims: Claim) -> Contract:
        """The same contract with more claims."""
        return replace(self, claims=self.claims | frozenset(claims))

    def waiting(self, law: BackoffLaw) -> Contract:
        """The same contract, claiming to wait like this between attempts."""
        return replace(self, claims=self.claims | {Claim.BACKOFF}, backoff=law)


class PhaseName(StrEnum):
    """The stretches of a case, in the order in which they can occur."""

    PREFILL = "prefill"
    BASELINE = "baseline"
    FAULT = "fault"
    HEALED = "healed"
    DRAIN = "drain"


@dataclass(frozen=True, slots=True)
class Slo:
    """The figures a case demands.

    target_tps: effects per second wanted in each of `phases`; None = report only.
    recovery_limit_s: longest time from the last heal until the rate is back at 95 % of baseline; None = report only.
    waits: whether the case is about waits between attempts, so that too few to judge them make it unknown. growth:
    whether connections, memory, keys and files are counted before and after, and have to come back.
    """

    target_tps: Annotated[float | None, OrNone(Real(0, 1_000_000, above=True))] = None
    phases: Annotated[frozenset[PhaseName], SetOf(PhaseName)] = frozenset({PhaseName.BASELINE, PhaseName.HEALED})
    recovery_limit_s: Annotated[float | None, OrNone(Real(0, LONGEST_S, above=True))] = None
    waits: Annotated[bool, Flag()] = False
    growth: Annotated[bool, Flag()] = False

    def __post_init__(self) -> None:
        """Raises ValueError, naming the field, for what nothing could be held against."""
        check(self, "slo: ")
        if self.target_tps is not None and not self.phases:
            raise ValueError("slo: phases has to name one at least: target_tps is wanted in each of them")
