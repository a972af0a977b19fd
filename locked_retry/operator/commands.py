"""The commands: `celery -A app locked-retry ...`, where the application says all, and `python -m locked_retry ...`.

Exit codes: 0 done; 1 not done, or the audit found something; 2 wrong usage. An error is one line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict

import click
from celery import Celery

import locked_retry
from locked_retry.operator.command_line import (
    OneLine,
    all_of_them,
    as_json,
    broker_of,
    lines_of_json,
    of_task,
    print_rows,
    report,
    rows_given,
    tools_of,
    when,
)
from locked_retry.operator.commands_waiting import delayed, queue
from locked_retry.operator.dead_letters import DeadLetter, Tools
from locked_retry.operator.prometheus import broker_families, render
from locked_retry.operator.statistics import Statistics, collect
from locked_retry.text import encodable


@click.group()
def dead() -> None:
    """Dead letters: what was given up, and why."""


@dead.command("list")
@click.option("--task", default="", help="Only those of this task.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
@lines_of_json
@click.pass_context
def list_(context: click.Context, task: str, limit: int | None, as_json: bool) -> None:
    """All, newest first."""
    nothing = f"no dead letter of {task}" if task else "no dead letters"
    print_rows(tools_of(context).dead(task=task), limit, as_json, _line, nothing)


def _line(letter: DeadLetter) -> str:
    counts = f"attempts {letter.attempts}  crashes {letter.crashes}"
    return encodable(f"{letter.row}  {letter.task}  {when(letter.died_at_ms)}  {counts}  {letter.reason}")


@dead.command()
@click.argument("row")
@as_json
@click.pass_context
def show(context: click.Context, row: str, as_json: bool) -> None:
    """One, with its message."""
    letter = tools_of(context).show(row)
    if letter is None:
        raise click.ClickException(_UNKNOWN.format(row))
    if as_json:
        click.echo(json.dumps(asdict(letter), indent=1))
        return
    for name, value in asdict(letter).items():
        click.echo(f"{name.removesuffix('_ms'):<9} {when(letter.died_at_ms) if name == 'died_at_ms' else value}")


_UNKNOWN = "no dead letter {}; `dead list` names them"


def _chosen(
    tools: Tools, rows: tuple[str, ...], everything: bool, task: str, older_than: float | None = None
) -> list[str]:
    some = bool(task) or older_than is not None
    if sum((bool(rows), everything, some)) != 1:
        raise click.UsageError("name rows, or say which ones by options, or give --all")
    older_than_s = None if older_than is None else older_than * 86_400
    return list(rows) or [letter.row for letter in tools.dead(False, task, older_than_s)]


@dead.command()
@rows_given
@all_of_them
@of_task
@as_json
@click.pass_context
def requeue(context: click.Context, rows: tuple[str, ...], everything: bool, task: str, as_json: bool) -> None:
    """Run again, retries and crashes counted from 0."""
    tools = tools_of(context)
    report("requeued", tools.requeue(_chosen(tools, rows, everything, task)), rows, as_json, _UNKNOWN)


def _number(_: click.Context, __: click.Parameter, value: float | None) -> float | None:
    if value is not None and math.isnan(value):
        raise click.BadParameter("it is no number")
    return value


@dead.command()
@rows_given
@all_of_them
@of_task
@click.option(
    "--older-than",
    type=click.FloatRange(min=0, max=36500),
    callback=_number,
    metavar="DAYS",
    help="All that died longer ago.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@click.pass_context
def purge(
    context: click.Context,
    rows: tuple[str, ...],
    everything: bool,
    task: str,
    older_than: float | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete for good."""
    tools = tools_of(context)
    chosen = _chosen(tools, rows, everything, task, older_than)
    if not rows and not yes and chosen:
        click.confirm(f"Delete {len(chosen)} dead letters for good?", abort=True, err=True)
    report("purged", tools.purge(chosen), rows, as_json, _UNKNOWN)


@click.command()
@click.option("--repair", is_flag=True, help="Put right what is found.")
@as_json
@click.pass_context
def audit(context: click.Context, repair: bool, as_json: bool) -> None:
    """Cross-check rows and indexes. Exit code 1 when something is wrong and was not repaired."""
    findings = tools_of(context).audit(repair)
    if as_json:
        click.echo(json.dumps({"findings": [asdict(finding) for finding in findings], "repaired": repair}))
    else:
        for finding in findings:
            click.echo(encodable(f"{finding.row}: {finding.problem}"))
        click.echo(f"{len(findings)} problem(s){' repaired' if repair and findings else ''}")
    context.exit(1 if findings and not repair else 0)


@click.command()
@as_json
@click.option("--prometheus", is_flag=True, help="As a Prometheus scrape.")
@click.pass_context
def stats(context: click.Context, as_json: bool, prometheus: bool) -> None:
    """Counters over all workers; rows, queues and memory now."""
    if as_json and prometheus:
        raise click.UsageError("--json or --prometheus, not both")
    seen = collect(broker_of(context))
    if prometheus:
        click.echo(render(broker_families(seen)), nl=False)
    elif as_json:
        click.echo(json.dumps(asdict(seen), indent=1))
    else:
        for line in _table(seen):
            click.echo(line)


def _table(seen: Statistics) -> Iterable[str]:
    """For people: one fact a line, names first."""
    for state, number in asdict(seen.rows).items():
        yield f"{state:<24} {number}"
    for depth in seen.queues:
        name = f"queue {depth.queue}" + (f" priority {depth.priority}" if depth.priority else "")
        yield f"{name:<24} {depth.length}{'  paused' if depth.paused else ''}"
    yield f"{'oldest overdue lease':<24} {seen.overdue.lease_s:.1f} s"
    yield f"{'oldest overdue retry':<24} {seen.overdue.delay_s:.1f} s"
    for event, number in seen.counters.items():
        yield f"{f'counted {event}':<24} {number}"
    memory = seen.memory
    if memory is None:
        yield "memory                   not told by this server"
        return
    yield f"{'memory used':<24} {memory.used_bytes} B of {memory.max_bytes or 'any'}"
    wrong = "" if memory.policy == "noeviction" else ": has to be noeviction, or Redis deletes tasks"
    yield f"{'memory policy':<24} {memory.policy}{wrong}"
    for index, size in memory.index_bytes.items():
        yield f"{f'memory index {index}':<24} {size} B"
    for name, one in (("row", memory.row), ("done record", memory.done)):
        yield f"{f'memory per {name}':<24} {one.mean_bytes:.0f} B (mean of {one.sampled})"


COMMANDS: list[click.Command] = [dead, delayed, queue, audit, stats]


@click.group("locked-retry", cls=OneLine, commands=COMMANDS)
def plugin() -> None:
    """Look after what locked_retry keeps in Redis."""


@click.group(cls=OneLine, commands=COMMANDS)
@click.option("--broker", required=True, envvar="CELERY_BROKER_URL", help="The broker's URL, as Celery takes it.")
@click.option("--keyprefix", default="", help="global_keyprefix of the broker_transport_options.")
@click.option("--namespace", default="lr:", show_default=True, help="Of the options of locked_retry.")
@click.option("--master-name", default="", help="Of the Sentinels' primary, for sentinel:// URLs.")
@click.pass_context
def main(context: click.Context, broker: str, keyprefix: str, namespace: str, master_name: str) -> None:
    """Look after what locked_retry keeps in Redis. With an application at hand, use `celery -A app locked-retry`."""
    app = Celery("locked_retry", broker=broker, set_as_current=False)
    given = {"global_keyprefix": keyprefix, "master_name": master_name}
    app.conf.broker_transport_options = {name: value for name, value in given.items() if value}
    if "://" not in broker:
        raise click.BadParameter(f"{broker!r} is no URL; for example redis://127.0.0.1:6379/0", param_hint="--broker")
    try:
        locked_retry.install(app, namespace=namespace)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--broker, --namespace") from error
    context.obj = app
