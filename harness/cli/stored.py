"""Commands about runs that are stored: judge again, merge, run one case again, make it small, sum up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from taskchaos.harness.cli.options import AS_JSON, OUT, how_much
from taskchaos.harness.errors import ExitCode
from taskchaos.harness.suite_paths import suites_folder
from taskchaos.harness.verbosity import Verbosity


@click.command()
@click.argument("folder", type=click.Path(file_okay=False), default=".taskchaos/runs/latest")
@how_much
def judge(folder: str, verbosity: Verbosity) -> int:
    """Judge a stored run again, with the checker of this version, and write its files again."""
    from taskchaos.harness.run.replay import judge_again

    return judge_again(Path(folder), verbosity=verbosity)


@click.command()
@click.argument("folders", nargs=-1, required=True, metavar="DIR...", type=click.Path(file_okay=False))
@OUT
@how_much
def merge(folders: tuple[str, ...], out: str | None, verbosity: Verbosity) -> int:
    """Make one run of the shards of a run. DIR: a shard's run folder, or a folder that contains some.

    A shard or case that is missing is named, and the exit code is then never 0.
    """
    from taskchaos.harness.run.merge import merge as merge_shards

    return merge_shards([Path(folder) for folder in folders], Path(out) if out else None, verbosity=verbosity)


@click.command()
@click.argument("case")
@click.option("--subject", "-s", help="Another subject, or the same from another place [default: the stored one].")
@OUT
@how_much
def replay(case: str, subject: str | None, out: str | None, verbosity: Verbosity) -> int:
    """Run one case of a stored run again with the same plan. CASE: an id of the latest run, RUN/ID, or a folder.

    Works in another folder and on another machine: files of a person's own are looked for where they were, seen from
    the run folder, and then by their whole path.
    """

    def ask() -> Asked:
        from taskchaos.harness.run.replay import find_case, replay_options, stored_test

        folder, stored = find_case(case)
        options = replay_options(folder, stored, subject, out)
        return Asked(options, (stored_test(folder, stored, options, suites_folder().parent),), suites_folder())

    from taskchaos.harness.pytest.front import Asked, run_cases

    return run_cases(ask, verbosity=verbosity)


@click.command()
@click.argument("case")
@click.option("--runs", type=int, default=3, show_default=True, help="How often each plan is run.")
@click.option("--fails", type=int, default=2, show_default=True, help="How many of these have to fail.")
@click.option("--rule", help="The rule that has to fail [default: the first that the case failed].")
@click.option("--minutes", type=float, default=10.0, show_default=True, help="How long it may take.")
@click.option("--most-runs", type=int, default=200, show_default=True, help="How many runs it may take.")
@click.option("-n", "parallel", type=click.IntRange(1, 64), default=3, show_default=True, help="Runs at the same time.")
@OUT
def shrink(case: str, rule: str | None, out: str | None, **given: Any) -> int:
    """Make the schedule of a stored case that failed as small as can be. CASE: as for replay.

    Faults are left out (ddmin), then held for less long and moved to the front; a plan is kept if the same rule still
    fails often enough. The run of the smallest is written to the run folder, also when the search is ended before.
    """
    from taskchaos.harness.run.shrink import Bounds
    from taskchaos.harness.run.shrink import shrink as make_smaller

    return make_smaller(case, rule, out, Bounds(**given), suites_folder(), click.echo)


@click.command()
@click.argument("folders", nargs=-1, required=True, metavar="DIR...", type=click.Path(file_okay=False))
@AS_JSON
def evidence(folders: tuple[str, ...], as_json: bool) -> int:
    """Sum up, over the runs in these folders, what is proven of each kind of fault, and what was lost.

    Exit code 2 when a file of them is missing or broken: it is named, and the figures lack it.
    """
    from taskchaos.harness.report import evidence as found

    table = found.gather([Path(folder) for folder in folders])
    for line in [found.dumps(table)] if as_json else found.lines(table):
        click.echo(line)
    return int(ExitCode.UNKNOWN if table.problems else ExitCode.PASS)
