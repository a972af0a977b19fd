"""`python -m locked_retry --broker URL dead list|show|requeue|purge`, `audit`, `stats`."""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from redis import Redis

from locked_retry.dead_letters import Tools
from locked_retry.store import Keys


@click.group()
@click.option("--broker", required=True, envvar="CELERY_BROKER_URL", help="The broker's redis:// URL.")
@click.option("--prefix", default="lr:", show_default=True, help="global_keyprefix and namespace.")
@click.pass_context
def main(context: click.Context, broker: str, prefix: str) -> None:
    """Look after what locked_retry keeps in Redis."""
    context.obj = Tools(Redis.from_url(broker, socket_timeout=10), Keys(prefix))


@main.group()
def dead() -> None:
    """Dead letters."""


@dead.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.pass_obj
def list_(tools: Tools, as_json: bool) -> None:
    """All, newest first."""
    for letter in tools.dead():
        if as_json:
            click.echo(json.dumps(asdict(letter)))
        else:
            click.echo(
                f"{letter.row}  {letter.task}  attempts {letter.attempts}  crashes {letter.crashes}  {letter.reason}"
            )


@dead.command()
@click.argument("row")
@click.pass_obj
def show(tools: Tools, row: str) -> None:
    """One, with its message."""
    letter = tools.show(row)
    if letter is None:
        raise click.ClickException(f"no dead letter {row}; `dead list` names them")
    click.echo(json.dumps(asdict(letter), indent=1))


def _chosen(tools: Tools, rows: tuple[str, ...], everything: bool) -> list[str]:
    if not rows and not everything:
        raise click.UsageError("name rows, or give --all")
    return [letter.row for letter in tools.dead()] if everything else list(rows)


@dead.command()
@click.argument("rows", nargs=-1)
@click.option("--all", "everything", is_flag=True)
@click.pass_obj
def requeue(tools: Tools, rows: tuple[str, ...], everything: bool) -> None:
    """Run again, retries counted from 0."""
    click.echo(f"{len(tools.requeue(_chosen(tools, rows, everything)))} requeued")


@dead.command()
@click.argument("rows", nargs=-1)
@click.option("--all", "everything", is_flag=True)
@click.pass_obj
def purge(tools: Tools, rows: tuple[str, ...], everything: bool) -> None:
    """Delete for good."""
    click.echo(f"{len(tools.purge(_chosen(tools, rows, everything)))} purged")


@main.command()
@click.option("--repair", is_flag=True, help="Put right what is found.")
@click.pass_context
def audit(context: click.Context, repair: bool) -> None:
    """Cross-check rows and indexes. Exit code 1 when something is wrong and was not repaired."""
    findings = context.obj.audit(repair)
    for finding in findings:
        click.echo(f"{finding.row}: {finding.problem}")
    click.echo(f"{len(findings)} problem(s){' repaired' if repair and findings else ''}")
    context.exit(1 if findings and not repair else 0)


@main.command()
@click.pass_obj
def stats(tools: Tools) -> None:
    """Counters, as JSON."""
    click.echo(json.dumps(tools.stats(), indent=1, sort_keys=True))


if __name__ == "__main__":
    main()
