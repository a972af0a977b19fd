"""What a user chose for a run, from `taskchaos run` or from pytest's command line, checked before anything starts."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from taskchaos.harness.case.default_subjects import subjects_of_none
from taskchaos.harness.case.stack_options import Pool, ProxyKind, StackKind, StackOptions, WorkerStart
from taskchaos.harness.case.subject_loading import absolute_spec, name_for, place_of
from taskchaos.harness.case.subject_names import spec_of
from taskchaos.harness.errors import UsageError
from taskchaos.harness.profile import PROFILES
from taskchaos.harness.record.shard import Shard
from taskchaos.harness.run import folder as run
from taskchaos.harness.run.folder import RunOptions
from taskchaos.harness.run.project import HIGHEST_TPS, RunChoices, with_project
from taskchaos.harness.stack import environment
from taskchaos.harness.stack.redis_server import find_binary

#: The proxy that each stack has unless told otherwise.
DEFAULT_PROXY = {StackKind.LOCAL: ProxyKind.EMBEDDED, StackKind.COMPOSE: ProxyKind.TOXIPROXY}
DEFAULT_SEED, DEFAULT_PROFILE, DEFAULT_STACK = 1, "quick", StackKind.LOCAL.value
#: A day; each minute of a soak is some tens of tests to collect.
MOST_MINUTES = 1440


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
    seed: int | None,
    stack: str | None,
    profile: str | None,
    target_tps: float | None,
    proxy: str | None,
    redis_server: str | None,
    pool: str,
    worker_start: str,
    parallel: int,
    replay: str | None,
    previous: str | None = None,
    failures: float = 0.0,
    keyword: str | None = None,
    shard: str | None = None,
    suites: Sequence[str] = (),
    configured: Sequence[str] = (),
) -> RunOptions:
    """The options of a run from what a person gave, checked before anything starts. Raises UsageError.

    configured: what of it stands in the project's pyproject.toml.
    """
    stack, profile = stack or DEFAULT_STACK, profile or DEFAULT_PROFILE
    seed = DEFAULT_SEED if seed is None else seed
    place = choice(StackKind, stack, "--stack")
    through = choice(ProxyKind, proxy, "--proxy") if proxy else DEFAULT_PROXY[place]
    if profile not in PROFILES:
        raise UsageError(f"--profile {profile}: choose from {', '.join(PROFILES)}")
    if target_tps is not None and not 0 < target_tps <= HIGHEST_TPS:
        bound = "above 0" if not math.isfinite(target_tps) or target_tps <= 0 else f"at most {HIGHEST_TPS:,.0f}"
        raise UsageError(f"--target-tps {target_tps:g}: has to be {bound}")
    if not 0 <= failures <= 100:
        raise UsageError(f"--failures {failures:g}: has to be from 0 to 100 percent")
    if keyword:
        check_keyword(keyword)
    part = Shard.parse(shard) if shard else None
    check_place(place, through, redis_server)
    start = choice(WorkerStart, worker_start, "--worker-start")
    specs = tuple(absolute_spec(s) for s in dict.fromkeys(subjects))
    check_names(specs)
    depth = PROFILES[profile].depth
    chosen = specs or subjects_of_none(depth, local=place is StackKind.LOCAL, named_suites=bool(suites))
    if previous is not None:
        previous = check_previous(previous, place, start, chosen)
    if not chosen:
        raise UsageError("this installation of taskchaos is not whole, it lists no subjects: install it again")
    return RunOptions(
        out=str(run.fresh_folder(out, seed)),
        subjects=chosen,
        seed=seed,
        stack=stack,
        profile=profile,
        target_tps=target_tps,
        failures=failures,
        proxy=through,
        redis_server=os.path.abspath(redis_server) if redis_server else None,
        previous=previous,
        pool=choice(Pool, pool, "--pool"),
        worker_start=start,
        parallel=parallel,
        replay=replay,
        keyword=keyword or None,
        shard=part,
        suites=tuple(suites),
        configured=tuple(configured),
    )


def soaking(options: RunOptions, minutes: float) -> RunOptions:
    """The options of a run that lasts for so many minutes, with more rounds than fit. Raises UsageError."""
    if not 0 < minutes <= MOST_MINUTES:
        raise UsageError(f"--minutes {minutes:g}: has to be above 0 and at most {MOST_MINUTES:,}")
    scale = options.scale
    shortest_s = scale.baseline_s + scale.fault_s + scale.healed_s
    rounds = math.ceil(60 * minutes / shortest_s) * options.parallel
    return replace(options, minutes=minutes, rounds=rounds, parallel=min(options.parallel, rounds))


def check_place(place: StackKind, proxy: ProxyKind, redis_server: str | None) -> None:
    """See that the stack can be started here; build the images that it needs. Raises UsageError."""
    if place is StackKind.LOCAL:
        if proxy is ProxyKind.TOXIPROXY:
            raise UsageError("--proxy toxiproxy: the real one runs in a container; use --stack compose with it")
        find_binary(redis_server)
        return
    if redis_server:
        raise UsageError("--redis-server is for --stack local; with compose, set CHAOS_REDIS_IMAGE")
    from taskchaos.harness.stack.containers.images import prepare

    prepare(StackOptions(place=place, proxy=proxy))


def check_previous(python: str, place: StackKind, start: WorkerStart, specs: Sequence[str]) -> str:
    """The whole path of an interpreter that workers with these subjects can be started by. Raises UsageError."""
    if place is not StackKind.LOCAL or start is not WorkerStart.ZYGOTE:
        raise UsageError("--previous goes with --stack local and --worker-start zygote")
    return environment.check(python, [spec_of(spec) for spec in specs if not place_of(spec)])


def local_options(
    *, out: str, subjects: Sequence[str], seed: int, profile: str, parallel: int, suites: Sequence[str]
) -> RunOptions:
    """The options of a run of these subjects on the local stack, with everything else as it is by default."""
    return make_options(
        out=out,
        subjects=subjects,
        seed=seed,
        stack=StackKind.LOCAL.value,
        profile=profile,
        target_tps=None,
        proxy=None,
        redis_server=None,
        pool=Pool.PREFORK.value,
        worker_start=WorkerStart.ZYGOTE.value,
        parallel=parallel,
        replay=None,
        suites=suites,
    )


def options_from(config: pytest.Config) -> RunOptions:
    """The options of a run from pytest's command line, and from its project. What is collected is pytest's affair."""
    get = config.getoption
    given = RunChoices(
        subject=tuple(get("--chaos-subject") or ()),
        profile=get("--chaos-profile"),
        target=get("--chaos-target-tps"),
        seed=get("--chaos-seed"),
        stack=get("--chaos-stack"),
    )
    chosen = with_project(given, ignored=("suites",))
    parallel = getattr(config.option, "numprocesses", None)
    return make_options(
        failures=get("--chaos-failures") or 0.0,
        out=get("--chaos-out"),
        subjects=chosen.subject,
        seed=chosen.seed,
        stack=chosen.stack,
        profile=chosen.profile,
        target_tps=chosen.target,
        configured=chosen.configured,
        proxy=get("--chaos-proxy"),
        redis_server=get("--chaos-redis-server"),
        previous=get("--chaos-previous"),
        pool=get("--chaos-pool") or Pool.PREFORK.value,
        worker_start=get("--chaos-worker-start") or WorkerStart.ZYGOTE.value,
        parallel=parallel if isinstance(parallel, int) and parallel > 0 else 1,
        replay=get("--chaos-replay"),
        keyword=get("keyword"),
        shard=get("--chaos-shard"),
        suites=[os.path.abspath(word) for word in map(str, config.args)],
    )


def check_keyword(keyword: str) -> None:
    """Raise UsageError unless pytest can read this as the expression of its -k."""
    try:
        from _pytest.mark.expression import Expression
    except ImportError:
        return  # of another pytest, which will say so itself
    try:
        Expression.compile(keyword)
    except Exception as error:
        raise UsageError(f"-k {keyword}: {error}") from None


def check_names(specs: Sequence[str]) -> None:
    """Raise UsageError, naming them, when two subjects have one name: their cases would be one case."""
    names = {spec: name_for(spec) for spec in specs}
    for name, number in Counter(names.values()).items():
        if number > 1:
            twins = " and ".join(spec for spec in specs if names[spec] == name)
            raise UsageError(f"--subject: {twins} are both called {name!r}: give each a name of its own")
