"""Commands that run cases. They are front ends: pytest is the engine, the event stream is what is shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from taskchaos.harness.cli import complete
from taskchaos.harness.cli.options import OUT, how_much, stack_options, usual_parallel
from taskchaos.harness.errors import UsageError
from taskchaos.harness.suite_paths import own, suite_paths, suites_folder
from taskchaos.harness.verbosity import Verbosity

if TYPE_CHECKING:
    from taskchaos.harness.run.project import RunChoices

#: The suite of random schedules, and what it is run against unless told otherwise.
SOAK, SOAKED = "soak", ("locked_retry",)


@click.command()
@click.argument("suites", nargs=-1, metavar="[SUITE ...]", shell_complete=complete.SUITES)
@click.option(
    "--subject",
    "-s",
    "subjects",
    multiple=True,
    shell_complete=complete.SUBJECTS,
    help="Name, package.module:Name or file.py:Name; repeatable.",
)
@click.option("--seed", type=int, help="Seed of every random choice.  [default: 1]")
@click.option("--profile", shell_complete=complete.PROFILE_NAMES, help="quick, default or nightly.  [default: quick]")
@stack_options
@click.option(
    "-n",
    "parallel",
    type=click.IntRange(1, 64),
    default=None,
    help="Cases at the same time [default: 2 per core and one, with compose 1 per core and one; no more than cases].",
)
@click.option("--target-tps", type=float, help="Tasks per second to keep [default: from the profile].")
@click.option(
    "--failures",
    type=float,
    metavar="PERCENT",
    default=0.0,
    help="Share of the tasks that fail once, in every suite [default: 0, but for suites about failures].",
)
@click.option(
    "--previous", metavar="PYTHON", help="The Python of an environment with another release, for deploy.mixed."
)
@OUT
@click.option("--shard", metavar="I/N", help="Only the I-th of N parts, for a CI matrix; `merge` makes them one run.")
@click.option(
    "-k", "keyword", shell_complete=complete.SCENARIOS, help="Only the scenarios whose name matches, as in pytest."
)
@how_much
def run(suites: tuple[str, ...], parallel: int | None, keyword: str | None, verbosity: Verbosity, **given: Any) -> int:
    """Run suites against subjects and judge them.

    Without arguments: all suites in their quick scenarios, against locked_retry, stock Celery and the known-bad
    controls. With --profile default alone: against locked_retry and the controls. What is not given is taken from
    [tool.taskchaos] of the project's pyproject.toml, if it has it.
    """

    def ask() -> Asked:
        from taskchaos.harness.run.bound import most_cases
        from taskchaos.harness.run.choices import make_options
        from taskchaos.harness.run.project import RunChoices, with_project

        asked = {"target": given.pop("target_tps"), **{name: given.pop(name) for name in ("seed", "profile", "stack")}}
        chosen = with_project(RunChoices(subject=given.pop("subjects"), suites=suites, **asked))
        paths, named = _suites(chosen)
        usual = usual_parallel(chosen.stack)
        options = make_options(
            parallel=parallel or usual,
            replay=None,
            keyword=keyword,
            subjects=chosen.subject,
            suites=named,
            seed=chosen.seed,
            profile=chosen.profile,
            stack=chosen.stack,
            target_tps=chosen.target,
            configured=chosen.configured,
            **given,
        )
        if not parallel and (most := most_cases(paths, len(options.subjects), options.scale)) is not None:
            options = replace(options, parallel=max(1, min(usual, most)))
        more = ["-k", keyword] if keyword else []
        return Asked(options, (*paths, *more), suites_folder(), settings=chosen.told_of)

    from taskchaos.harness.pytest.front import Asked, run_cases

    return run_cases(ask, verbosity=verbosity)


def _suites(chosen: RunChoices) -> tuple[list[str], list[str]]:
    """The paths of the suites, and their names: those that ship by theirs, others by their whole paths.

    Raises UsageError for one that is not there.
    """
    if chosen.file is None or "suites" not in chosen.configured:
        paths = suite_paths(chosen.suites)
        return paths, [str(Path(name).absolute()) if own(name) else name for name in chosen.suites]
    beside = chosen.file.parent
    named = [
        str(beside / name) if own(name) and (beside / name.partition("::")[0]).exists() else name
        for name in chosen.suites
    ]
    try:
        return suite_paths(named), named
    except UsageError as error:
        raise UsageError(f"{chosen.file}: [tool.taskchaos] suites: {error}") from None


@click.command()
@click.option("--minutes", type=float, required=True, help="How long; the last cases may take half a minute more.")
@click.option(
    "--subject",
    "-s",
    "subjects",
    multiple=True,
    shell_complete=complete.SUBJECTS,
    help="As for run; repeatable [default: locked_retry].",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the first case; the next has the next.")
@click.option(
    "--profile",
    default="quick",
    show_default=True,
    shell_complete=complete.PROFILE_NAMES,
    help="quick, default or nightly: how long a case is.",
)
@stack_options
@click.option("-n", "parallel", type=click.IntRange(1, 64), default=None, help="Cases at the same time [as for run].")
@OUT
@how_much
def soak(subjects: tuple[str, ...], parallel: int | None, verbosity: Verbosity, **given: Any) -> int:
    """Run random schedules for so many minutes: faults of all families, several at once, another set for each seed.

    Each case can be run again with `taskchaos replay`, and made smaller with `taskchaos shrink`.
    """

    def ask() -> Asked:
        from taskchaos.harness.run.choices import make_options, soaking

        options = make_options(
            parallel=parallel or usual_parallel(given["stack"]),
            replay=None,
            target_tps=None,
            subjects=subjects or SOAKED,
            suites=[SOAK],
            **{name: value for name, value in given.items() if name != "minutes"},
        )
        return Asked(soaking(options, given["minutes"]), tuple(suite_paths([SOAK])), suites_folder())

    from taskchaos.harness.pytest.front import Asked, run_cases

    return run_cases(ask, verbosity=verbosity)
