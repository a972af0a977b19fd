"""What the pytest plugin does once it is needed: options, collection order, and running the case of a test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from faults.schedule import Schedule
from harness import events, run
from harness.case import Case, case_id
from harness.clock import NS_PER_S, now_ns
from harness.conductor import conduct
from harness.contract import Slo
from harness.errors import UsageError
from harness.history_io import EVENTS
from harness.profile import PROFILES, Depth
from harness.pytest_plugin import OUTCOME, is_case
from harness.report import write_all
from harness.result import CaseResult
from harness.run import RunOptions
from harness.shard import Shard, Share, deal
from harness.stack.options import Place, Pool, Proxy, StackOptions, WorkerStart, with_settings
from harness.stack.redis_server import find_binary
from harness.stack.spawn import stop_zygote
from harness.subject import Commands, absolute_spec, resolve
from harness.turnstile import turn
from harness.verdict import SLO_RULES, Outcome
from harness.workload import LoadModel, Workload

#: The proxy that each stack has unless told otherwise.
DEFAULT_PROXY = {Place.LOCAL: Proxy.EMBEDDED, Place.COMPOSE: Proxy.TOXIPROXY}
#: Visibility time-out for suites that take no message away from a worker.
UNDISTURBED_S = 30


class Inconclusive(Exception):
    """The case could not be decided: evidence is missing."""


class Unexpected(AssertionError):
    """The verdict is not the expected one."""


class StackFailed(Exception):
    """The stack did not start, died or could not be healed."""


def choice(kind: Any, value: str, option: str) -> Any:
    """A member of an enum from an option's text. Raises UsageError naming the choices."""
    try:
        return kind(value)
    except ValueError:
        raise UsageError(f"{option} {value}: choose from {', '.join(m.value for m in kind)}") from None


def make_options(
    *,
    out: str | None,
    subjects: Sequence[str],
    seed: int,
    stack: str,
    profile: str,
    target_tps: float | None,
    proxy: str | None,
    redis_server: str | None,
    pool: str,
    worker_start: str,
    parallel: int,
    replay: str | None,
    keyword: str | None = None,
    shard: str | None = None,
) -> RunOptions:
    """The options of a run from what a person gave, checked before anything starts. Raises UsageError."""
    place = choice(Place, stack, "--stack")
    through = choice(Proxy, proxy, "--proxy") if proxy else DEFAULT_PROXY[place]
    if profile not in PROFILES:
        raise UsageError(f"--profile {profile}: choose from {', '.join(PROFILES)}")
    if target_tps is not None and target_tps <= 0:
        raise UsageError(f"--target-tps {target_tps:g}: has to be above 0")
    part = Shard.parse(shard) if shard else None
    check_place(place, through, redis_server)
    specs = tuple(absolute_spec(s) for s in dict.fromkeys(subjects))
    for spec in specs:
        resolve(spec)
    return RunOptions(
        out=str(run.fresh_folder(out, seed)),
        subjects=specs or run.DEFAULT_SUBJECTS,
        seed=seed,
        stack=stack,
        profile=profile,
        target_tps=target_tps,
        proxy=through,
        redis_server=str(Path(redis_server).resolve()) if redis_server else None,
        pool=choice(Pool, pool, "--pool"),
        worker_start=choice(WorkerStart, worker_start, "--worker-start"),
        parallel=parallel,
        replay=replay,
        keyword=keyword or None,
        shard=part,
    )


def check_place(place: Place, proxy: Proxy, redis_server: str | None) -> None:
    """See that the stack can be started here; build the images that it needs. Raises UsageError."""
    if place is Place.LOCAL:
        if proxy is Proxy.TOXIPROXY:
            raise UsageError("--proxy toxiproxy: the real one runs in a container; use --stack compose with it")
        find_binary(redis_server)
        return
    if redis_server:
        raise UsageError("--redis-server is for --stack local; with compose, set CHAOS_REDIS_IMAGE")
    from harness.stack.images import prepare

    prepare(StackOptions(place=place, proxy=proxy))


def options_from(config: pytest.Config) -> RunOptions:
    """The options of a run from pytest's command line."""
    get = config.getoption
    parallel = getattr(config.option, "numprocesses", None)
    return make_options(
        out=get("--chaos-out"),
        subjects=get("--subject") or (),
        seed=get("--chaos-seed"),
        stack=get("--stack"),
        profile=get("--profile"),
        target_tps=get("--target-tps"),
        proxy=get("--proxy"),
        redis_server=get("--redis-server"),
        pool=get("--pool"),
        worker_start=get("--worker-start"),
        parallel=parallel if isinstance(parallel, int) and parallel > 0 else 1,
        replay=get("--chaos-replay"),
        keyword=get("keyword"),
        shard=get("--chaos-shard"),
    )


def subject_parameters(options: RunOptions) -> list[Any]:
    """One pytest parameter per subject, with the subject's own name as id."""
    return [pytest.param(spec, id=resolve(spec).name) for spec in options.subjects]


def arrange(config: pytest.Config, options: RunOptions, items: list[pytest.Item]) -> None:
    """Deselect scenarios deeper than the profile and what other shards run.

    Order: long first, then short, then those that run alone.
    """
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        marker = item.get_closest_marker("depth")
        depth = Depth[marker.args[0].upper()] if marker else Depth.QUICK
        (kept if depth <= options.scale.depth or options.replay else left).append(item)
    kept.sort(key=lambda item: (_alone(item), -_cost(item)))
    dealt: tuple[tuple[str, ...], ...] = ()
    if options.shard:
        hands = deal([Share(_name(i), _cost(i), _alone(i)) for i in kept], options.shard.count)
        dealt = tuple(tuple(_name(kept[k]) for k in hand if is_case(kept[k])) for hand in hands)
        mine = hands[options.shard.index - 1]
        left += [item for k, item in enumerate(kept) if k not in mine]
        kept = [kept[k] for k in mine]
    if left:
        config.hook.pytest_deselected(items=left)
    items[:] = kept
    if not hasattr(config, "workerinput") or config.workerinput["workerid"] == "gw0":
        ids = tuple(_name(i) for i in kept if is_case(i))
        stream = events.Log(run.open_run(options))
        stream.emit(events.CasesCollected(count=len(ids), cases=ids, dealt=dealt))
        stream.close()


def _cost(item: pytest.Item) -> float:
    marker = item.get_closest_marker("chaos")
    return float(marker.kwargs.get("cost_s", 0)) if marker else 0.0


def _alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


def _name(item: pytest.Item) -> str:
    """The id of the case that a test runs, or pytest's name of a test that runs none."""
    if not is_case(item):
        return item.nodeid
    spec = str(item.callspec.params["subject"])  # type: ignore[attr-defined]
    return case_id(suite_of(item), scenario_of(item), resolve(spec).name)


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
        log = events.Log(run.open_run(self._options))
        case = case_id(self.suite, self.scenario, self._subject.name)
        log.emit(events.CaseLeftOut(case=case, reason=reason))
        log.close()
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
    ) -> CaseResult:
        """Run and judge the case. Raises Unexpected, Inconclusive or StackFailed unless it came out as expected.

        visibility_timeout_s: give a suite that takes no message away from a worker a longer one than the scaled-down
        default, so that a slow subject is not redelivered what it still holds. workers, concurrency: how many worker
        processes there are, and how many tasks each runs at a time (default 2 and 2). distance_ms: how far away Redis
        is from the workers during the whole case. redis_disk_mb: how small Redis's disk is, for `disk_full` to fill.
        """
        for kind in {fault.kind for fault in schedule.faults}:
            if lacking := self._options.stack_options.lacks(kind):
                self.does_not_apply(f"{kind} {lacking}")
        scale = self._options.scale
        changes = {"visibility_timeout_s": visibility_timeout_s, "concurrency": concurrency}
        stack = with_settings(self._options.stack_options, **{k: v for k, v in changes.items() if v is not None})
        stack = replace(stack, workers=workers or stack.workers, distance_ms=distance_ms, redis_disk_mb=redis_disk_mb)
        case = Case(
            suite=self.suite,
            scenario=self.scenario,
            subject=self._spec,
            subject_name=self._subject.name,
            seed=self._options.seed,
            workload=workload,
            schedule=schedule,
            slo=slo or Slo(target_tps=self.target_tps, recovery_limit_s=scale.recovery_limit_s),
            expectation=self._subject.expectation(self.suite, self.scenario),
            stack=stack,
            drain_deadline_s=scale.drain_deadline_s,
            nodeid=nodeid_of(self._item),
        )
        if self._options.replay:
            case = Case.load(Path(self._options.replay))
        result = self._conduct(case, alone=self._item.get_closest_marker("alone") is not None)
        late = case.workload.model is LoadModel.OPEN and load_was_late(result)
        if late or (result.repairs and not result.as_expected):
            # The machine was too busy to offer the load, or the proxy had to be restarted, which nobody planned: no
            # finding about the subject. Once more, alone.
            folder = self._options.folder / run.CASES / case.id
            folder.rename(folder.with_name(f"{case.id}~1"))
            result = self._conduct(case, alone=True, tries=2)
        self._item.user_properties.append((OUTCOME, _pytest_outcome(result)))
        self._item.user_properties.append(("taskchaos_case", result.id))
        _raise_unless_expected(result)
        return result

    def _conduct(self, case: Case, *, alone: bool, tries: int = 1) -> CaseResult:
        run_log = run.open_run(self._options)
        with turn(self._options.folder, alone=alone):
            return conduct(case, self._options.folder / run.CASES / case.id, run_log, tries=tries)


def load_was_late(result: CaseResult) -> bool:
    """Whether nothing but a late load generator keeps the case from being decided."""
    unknown = {r.rule for r in result.rules if r.outcome is Outcome.UNKNOWN}
    late = result.operations.late_sends or result.operations.dropped_sends
    return result.outcome is Outcome.UNKNOWN and not result.error and bool(late) and unknown <= SLO_RULES


def _pytest_outcome(result: CaseResult) -> str:
    if result.error:
        return "stack"
    if result.outcome is Outcome.UNKNOWN:
        return "inconclusive"
    return "control" if result.control and result.as_expected else "verdict"


def _raise_unless_expected(result: CaseResult) -> None:
    if result.as_expected:
        return
    if result.error:
        raise StackFailed(f"{result.id}: {result.error}\nagain: {result.replay}")
    reasons = [f"{r.rule}: {r.expression}, observed {r.observed}: {r.reason}" for r in result.rules]
    shown = "\n".join(line for line, r in zip(reasons, result.rules, strict=True) if r.outcome is result.outcome)
    text = f"{result.id}: expected {result.expected}, found {result.outcome}\n{shown}\nagain: {result.replay}"
    if result.outcome is Outcome.UNKNOWN:
        raise Inconclusive(text)
    raise Unexpected(text)


def finish(folder: Path, options: RunOptions) -> None:
    """Close the run: its last event, its files, the `latest` link."""
    stop_zygote()
    stream = events.Log(folder / EVENTS)
    stream.emit(events.RunEnded(wall_s=round((now_ns() - options.began_ns) / NS_PER_S, 2)))
    stream.close()
    write_all(folder)
    run.link_latest(folder)
