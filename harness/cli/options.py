"""Options that several commands have."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import click

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
            "--worker-start", default="zygote", show_default=True, help="zygote (forked, fast) or cli (celery worker)."
        ),
        click.option("--pool", default="prefork", show_default=True, help="Celery pool: prefork, threads or solo."),
        click.option("--redis-server", help="Another redis-server or valkey-server binary."),
        click.option(
            "--proxy", help="embedded or toxiproxy [default: with compose the real toxiproxy, else embedded]."
        ),
        click.option("--stack", default="local", show_default=True, help="local (processes) or compose (containers)."),
    ):
        command = option(command)
    return command


def usual_parallel(stack: str) -> int:
    """How many cases run side by side unless told otherwise."""
    return (1 if stack == "compose" else 2) * (os.cpu_count() or 1) + 1
