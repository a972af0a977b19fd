"""What a run found: the model behind verdict.json, JUnit, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from taskchaos.faults.bounds import SetOf, check
from taskchaos.harness.errors import ExitCode
from taskchaos.harness.record.history import ReleaseSeen
from taskchaos.harness.record.shard import Shard
from taskchaos.harness.record.verdict import OperationCounts, Outcome, Rule, RuleResult, Throughput

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a case should find.

    must: rules that have to fail (a known-bad control); empty = the subject is expected to pass.
    may: rules that may fail besides, because they follow from the same defect or depend on chance.
    """

    must: Annotated[frozenset[Rule], SetOf(Rule)] = frozenset()
    may: Annotated[frozenset[Rule], SetOf(Rule)] = frozenset()

    def __post_init__(self) -> None:
        """Raises ValueError, naming the field, for what is no set of rules."""
        check(self, "expectation: ")

    @property
    def by_chance(self) -> Expectation:
        """The same defects where it is chance whether they show: all of them may, none has to."""
        return Expectation(may=self.must | self.may)

    def met(self, outcome: Outcome, failed: frozenset[Rule]) -> bool:
        """Whether the outcome is as expected. An unknown outcome is never as expected."""
        if outcome is Outcome.UNKNOWN:
            return False
        return self.must <= failed <= (self.must | self.may)

    def missed(self, outcome: Outcome, failed: frozenset[Rule]) -> bool:
        """Whether a control did not show what it must, and nothing else: its defect may have met no chance.

        Then it may be run once more: a suite is blind only if it does not see a defect twice. What a subject has
        failed is never run again.
        """
        return outcome is not Outcome.UNKNOWN and not self.must <= failed and failed <= (self.must | self.may)

    @classmethod
    def read(cls, text: str) -> Expectation:
        """The reverse of `str`. Raises ValueError."""
        kind, _, names = text.partition("fail: ")
        rules = frozenset(Rule(name) for name in names.split(", ")) if names else frozenset()
        if kind not in ("", "pass", "pass, or ") or bool(names) is (kind == "pass"):
            raise ValueError(f"{text!r} is no expectation")
        return cls(may=rules) if kind else cls(must=rules)

    def __str__(self) -> str:
        if self.must:
            return "fail: " + ", ".join(r.value for r in Rule if r in self.must)
        if self.may:
            return "pass, or fail: " + ", ".join(r.value for r in Rule if r in self.may)
        return "pass"


@dataclass(frozen=True, slots=True)
class FaultSummary:
    """How often one kind of fault on one target was injected, proven to bite, and verified healed.

    vanished: was not in force any more right before its heal. unused: on a link that nothing used, so that it could
    not be proven, and did not have to be.
    """

    kind: str
    target: str
    injected: int
    proven: int
    healed: int
    vanished: int = 0
    unused: int = 0


class Trouble(StrEnum):
    """Why a case has no verdict: what failed, if it was not the subject's task code that was judged."""

    STACK = "stack"  # the harness's own: Redis, proxy, processes, disk; or a heal
    STANDSTILL = "standstill"  # the machine slept, was stopped, or had its clock set
    SUBJECT = "subject"  # code of the subject that the harness calls: pending(), install() and so on
    SUITE = "suite"  # the test's own code
    INTERRUPTED = "interrupted"  # the user ended the run
    MISSING = "missing"  # the case was to run, and nothing says why it has no verdict


class CauseKind(StrEnum):
    """The way in which something went wrong; also the place in docs/explanation/causes.md that explains it."""

    REPLY_UNSEEN = "reply-unseen"  # Redis gave it away, and the reply got lost
    GIVEN_TO_THE_DEAD = "given-to-the-dead"  # who got it was killed before it began
    TAKEN_OFF = "taken-off"  # acknowledged, and never begun
    NEVER_SENT = "never-sent"  # acknowledged to the caller, and never sent to Redis
    PUBLISH_UNHEARD = "publish-unheard"  # acknowledged to the caller, although its publish was cut
    NEVER_GIVEN = "never-given"  # Redis had it, and gave it to nobody
    KILLED = "killed"  # its process was killed, and nobody took it over
    KILLED_WHEN_ACKNOWLEDGED = "killed-when-acknowledged"  # it had been taken off before it was done
    TAKEN_OFF_FOR_THE_DEAD = "taken-off-for-the-dead"  # another process took it off although it was not done
    RETRY_CUT = "retry-cut"  # the command that hands the retry to Redis did not get through
    RETRY_IN_MEMORY = "retry-in-memory"  # it waited in a process that was killed
    RETRY_GONE = "retry-gone"
    ENDED = "ended"  # it ended without an effect, and was taken off
    SENT_TWICE = "sent-twice"
    TAKEN_OVER = "taken-over"  # after the death of its process
    LEASE_ENDED = "lease-ended"  # while its process still worked, or slept
    TOLD_TOO_LATE = "told-too-late"  # it was done, and Redis did not know
    WENT_ON = "went-on"  # after the last word
    NEVER_FREED = "never-freed"
    WAITED_OTHERWISE = "waited-otherwise"
    TRIED_TOO_OFTEN = "tried-too-often"
    GIVEN_UP = "given-up"
    SAID_OTHERWISE = "said-otherwise"
    TOO_SLOW = "too-slow"
    HELD = "held"  # workers are held by something other than the task
    NOT_KNOWN = "not-known"


@dataclass(frozen=True, slots=True)
class Cause:
    """Why these operations broke a rule, likely: the text of the first, which is that of all but for its figures.

    command, fault: the two that it is about, where they are known.
    """

    rule: Rule
    kind: CauseKind
    ops: tuple[int, ...]
    text: str
    command: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One case as judged. `error` and `trouble` are set when no verdict could be reached.

    assertion: an assertion of the test that failed after the verdict, which is a finding of its own.
    baseline: what stock Celery at its best is known to come to in the same scenario, when that explains a failure.
    """

    id: str
    suite: str
    scenario: str
    subject: str
    seed: int
    expected: Expectation
    outcome: Outcome
    as_expected: bool
    control: bool
    failed_rules: tuple[Rule, ...]
    rules: tuple[RuleResult, ...]
    operations: OperationCounts
    faults: tuple[FaultSummary, ...]
    throughput: Throughput
    wall_s: float
    replay: str
    folder: str = ""
    nodeid: str = ""
    error: str = ""
    spec: str = ""  # what --subject takes for this subject
    tries: int = 1  # more than 1: run again, alone, because the machine or the proxy had disturbed it
    repairs: tuple[str, ...] = ()  # what of the stack had to be restarted, although no fault was meant for it
    trouble: Trouble | None = None
    assertion: str = ""
    baseline: str = ""
    releases: tuple[ReleaseSeen, ...] = ()  # that worked side by side
    causes: tuple[Cause, ...] = ()  # the likely ones, of the rules that failed


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """The Redis-compatible server of the run."""

    name: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A case that does not apply to its subject or pool, and was therefore not run."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Missing:
    """A shard that was not there when shards were merged (`shard 2/4`), or a case without a verdict (its id)."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class FailedTest:
    """A test without a case that failed, or a file that could not be collected. See `events.TestFailed`."""

    test: str
    assertion: bool
    reason: str
    collected: bool = True  # False: a file or class of tests that could not be collected


@dataclass(frozen=True, slots=True)
class RunProblem:
    """Something the person should know that belongs to no single case. See `events.Problem`."""

    text: str
    usage: bool = False
    stack: bool = False


@dataclass(frozen=True, slots=True)
class RunResult:
    """A whole run. `interrupted`: ended by the person; what had finished is judged anyway."""

    run: str
    seed: int
    stack: str
    profile: str
    server: ServerInfo
    versions: dict[str, str]
    outcome: Outcome
    exit_code: int
    wall_s: float
    cases: tuple[CaseResult, ...]
    schema: int = SCHEMA
    started: str = ""  # wall clock, ISO 8601
    interrupted: bool = False
    left_out: tuple[LeftOut, ...] = ()
    shard: Shard | None = None  # only this part of a selection was to run
    selection: tuple[str, ...] = ()  # of a shard: the ids of the cases of all shards
    incomplete: tuple[Missing, ...] = ()  # what a merged run lacks
    suites: tuple[str, ...] = ()  # what was asked for: names, or paths of the user's own; none: all that ship
    subjects: tuple[str, ...] = ()  # what was asked for, as --subject takes them
    chosen: tuple[str, ...] = ()  # options beyond suites, subjects, stack, profile and seed, as words of a command line
    configured: tuple[str, ...] = ()  # what of the choices stood in [tool.taskchaos] of a pyproject.toml
    failed_tests: tuple[FailedTest, ...] = ()
    doubts: tuple[str, ...] = ()  # why the run as a whole proves nothing, whatever its cases say
    problems: tuple[RunProblem, ...] = ()  # besides the doubts


def exit_code(
    cases: Iterable[CaseResult], failed_tests: Iterable[FailedTest] = (), *, interrupted: bool = False
) -> ExitCode:
    """The exit code of a run: 0 only if every case got its expected verdict, there was one, and no test failed.

    An unexpected failure outranks a stack failure, which outranks unknown: what is proven counts most.
    """
    if interrupted:
        return ExitCode.INTERRUPTED
    cases, failed_tests = list(cases), list(failed_tests)
    unexpected = [c for c in cases if not c.as_expected]
    if any(c.assertion or (not c.trouble and c.outcome is not Outcome.UNKNOWN) for c in unexpected):
        return ExitCode.FAIL
    if any(test.assertion for test in failed_tests):
        return ExitCode.FAIL
    if any(c.trouble is Trouble.STACK for c in unexpected):
        return ExitCode.STACK
    if unexpected or failed_tests or not cases:
        return ExitCode.UNKNOWN
    return ExitCode.PASS


def run_outcome(code: int) -> Outcome:
    """The run's outcome in one word."""
    if code == ExitCode.PASS:
        return Outcome.PASS
    return Outcome.FAIL if code == ExitCode.FAIL else Outcome.UNKNOWN


@dataclass(frozen=True, slots=True)
class StoryLine:
    """One thing that happened to a task. at_s: seconds since the case's first phase began."""

    at_s: float
    who: str  # role, such as producer-1 or worker-2
    what: str


@dataclass(frozen=True, slots=True)
class Story:
    """What happened to one task that a rule complains about."""

    op: int
    rules: tuple[Rule, ...]
    lines: tuple[StoryLine, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """One stretch of the case, in seconds since the start of its first phase.

    effects: operations that took effect here for the first time. submits: submits that were begun here.
    p50_ms, p99_ms: from the time an operation was due to its first effect, over `effects`; None when there is none.
    """

    begun_s: float
    ended_s: float
    effects: int
    submits: int
    effects_per_s: float
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Band:
    """A stretch to shade in a chart: a phase, or a fault with what it was done to."""

    label: str
    begun_s: float
    ended_s: float
    target: str = ""


class TaskEnd(StrEnum):
    """What became of a task, as a letter."""

    DONE = "d"  # one effect
    AGAIN = "a"  # more than one
    GONE = "g"  # acknowledged, and without effect, dead letter or message
    LEFT = "l"  # still on the broker, or waiting for one that is
    DEAD = "x"  # a dead letter, or given up as planned
    REVOKED = "r"
    UNSENT = "u"  # refused, or not known to be sent, and without effect


@dataclass(frozen=True, slots=True)
class TaskWays:
    """The tasks of a case in columns of one length: when each was submitted and what became of it.

    submit_ms: since the first phase began. took_ms: from the time it was due to its first effect, -1 without one.
    ends: a letter of `TaskEnd` for each.
    """

    ops: tuple[int, ...] = ()
    submit_ms: tuple[int, ...] = ()
    took_ms: tuple[int, ...] = ()
    ends: str = ""


@dataclass(frozen=True, slots=True)
class CaseDetail:
    """What the report draws of one case; kept as `detail.json` in the case folder.

    logs: the files in the case's `logs` that are not empty. load: what is to be known of the load, such as that it is
    more than workers can do, on purpose.
    """

    phases: tuple[Band, ...] = ()
    faults: tuple[Band, ...] = ()
    windows: tuple[Window, ...] = ()
    stories: tuple[Story, ...] = field(default=())
    tasks: TaskWays = TaskWays()
    logs: tuple[str, ...] = ()
    load: str = ""
