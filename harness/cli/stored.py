"""Commands about runs that are stored: judge again, merge, run one case again, make it small, sum up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from taskchaos.harness.cli import complete
from taskchaos.harness.cli.options import AS_JSON, OUT, how_much, say_line
from taskchaos.harness.errors import ExitCode, UsageError
from taskchaos.harness.record.layout import LATEST
from taskchaos.harness.suite_paths import suites_folder
from taskchaos.harness.verbosity import Verbosity


@click.command()
@click.argument("run", default=LATEST, metavar="[RUN]", shell_complete=complete.RUN_NAMES)
@how_much
def judge(run: str, verbosity: Verbosity) -> int:
    """Judge a stored run again, with the checker of this version, and write its files again.

    RUN: a run folder, the name of one in .taskchaos/runs, or a .zip of one, which is unpacked beside it for that
    [default: the latest].
    """
    from taskchaos.harness.run.archive import is_archive, unpack_beside
    from taskchaos.harness.run.replay import find_run, judge_again

    place = find_run(run)
    return judge_again(unpack_beside(place) if is_archive(place) else place, verbosity=verbosity)


@click.command()
@click.argument("folders", nargs=-1, required=True, metavar="DIR...", type=click.Path())
@OUT
@how_much
def merge(folders: tuple[str, ...], out: str | None, verbosity: Verbosity) -> int:
    """Make one run of the shards of a run. DIR: a shard's run folder, a folder that contains some, or a .zip of either.

    A shard or case that is missing is named, and the exit code is then never 0.
    """
    from taskchaos.harness.run.archive import unpacked
    from taskchaos.harness.run.merge import check_places
    from taskchaos.harness.run.merge import merge as merge_shards

    given = [Path(folder) for folder in folders]
    check_places(given)
    with unpacked(given) as found:
        return merge_shards(found, Path(out) if out else None, verbosity=verbosity)


@click.command()
@click.argument("case", shell_complete=complete.STORED_CASES)
@click.option(
    "--subject",
    "-s",
    shell_complete=complete.SUBJECTS,
    help="Another subject, or the same from another place [default: the stored one].",
)
@click.option("--times", type=int, metavar="N", help="Run it N times, and say how often it failed.")
@click.option(
    "-n",
    "parallel",
    type=click.IntRange(1, 64),
    help="Of --times: runs at the same time [default: 3; 1 for a case that drains a queue].",
)
@OUT
@how_much
def replay(
    case: str, subject: str | None, times: int | None, parallel: int | None, out: str | None, verbosity: Verbosity
) -> int:
    """Run one case of a stored run again with the same plan.

    CASE: an id of the latest run, RUN/ID, a case's folder, or a RUN with one case. RUN: a name in .taskchaos/runs, a
    run folder, or a .zip of one.

    Works in another folder and on another machine: files of a person's own are looked for where they were, seen from
    the run folder, and then by their whole path; what is not there, or not the same there, is taken from the run, which
    has a copy of it. With --times the exit code is 1 if any of the runs failed that should not have, 2 if one of them
    has no verdict.
    """
    from taskchaos.harness.run.replay import opened_case

    with opened_case(case) as place:
        if times is not None:
            from taskchaos.harness.run.repeat import repeat

            above = suites_folder().parent
            return repeat(place, above, times, subject=subject, out=out, parallel=parallel, say=say_line)
        if parallel is not None:
            raise UsageError("-n is for --times: a case is run once without it")

        def ask() -> Asked:
            from taskchaos.harness.run.replay import plan_replay

            stored = plan_replay(place, suites_folder().parent, subject, out)
            return Asked(stored.options, (stored.test,), suites_folder(), stored.notes)

        from taskchaos.harness.pytest.front import Asked, run_cases

        return run_cases(ask, verbosity=verbosity)


@click.command()
@click.argument("case", shell_complete=complete.STORED_CASES)
@click.option("--runs", type=int, default=3, show_default=True, help="How often each plan is run.")
@click.option("--fails", type=int, default=2, show_default=True, help="How many of these have to fail.")
@click.option(
    "--rule", shell_complete=complete.RULES, help="The rule that has to fail [default: the first that the case failed]."
)
@click.option("--minutes", type=float, default=10.0, show_default=True, help="How long it may take.")
@click.option("--most-runs", type=int, default=200, show_default=True, help="How many runs it may take.")
@click.option("-n", "parallel", type=click.IntRange(1, 64), default=3, show_default=True, help="Runs at the same time.")
@OUT
def shrink(case: str, rule: str | None, out: str | None, **given: Any) -> int:
    """Make the schedule of a stored case that failed as small as can be. CASE: as for replay.

    Faults are left out (ddmin), then held for less long and moved to the front; a plan is kept if the same rule still
    fails often enough. The run of the smallest is written to the run folder, also when the search is ended before.
    """
    from taskchaos.harness.run.replay import opened_case
    from taskchaos.harness.run.shrink import Bounds
    from taskchaos.harness.run.shrink import shrink as make_smaller

    bounds = Bounds(**given)
    bounds.check()
    with opened_case(case) as place:
        return make_smaller(place, rule, out, bounds, suites_folder(), say_line)


@click.command()
@click.argument("places", nargs=-1, required=True, metavar="DIR...", type=click.Path())
@AS_JSON
def evidence(places: tuple[str, ...], as_json: bool) -> int:
    """Sum up, over the runs in these folders, what is proven of each kind of fault, and what was lost.

    DIR: a run folder, a folder that contains some, or a .zip of either. Exit code 2 when a file of them is missing or
    broken: it is named, and the figures lack it.
    """
    from taskchaos.harness.report import evidence as found
    from taskchaos.harness.run.archive import unpacked

    with unpacked([Path(place) for place in places]) as folders:
        table = found.gather(folders)
    for line in [found.dumps(table)] if as_json else found.lines(table):
        click.echo(line)
    return int(ExitCode.UNKNOWN if table.problems else ExitCode.PASS)
