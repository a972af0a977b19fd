"""The fixture `chaos`: runs and judges the case of a test, and says in pytest what came of it."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn, Unpack

import pytest

from taskchaos.faults.base import Ability
from taskchaos.faults.bounds import Kind, OrNone, objection, shown
from taskchaos.faults.schedule import FAULTS, Schedule
from taskchaos.harness.case.expectations import expectation_of
from taskchaos.harness.case.plan import Case
from taskchaos.harness.case.stack_options import MOST_ROLES, Pool, StackChanges, StackOptions, changed
from taskchaos.harness.case.subject_loading import resolve, source_of
from taskchaos.harness.case.subject_names import shipped_names
from taskchaos.harness.conduct.conductor import conduct
from taskchaos.harness.conduct.slots import slot
from taskchaos.harness.contract import Contract, Slo
from taskchaos.harness.errors import SubjectError, TaskchaosError
from taskchaos.harness.profile import Profile
from taskchaos.harness.pytest.failure import failure_text
from taskchaos.harness.pytest.keys import COUNTS_AS, Inconclusive, NoVerdict, TimeIsUp, Unexpected
from taskchaos.harness.pytest.selection import own_suite_of, replayable_nodeid_of, scenario_of, seed_of, suite_of
from taskchaos.harness.record.layout import CASES
from taskchaos.harness.record.result import CaseResult, Expectation, Trouble
from taskchaos.harness.record.seen import Seen
from taskchaos.harness.record.sources import SourceRole, StoredSource, keep
from taskchaos.harness.record.verdict import SLO_RULES, Outcome, Rule
from taskchaos.harness.report.junit import facts
from taskchaos.harness.run import folder as run
from taskchaos.harness.run.folder import RunOptions
from taskchaos.harness.subject import ChordSubject, Commands, RevokingSubject, Subject
from taskchaos.harness.workload import LoadModel, Workload

#: Stock Celery at its best: what it fails in the same scenario is said beside a user's own failure.
BASELINE = "stock_best"
#: The suite and scenario in which tasks fail once, and nothing else happens.
FAILURES_ALONE = ("transient_error", "once")
#: Visibility timeout for suites that take no message away from a worker.
UNDISTURBED_S = 30
#: The highest rate at which the proxy notes the commands that carry tasks.
WIRE_TPS = 200
#: How long a case takes at least besides its load: its stack starts, and everything comes to rest.
BESIDE_LOAD_S = 2.0


class Chaos:
    """Runs the case of one test."""

    def __init__(self, options: RunOptions, item: pytest.Item, spec: str) -> None:
        self._options = options
        self._item = item
        self._spec = spec
        self._subject = resolve(spec)
        self.suite = suite_of(item)
        self.scenario = scenario_of(item)
        self.called = False
        self._unusable: SubjectError | None = None

    @property
    def seed(self) -> int:
        """The seed of the run, for schedules that are drawn; of the test, if it asks for `chaos_seed`."""
        return seed_of(self._item, self._options.seed)

    @property
    def profile(self) -> Profile:
        """The scale of the run: how long its phases are, and how much it sends."""
        return self._options.scale

    @property
    def commands(self) -> Commands:
        """The Redis commands that the subject's steps are made of, for command faults."""
        return self._subject.commands

    @property
    def contract(self) -> Contract:
        """What the subject claims."""
        return self._subject.contract

    @property
    def pool(self) -> Pool:
        """The Celery pool that the workers run."""
        return self._options.pool

    @property
    def slots(self) -> int:
        """How many tasks the workers run at the same time, unless the test asks for another stack."""
        return self._options.stack_options.slots

    @property
    def target_tps(self) -> float:
        """The throughput to keep, in tasks per second."""
        return self._options.target_tps or self._options.scale.target_tps

    def can(self, kind: str) -> bool:
        """Whether a fault of this kind works on the stack of the run."""
        return not self._options.stack_options.lacks(kind)

    def does_not_apply(self, reason: str) -> NoReturn:
        """Leave this case out: not run, no finding, and said so in every report."""
        __tracebackhide__ = True
        pytest.skip(reason)

    def _leave_out(self, kind: str, lacking: frozenset[Ability]) -> NoReturn:
        """Leave out a case whose fault needs what is not there; fail when CHAOS_REQUIRE names it."""
        __tracebackhide__ = True
        why = f"{kind} {'; '.join(sorted(lacking))}"
        required = os.environ.get("CHAOS_REQUIRE", "").split(",")
        for ability in lacking:
            if ability.name.lower() in required:
                pytest.fail(f"CHAOS_REQUIRE names {ability.name.lower()}, but {why}")
        self.does_not_apply(why)

    def __call__(
        self,
        workload: Workload,
        schedule: Schedule = Schedule(),  # noqa: B008 (immutable)
        *,
        slo: Slo | None = None,
        must_see: Collection[Seen] = (),
        **needs: Unpack[StackChanges],
    ) -> CaseResult:
        """Run and judge the case. Raises Unexpected, Inconclusive or NoVerdict unless it came out as expected.

        must_see: what has to happen in the case for its verdict to mean anything; unknown where that was not seen.
        needs: what the case asks of its stack (StackChanges).
        """
        __tracebackhide__ = True  # pytest shows the line of the test, not ours
        try:
            _check_asked(workload, schedule, slo, must_see, needs)
            return self._run(workload, schedule, slo, must_see, needs)
        except (TaskchaosError, ValueError) as error:  # one line says it all
            raise error.with_traceback(None) from None

    def _run(
        self,
        workload: Workload,
        schedule: Schedule,
        slo: Slo | None,
        must_see: Collection[Seen],
        needs: StackChanges,
    ) -> CaseResult:
        __tracebackhide__ = True
        if self.called:
            raise RuntimeError("chaos was called twice: a test runs one case, so give the second a test of its own")
        if self._options.time_is_up(self.seed, workload.load_s + BESIDE_LOAD_S):
            raise TimeIsUp("the time of the run was up before it began")
        for kind in {fault.kind for fault in schedule.faults}:
            if lacking := self._options.stack_options.missing(kind):
                self._leave_out(kind, lacking)
        if workload.chord_of:
            if not isinstance(self._subject, ChordSubject):
                self.does_not_apply("this subject has no submit_chord, so it cannot send chords")
            needs["keep_results"] = True  # what chords count their members by
        if workload.revoke_every and not isinstance(self._subject, RevokingSubject):
            self.does_not_apply("this subject has no revoke, so it cannot revoke tasks")
        case = self._case(workload, schedule, slo, must_see, needs).as_planned()
        if self._options.replay:
            case = planned_before(case, Case.load(Path(self._options.replay)))
        if (self._options.folder / CASES / case.id).exists():
            raise RuntimeError(f"{case.id} was run already in this run: what it came to stands")
        case = replace(case, sources=self._kept_sources())
        self.called = True
        result = self._conduct(case, alone=self._item.get_closest_marker("chaos_alone") is not None)
        if disturbance(case, result):  # no finding about the subject. Once more, alone.
            folder = self._options.folder / CASES / case.id
            folder.rename(folder.with_name(f"{case.id}~1"))
            result = self._conduct(case, alone=True, tries=2)
        self._item.user_properties.append((COUNTS_AS, _pytest_outcome(result)))
        self._item.user_properties += [(f"taskchaos_{name}", value) for name, value in facts(result).items()]
        _raise_unless_expected(result)
        return result

    def _case(
        self, workload: Workload, schedule: Schedule, slo: Slo | None, must_see: Collection[Seen], needs: StackChanges
    ) -> Case:
        kinds = {fault.kind for fault in schedule.faults} & FAULTS.keys()
        preload = any(Ability.PRELOAD in FAULTS[kind].needs for kind in kinds)
        stack = changed(self._options.stack_options, **needs)
        subject, failures, scale = self._subject, self._options.failures, self._options.scale
        return Case(
            suite=self.suite,
            scenario=self.scenario,
            subject=self._spec,
            subject_name=subject.name,
            seed=self.seed,
            workload=workload.with_failures(failures),
            contract=subject.contract,
            longest_wait_s=float(subject.longest_wait_s),
            schedule=schedule,
            slo=slo or Slo(target_tps=self.target_tps, recovery_limit_s=scale.recovery_limit_s),
            expectation=self._expected(failing=failures > 0),
            baseline=baseline_of(subject, self.suite, self.scenario),
            stack=changed(stack, preload=preload, business_keys=workload.keys > 0, wire=wire_is_kept(workload)),
            drain_deadline_s=scale.drain_deadline_s,
            must_see=frozenset(must_see),
            nodeid=replayable_nodeid_of(self._item),
        )

    def _kept_sources(self) -> tuple[StoredSource, ...]:
        """The user's own files of this case, stored in the run."""
        run.open_run(self._options)
        folder, found = self._options.folder, source_of(self._spec)
        subject = keep(folder, SourceRole.SUBJECT, *found) if found else None
        file = own_suite_of(self._item)
        suite = keep(folder, SourceRole.SUITE, file) if file else None
        return tuple(source for source in (subject, suite) if source is not None)

    def _expected(self, *, failing: bool) -> Expectation:
        """What is expected of the subject; where tasks fail besides, it may also fail as it does of that alone."""
        try:
            expected = expectation_of(self._subject, self.suite, self.scenario)
            beside = expectation_of(self._subject, *FAILURES_ALONE) if failing else Expectation()
        except SubjectError as error:
            self._unusable = error
            return Expectation()
        return replace(expected, may=expected.may | beside.must | beside.may)

    def _conduct(self, case: Case, *, alone: bool, tries: int = 1) -> CaseResult:
        """Run the case. Of a drained one only the drain has to be alone: filling queues can go on side by side."""
        run_log = run.open_run(self._options)
        in_part = alone and case.workload.model is LoadModel.PREFILL and tries == 1
        with slot(self._options.folder, alone=alone and not in_part) as place:
            folder = self._options.folder / CASES / case.id
            return conduct(
                case,
                folder,
                run_log,
                tries=tries,
                place=place if in_part else None,
                disturbed=partial(disturbance, case) if tries == 1 else lambda result: "",
                unusable=self._unusable,
            )


def disturbance(case: Case, result: CaseResult) -> str:
    """Why a case is run once more: what kept it from being a finding about its subject; "" if nothing did."""
    if case.workload.model is LoadModel.OPEN and load_was_late(result):
        return "the machine was too busy to offer the load"
    if case.expectation.missed(result.outcome, frozenset(result.failed_rules)):
        return "the control's defect met no chance to show"
    if result.trouble is Trouble.STANDSTILL:
        return "the machine slept or stood still"
    if result.repairs and not result.as_expected:
        return "a part of the stack had to be restarted"
    return ""


def _check_asked(workload: object, schedule: object, slo: object, must_see: object, needs: StackChanges) -> None:
    """Raise ValueError, naming the argument, for what is none of its kind. Their values, each kind checks itself."""
    for name, value, bounds in (
        ("workload", workload, Kind(Workload)),
        ("schedule", schedule, Kind(Schedule)),
        ("slo", slo, OrNone(Kind(Slo))),
    ):
        if why := objection(name, bounds, value):
            raise ValueError(f"chaos: {why}")
    if not isinstance(must_see, (tuple, list, set, frozenset)) or not all(isinstance(one, Seen) for one in must_see):
        raise ValueError(f"chaos: must_see has to be a collection of Seen, not {shown(must_see)}")
    changed(StackOptions(workers=MOST_ROLES), **needs)


def load_was_late(result: CaseResult) -> bool:
    """Whether nothing but a late load generator keeps the case from being decided, or a machine that is late itself."""
    unknown = {r.rule for r in result.rules if r.outcome is Outcome.UNKNOWN}
    late, dropped = result.operations.late_sends, result.operations.dropped_sends
    # What was dropped is missing from the evidence too; and where new tasks are late, so are all waits.
    allowed = SLO_RULES | {Rule.BACKOFF} | ({Rule.EVIDENCE} if dropped else set())
    disturbed = bool(late or dropped) or Rule.BACKOFF in unknown
    return result.outcome is Outcome.UNKNOWN and not result.trouble and disturbed and unknown <= allowed


def wire_is_kept(workload: Workload) -> bool:
    """Whether the commands of a load are noted: of one that is to show how fast a subject is, they are not."""
    return workload.model is LoadModel.OPEN and workload.rate_tps <= WIRE_TPS


def baseline_of(subject: Subject, suite: str, scenario: str) -> Expectation:
    """What stock Celery at its best is known to fail in this scenario; nothing for the subjects that ship."""
    ours = shipped_names()
    if BASELINE not in ours or subject.name in ours or bool(getattr(subject, "only_in", "")):
        return Expectation()
    return resolve(BASELINE).expectation(suite, scenario)


def planned_before(case: Case, stored: Case) -> Case:
    """The stored plan, of the subject that is given now if that is another one."""
    if case.subject_name == stored.subject_name:
        return replace(stored, subject=case.subject, nodeid=case.nodeid)
    return replace(
        stored,
        subject=case.subject,
        subject_name=case.subject_name,
        contract=case.contract,
        longest_wait_s=case.longest_wait_s,
        expectation=case.expectation,
        baseline=case.baseline,
        nodeid=case.nodeid,
    )


def _pytest_outcome(result: CaseResult) -> str:
    if result.trouble:
        return result.trouble.value
    if result.outcome is Outcome.UNKNOWN:
        return "inconclusive"
    return "control" if result.control and result.as_expected else "verdict"


def _raise_unless_expected(result: CaseResult) -> None:
    __tracebackhide__ = True
    if result.as_expected:
        return
    if result.trouble:
        raise NoVerdict(failure_text(result))
    if result.outcome is Outcome.UNKNOWN:
        raise Inconclusive(failure_text(result))
    raise Unexpected(failure_text(result))
