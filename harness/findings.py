"""Commands about what runs have found: `shrink` makes one finding small, `evidence` sums all up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from taskchaos.harness.errors import ExitCode
from taskchaos.harness.suite_paths import suites_folder


@click.command()
@click.argument("case")
@click.option("--runs", type=int, default=3, show_default=True, help="How often each plan is run.")
@click.option("--fails", type=int, default=2, show_default=True, help="How many of these have to fail.")
@click.option("--rule", help="The rule that has to fail [default: the first that the case failed].")
@click.option("--minutes", type=float, default=10.0, show_default=True, help="How long it may take.")
@click.option("--most-runs", type=int, default=200, show_default=True, help="How many runs it may take.")
@click.option("-n", "parallel", type=click.IntRange(1, 64), default=3, show_default=True, help="Runs at the same time.")
@click.option("--out", type=click.Path(file_okay=False), help="Run folder [default: a new one in .taskchaos/runs].")
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
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def evidence(folders: tuple[str, ...], as_json: bool) -> int:
    """Sum up, over the runs in these folders, what is proven of each kind of fault, and what was lost.

    Exit code 2 when a file of them is missing or broken: it is named, and the figures lack it.
    """
    from taskchaos.harness.report import evidence as found

    table = found.gather([Path(folder) for folder in folders])
    for line in [found.dumps(table)] if as_json else found.lines(table):
        click.echo(line)
    return int(ExitCode.UNKNOWN if table.problems else ExitCode.PASS)
