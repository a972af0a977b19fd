"""Commands about several stored runs: two beside each other, all that there are, and those to be removed."""

from __future__ import annotations

import click

from taskchaos.harness.cli import complete
from taskchaos.harness.cli.options import AS_JSON, say
from taskchaos.harness.errors import ExitCode, UsageError


@click.command()
@click.argument("before", metavar="BEFORE", shell_complete=complete.RUN_NAMES)
@click.argument("after", metavar="AFTER", shell_complete=complete.RUN_NAMES)
@click.option("--markdown", is_flag=True, help="For a pull request.")
@AS_JSON
@click.option("-v", "--verbose", is_flag=True, help="Also the cases that came to the same.")
def compare(before: str, after: str, markdown: bool, as_json: bool, verbose: bool) -> int:
    """Compare two runs: verdicts that changed, throughput, recovery, new kinds of findings.

    BEFORE, AFTER: a run folder, a .zip of one, or a name in .taskchaos/runs, such as latest. Exit code 1 on a
    regression: a case that was as expected and is not any more, or a rule that fails, may not, and did not before; 2
    when no case has a verdict in both, one has none any more, or a run is in doubt.
    """
    if markdown and as_json:
        raise UsageError("--markdown and --json: give one of them")
    from taskchaos.harness.judge import compare as comparing
    from taskchaos.harness.report import comparison
    from taskchaos.harness.run import stored
    from taskchaos.harness.run.archive import is_archive, the_run_in, unpacked
    from taskchaos.harness.run.replay import find_run

    places = [find_run(before), find_run(after)]
    with unpacked(places) as found:
        folders = [the_run_in(at, place) if is_archive(place) else at for at, place in zip(found, places, strict=True)]
        one, two = (stored.load(folder) for folder in folders)
    result = comparing.compare(one, two)
    if as_json:
        click.echo(comparison.dumps(result))
    elif markdown:
        click.echo(comparison.markdown(result), nl=False)
    else:
        say(comparison.lines(result, verbose=verbose))
    return int(result.exit_code)


@click.group(invoke_without_command=True)
@click.option(
    "--case",
    "pattern",
    metavar="PATTERN",
    shell_complete=complete.CASE_IDS,
    help="How often these cases failed: part of an id, or a glob.",
)
@click.option(
    "--last", type=click.IntRange(min=1), default=20, show_default=True, help="In so many runs that have the case."
)
@AS_JSON
@click.pass_context
def runs(context: click.Context, pattern: str | None, last: int, as_json: bool) -> None:
    """List the runs in .taskchaos/runs, newest first, and the cases that are flaky.

    Flaky is a case that has passed and failed with the same plan in its last runs. A run that is broken, cut off or
    going on is listed as that.
    """
    if context.invoked_subcommand is not None:
        if pattern is not None or as_json:
            raise UsageError("--case and --json are for the list of runs")
        return
    from taskchaos.harness.cli import past
    from taskchaos.harness.record.layout import HOME, RUNS
    from taskchaos.harness.run.history import case_histories, history

    rows = history(HOME / RUNS)
    cases = case_histories(rows, last, pattern or "")
    if as_json:
        click.echo(past.dumps(rows, cases, of_cases=pattern is not None))
    elif pattern is not None:
        say(past.case_lines(cases, pattern))
    else:
        say(past.run_lines(rows, [case for case in cases if case.flaky], last))


@runs.command()
@click.option("--keep", type=click.IntRange(min=0), required=True, metavar="N", help="So many of the newest stay.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def prune(keep: int, dry_run: bool) -> int:
    """Remove all but the newest N runs in .taskchaos/runs.

    A run that is going on stays, and so does what is no run. Exit code 3 when one could not be removed.
    """
    from taskchaos.harness.record.layout import HOME, RUNS
    from taskchaos.harness.run import prune as pruning
    from taskchaos.harness.run.history import history, to_remove

    place = HOME / RUNS
    if not dry_run:
        pruning.remove_leftovers(place)
    freed = count = failed = 0
    for row in to_remove(history(place), keep):
        done = pruning.Removed(row.name, pruning.size_of(row.folder)) if dry_run else pruning.remove(row.folder)
        if done.why:
            failed += 1
            say([f"! {done.name} is not removed: {done.why}"])
            continue
        count += 1
        freed += done.bytes
        say([f"{'would remove' if dry_run else 'removed'} {done.name}: {done.bytes:,} bytes"])
    if not dry_run:
        pruning.mend_latest(place)
    say([f"{count} {'run' if count == 1 else 'runs'}, {freed:,} bytes{' would be' if dry_run else ''} removed"])
    return int(ExitCode.STACK if failed else ExitCode.PASS)
