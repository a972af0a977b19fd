"""What the pytest plugin does once it is needed: options, collection order, and running the case of a test."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from faults.schedule import Schedule
from harness import events, run
from harness.case import Case, case_id
from harness.conductor import conduct
from harness.contract import Slo
from harness.errors import UsageError
from harness.expectations import check_expectations
from harness.manifest import CASES
from harness.profile import Depth
from harness.pytest_plugin import OUTCOME, is_case
from harness.result import CaseResult, Expectation, Trouble
from harness.run import RunOptions
from harness.shard import Share, deal
from harness.stack.options import Pool, with_settings
from harness.subject import Commands, Subject, name_for, registered, resolve
from harness.turnstile import turn
from harness.verdict import SLO_RULES, Outcome, Rule
from harness.workload import LoadModel, Workload

#: Stock Celery at its best: what it fails in the same scenario is said beside a user's own failure.
BASELINE = "stock_best"
#: Visibility time-out for suites that take no message away from a worker.
UNDISTURBED_S = 30


class Inconclusive(Exception):
    """The case could not be decided: evidence is missing."""


class Unexpected(AssertionError):
    """The verdict is not the expected one."""


class NoVerdict(Exception):
    """The case has no verdict: the stack failed, or the subject's own code did."""


class NeverCalled(Exception):
    """The test asked for `chaos` and did not call it: the case that was planned did not run."""


def subject_parameters(options: RunOptions) -> list[Any]:
    """One pytest parameter per subject, with the subject's own name as id."""
    return [pytest.param(spec, id=name_for(spec)) for spec in options.subjects]


def arrange(config: pytest.Config, options: RunOptions, items: list[pytest.Item]) -> None:
    """Deselect scenarios deeper than the profile and what other shards run, and put the rest in a good order."""
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    check_ids(items)
    for item in items:
        marker = item.get_closest_marker("depth")
        depth = Depth[marker.args[0].upper()] if marker else Depth.QUICK
        (kept if depth <= options.scale.depth or options.replay else left).append(item)
    kept = in_order(kept)
    dealt: tuple[tuple[str, ...], ...] = ()
    if options.shard:
        hands = deal([Share(name_of(i), _cost(i), _alone(i)) for i in kept], options.shard.count)
        dealt = tuple(tuple(name_of(kept[k]) for k in hand if is_case(kept[k])) for hand in hands)
        mine = hands[options.shard.index - 1]
        left += [item for k, item in enumerate(kept) if k not in mine]
        kept = [kept[k] for k in mine]
    if left:
        config.hook.pytest_deselected(items=left)
    items[:] = kept
    if config.option.collectonly:
        return  # nothing will run
    ids = tuple(name_of(i) for i in kept if is_case(i))
    _say(config, options, events.CasesCollected(count=len(ids), cases=ids, dealt=dealt))


def in_order(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Long cases first, those that run alone last, and the cases of one scenario spread.

    Side by side they would want the same of the machine at the same time, and be late where a mixture is not.
    """
    scenarios: dict[str, list[pytest.Item]] = {}
    for item in items:
        scenarios.setdefault(f"{item.path}::{scenario_of(item)}", []).append(item)
    longest = max(map(_cost, items), default=0.0) or 1.0
    place: dict[pytest.Item, float] = {}
    for alike in scenarios.values():
        # Spread over the whole run if they are short, over its first half if they are the longest.
        width = (1 - _cost(alike[0]) / (2 * longest)) / len(alike)
        place |= {item: n * width for n, item in enumerate(alike)}
    return sorted(items, key=lambda item: (_alone(item), place[item], -_cost(item)))


def refuse(config: pytest.Config, options: RunOptions, text: str) -> None:
    """Say that what was collected cannot be used."""
    _say(config, options, events.Problem(text=text, usage=True))


def _say(config: pytest.Config, options: RunOptions, event: events.Event) -> None:
    """Put an event into the stream, from one of the processes that collect the same."""
    if not hasattr(config, "workerinput") or config.workerinput["workerid"] == "gw0":
        events.append(run.open_run(options), event)


def check_ids(items: Sequence[pytest.Item]) -> None:
    """Raise UsageError when two tests would be the same case, and so write to the same folder."""
    known: dict[str, pytest.Item] = {}
    for item in items:
        if is_case(item) and (twin := known.setdefault(name_of(item), item)) is not item:
            raise UsageError(f"{twin.nodeid} and {item.nodeid} are both case {name_of(item)}: rename one of them")


def check_files(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Raise UsageError when a file that was asked for by name holds no test. items: all, none left out."""
    given = {Path(str(arg).partition("::")[0]).resolve() for arg in config.args}
    for path in sorted(given - {item.path.resolve() for item in items}):
        if path.suffix == ".py":
            raise UsageError(f"{path} holds no test")


def check_subjects(config: pytest.Config, options: RunOptions, items: Sequence[pytest.Item]) -> None:
    """Raise UsageError when a subject expects something of scenarios that there are not. items: all, none left out."""
    scenarios: dict[Path, set[str]] = {}
    for item in items:
        if is_case(item):
            scenarios.setdefault(item.path, set()).add(scenario_of(item))
    in_part = {Path(str(arg).partition("::")[0]).resolve() for arg in config.args if "::" in str(arg)}
    whole = {
        path.stem.removeprefix("test_"): frozenset(names)
        for path, names in scenarios.items()
        if path.resolve() not in in_part
    }
    shipped = importlib.util.find_spec("suites")
    places = list(shipped.submodule_search_locations or ()) if shipped else []
    names = frozenset(path.stem.removeprefix("test_") for place in places for path in Path(place).glob("test_*.py"))
    for spec in options.subjects:
        check_expectations(resolve(spec), whole, names)


def _cost(item: pytest.Item) -> float:
    marker = item.get_closest_marker("chaos")
    return float(marker.kwargs.get("cost_s", 0)) if marker else 0.0


def _alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


def name_of(item: pytest.Item) -> str:
    """The id of the case that a test runs, or pytest's name of a test that runs none."""
    if not is_case(item):
        return item.nodeid
    spec = str(item.callspec.params["subject"])  # type: ignore[attr-defined]
    return case_id(suite_of(item), scenario_of(item), name_for(spec))


def nodeid_of(item: pytest.Item) -> str:
    """Where a test is, so that it can be asked for again: its path is absolute when it is not below the rootdir."""
    path = item.path
    place = path.relative_to(item.config.rootpath) if path.is_relative_to(item.config.rootpath) else path
    return "::".join((str(place), *item.nodeid.split("::")[1:]))


def suite_of(item: pytest.Item) -> str:
    """The suite a test belongs to: its module, without `test_`."""
    return Path(str(item.path)).stem.removeprefix("test_")


def scenario_of(item: pytest.Item) -> str:
    """The scenario a test is: its function, without `test_`, and its parameters other than the subject."""
    name = str(getattr(item, "originalname", item.name)).removeprefix("test_")
    callspec = getattr(item, "callspec", None)
    others = [str(value) for key, value in callspec.params.items() if key != "subject"] if callspec else []
    return "-".join([name, *others])


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

    @property
    def seed(self) -> int:
        """The seed of the run, for schedules that are drawn."""
        return self._options.seed

    @property
    def commands(self) -> Commands:
        """The Redis commands that the subject's steps are made of, for command faults."""
        return self._subject.commands

    @property
    def pool(self) -> Pool:
        """The Celery pool that the workers run."""
        return self._options.pool

    @property
    def slots(self) -> int:
        """How many tasks the workers run at the same time, unless the test asks for another stack."""
        stack = self._options.stack_options
        return stack.workers * (1 if stack.pool is Pool.SOLO else stack.settings.concurrency)

    @property
    def target_tps(self) -> float:
        """The throughput to keep, in tasks per second."""
        return self._options.target_tps or self._options.scale.target_tps

    def does_not_apply(self, reason: str) -> NoReturn:
        """Leave this case out: not run, no finding, and said so in every report."""
        pytest.skip(reason)

    def __call__(
        self,
        workload: Workload,
        schedule: Schedule = Schedule(),  # noqa: B008 (immutable)
        *,
        slo: Slo | None = None,
        visibility_timeout_s: int | None = None,
        workers: int | None = None,
        concurrency: int | None = None,
        distance_ms: int = 0,
        redis_disk_mb: int = 0,
        keep_results: bool = False,
    ) -> CaseResult:
        """Run and judge the case. Raises Unexpected, Inconclusive or NoVerdict unless it came out as expected.

        visibility_timeout_s: give a suite that takes no message away from a worker a longer one than the scaled-down
        default, so that a slow subject is not redelivered what it still holds. workers, concurrency: how many worker
        processes there are, and how many tasks each runs at a time (default 2 and 2). distance_ms: how far away Redis
        is from the workers during the whole case. redis_disk_mb: how small Redis's disk is, for `disk_full` to fill.
        keep_results: whether subjects are asked to keep results, and rule `results` is judged.
        """
        if self.called:
            raise RuntimeError("chaos was called twice: a test runs one case, so give the second a test of its own")
        for kind in {fault.kind for fault in schedule.faults}:
            if lacking := self._options.stack_options.lacks(kind):
                self.does_not_apply(f"{kind} {lacking}")
        scale = self._options.scale
        changes = {"visibility_timeout_s": visibility_timeout_s, "concurrency": concurrency}
        changed = {name: value for name, value in changes.items() if value is not None}
        stack = with_settings(self._options.stack_options, **changed, keep_results=keep_results)
        stack = replace(stack, workers=workers or stack.workers, distance_ms=distance_ms, redis_disk_mb=redis_disk_mb)
        subject = self._subject
        case = Case(
            suite=self.suite,
            scenario=self.scenario,
            subject=self._spec,
            subject_name=subject.name,
            seed=self._options.seed,
            workload=workload,
            contract=subject.contract,
            longest_wait_s=float(subject.longest_wait_s),
            schedule=schedule,
            slo=slo or Slo(target_tps=self.target_tps, recovery_limit_s=scale.recovery_limit_s),
            expectation=subject.expectation(self.suite, self.scenario),
            baseline=baseline_of(subject, self.suite, self.scenario),
            stack=stack,
            drain_deadline_s=scale.drain_deadline_s,
            nodeid=nodeid_of(self._item),
        )
        if self._options.replay:
            case = planned_before(case, Case.load(Path(self._options.replay)))
        if (self._options.folder / CASES / case.id).exists():
            raise RuntimeError(f"{case.id} was run already in this run: what it came to stands")
        self.called = True
        result = self._conduct(case, alone=self._item.get_closest_marker("alone") is not None)
        late = case.workload.model is LoadModel.OPEN and load_was_late(result)
        missed = case.expectation.missed(result.outcome, frozenset(result.failed_rules))
        slept = result.trouble is Trouble.STANDSTILL
        if late or missed or slept or (result.repairs and not result.as_expected):
            # The machine was too busy to offer the load or slept, a control's defect met no chance to show, or the
            # proxy had to be restarted, which nobody planned: no finding about the subject. Once more, alone.
            folder = self._options.folder / CASES / case.id
            folder.rename(folder.with_name(f"{case.id}~1"))
            result = self._conduct(case, alone=True, tries=2)
        self._item.user_properties.append((OUTCOME, _pytest_outcome(result)))
        _raise_unless_expected(result)
        return result

    def _conduct(self, case: Case, *, alone: bool, tries: int = 1) -> CaseResult:
        """Run the case. Of a drained one only the drain has to be alone: filling queues can go on side by side."""
        run_log = run.open_run(self._options)
        in_part = alone and case.workload.model is LoadModel.PREFILL and tries == 1
        with turn(self._options.folder, alone=alone and not in_part) as place:
            folder = self._options.folder / CASES / case.id
            return conduct(case, folder, run_log, tries=tries, place=place if in_part else None)


def load_was_late(result: CaseResult) -> bool:
    """Whether nothing but a late load generator keeps the case from being decided."""
    unknown = {r.rule for r in result.rules if r.outcome is Outcome.UNKNOWN}
    late, dropped = result.operations.late_sends, result.operations.dropped_sends
    allowed = SLO_RULES | {Rule.EVIDENCE} if dropped else SLO_RULES  # what was dropped is missing from the evidence too
    return result.outcome is Outcome.UNKNOWN and not result.trouble and bool(late or dropped) and unknown <= allowed


def baseline_of(subject: Subject, suite: str, scenario: str) -> Expectation:
    """What stock Celery at its best is known to fail in this scenario; nothing for the subjects that ship."""
    if BASELINE not in {info.name for info in registered()} or subject.name in run.DEFAULT_SUBJECTS:
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
    if result.as_expected:
        return
    if result.trouble:
        raise NoVerdict(f"{result.id}: {result.error}\nagain: {result.replay}")
    reasons = [f"{r.rule}: {r.expression}, observed {r.observed}: {r.reason}" for r in result.rules]
    shown = "\n".join(line for line, r in zip(reasons, result.rules, strict=True) if r.outcome is result.outcome)
    text = f"{result.id}: expected {result.expected}, found {result.outcome}\n{shown}\nagain: {result.replay}"
    if result.outcome is Outcome.UNKNOWN:
        raise Inconclusive(text)
    raise Unexpected(text)
