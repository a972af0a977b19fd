"""Commands that list what there is: subjects, controls, suites, faults."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click

from taskchaos.harness import codec
from taskchaos.harness.cli import complete
from taskchaos.harness.cli.options import AS_JSON
from taskchaos.harness.errors import UsageError
from taskchaos.harness.fitting import MORE, columns_of, fit, size_of
from taskchaos.harness.profile import Depth
from taskchaos.harness.suite_paths import suites_folder


@click.command()
@AS_JSON
def subjects(as_json: bool) -> None:
    """List the registered subjects."""
    from taskchaos.harness.catalogue import subject_rows

    rows = subject_rows()
    plain = [{"name": row["subject"], "is": row["is"], "claims": ", ".join(row["claims"])} for row in rows]
    show(rows if as_json else plain, as_json)


@click.command()
@click.argument("names", nargs=-1, metavar="[CONTROL ...]", shell_complete=complete.CONTROLS)
@AS_JSON
@click.option("--run", "run_them", is_flag=True, help="Run each, and its twin, in its scenario.")
@click.option("--seeds", type=click.IntRange(1, 1000), default=1, show_default=True, help="Of --run: seeds from 1 on.")
@click.option(
    "-n", "parallel", type=click.IntRange(1, 64), default=4, show_default=True, help="Cases at the same time."
)
@click.option("--out", type=click.Path(file_okay=False), help="Folder of the runs [default: a new one in .taskchaos].")
def controls(names: tuple[str, ...], as_json: bool, run_them: bool, seeds: int, parallel: int, out: str | None) -> int:
    """List the known-bad controls: where each runs, the rule that has to fail there, its twin with just that mended.

    With --run the exit code is 0 only if every control failed with its symptom and every twin passed.
    """
    from taskchaos.harness.catalogue import control_rows
    from taskchaos.harness.pytest import control_runs

    pairs = control_runs.find_controls(names)
    if not run_them:
        rows = control_rows(pairs)
        if as_json:
            show(rows, as_json)
        else:
            table(("control", "scenario", "symptom", "twin"), [list(map(str, row.values()))[:4] for row in rows])
        return 0
    if as_json:
        raise UsageError("--json lists controls; of a run there is a verdict.json in the folder of each seed")

    from taskchaos.harness.run.folder import fresh_folder

    runs = control_runs.planned(pairs, seeds, fresh_folder(out, 1))
    codes, cases = control_runs.carry_out(runs, parallel, suites_folder())
    found = control_runs.tally(pairs, cases)
    lines = [
        [one.name, one.place, f"{one.caught} of {one.seeds}", f"{one.passed} of {one.seeds}", "" if one.sound else "✗"]
        for one in found
    ]
    click.echo()
    table(("control", "scenario", "caught", "twin passes", ""), lines)
    return int(control_runs.exit_code(codes, found))


@click.command()
@AS_JSON
def suites(as_json: bool) -> None:
    """List the suites and their scenarios: the first profile that each is part of, and what it does."""
    from taskchaos.harness.catalogue import suite_rows

    rows = suite_rows(suites_folder())
    if as_json:
        show(rows, as_json)
        return
    wide = max((columns_of(each["scenario"]) for row in rows for each in row["details"]), default=0)
    deep = max(len(depth.name) for depth in Depth)
    for number, row in enumerate(rows):
        click.echo("\n" if number else "", nl=False)
        _echo(f"{row['suite']}  {row['does']}")
        for each in row["details"]:
            _echo(f"  {each['scenario']:<{wide}}  {each['profile']:<{deep}}  {each['does']}")


@click.command()
@AS_JSON
def faults(as_json: bool) -> None:
    """List the faults that schedules may name, and on which stacks they work."""
    from taskchaos.harness.catalogue import fault_rows, with_where

    rows = fault_rows()
    plain = [{"name": name, "told": " ".join(filter(None, told))} for name, *told in map(dict.values, with_where(rows))]
    show(rows if as_json else plain, as_json)


def show(rows: list[dict[str, Any]], as_json: bool) -> None:
    """A line for each row, or JSON."""
    if as_json:
        click.echo(json.dumps(codec.encode(rows), indent=1))
        return
    for line in _aligned([list(map(str, row.values())) for row in rows]):
        _echo(line)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows below the names of their columns."""
    for line in _aligned([head, *rows]):
        _echo(line)


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A line for each row; columns begin below each other."""
    widths = [max(map(columns_of, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(text + " " * (width - columns_of(text)) for text, width in zip(row, widths, strict=True))


def _echo(line: str) -> None:
    """Print a line: on a terminal as many of its words as fit, elsewhere all."""
    line = line.rstrip()
    if sys.stdout.isatty():
        can = (sys.stdout.encoding or "").lower().startswith("utf")
        line = fit(line.split(" "), " ", size_of(sys.stdout, (80, 24)).columns, MORE if can else "...")
    click.echo(line)
