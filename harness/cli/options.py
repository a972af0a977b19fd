"""Options that several commands have."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

import click

from taskchaos.harness.cli import complete
from taskchaos.harness.errors import UsageError
from taskchaos.harness.verbosity import Verbosity

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
OUT = click.option(
    "--out", type=click.Path(file_okay=False), help="Run folder [default: a new one in .taskchaos/runs]."
)


def how_much(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options -q and -v of a command, which is given them as one `verbosity`."""

    @click.option("-q", "--quiet", is_flag=True, help="Only surprises, and what the run comes to.")
    @click.option("-v", "--verbose", is_flag=True, help="Every phase and every rule of every case.")
    @functools.wraps(command)
    def given(*args: Any, quiet: bool, verbose: bool, **options: Any) -> Any:
        if quiet and verbose:
            raise UsageError("--quiet and --verbose: give one of them")
        verbosity = Verbosity.QUIET if quiet else Verbosity.ALL if verbose else Verbosity.USUAL
        return command(*args, verbosity=verbosity, **options)

    return given


def stack_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say what a run's stacks are made of."""
    for option in (
        click.option(
            "--worker-start",
            default="zygote",
            show_default=True,
            shell_complete=complete.STARTS_OF_WORKERS,
            help="zygote (forked, fast) or cli (celery worker).",
        ),
        click.option(
            "--pool",
            default="prefork",
            show_default=True,
            shell_complete=complete.POOLS,
            help="Celery pool: prefork, threads or solo.",
        ),
        click.option("--redis-server", help="Another redis-server or valkey-server binary."),
        click.option(
            "--proxy",
            shell_complete=complete.PROXIES,
            help="embedded or toxiproxy [default: with compose the real toxiproxy, else embedded].",
        ),
        click.option(
            "--stack",
            shell_complete=complete.STACKS,
            help="local (processes) or compose (containers).  [default: local]",
        ),
    ):
        command = option(command)
    return command


def say(lines: Iterable[str]) -> None:
    """Print lines, with what the terminal cannot show replaced: names of stored files may hold anything."""
    from taskchaos.harness.report.ansi import Paint

    paint = Paint.on(sys.stdout)
    for line in lines:
        click.echo(paint.safe_columns(line))


def say_line(line: str) -> None:
    """Print one line so."""
    say([line])


def usual_parallel(stack: str | None) -> int:
    """How many cases run side by side unless told otherwise."""
    return (1 if stack == "compose" else 2) * (os.cpu_count() or 1) + 1
