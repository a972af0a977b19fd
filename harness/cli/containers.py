"""Commands about container stacks, whoever started them."""

from __future__ import annotations

import click

from taskchaos.harness.cli.lists import show
from taskchaos.harness.cli.options import AS_JSON
from taskchaos.harness.errors import UsageError


@click.command()
@AS_JSON
def ps(as_json: bool) -> None:
    """List the container stacks that are there, whoever started them."""
    from taskchaos.harness.stack.containers.engine import stacks

    rows = [
        {
            "stack": one.stack,
            "state": one.state,
            "case": one.case,
            "containers": len(one.containers),
            "networks": len(one.networks),
            "volumes": len(one.volumes),
        }
        for one in stacks()
    ]
    if rows or as_json:
        show(rows, as_json)
    else:
        click.echo("no stacks")


@click.command()
@click.argument("names", nargs=-1, metavar="[STACK ...]")
@click.option("--all", "everything", is_flag=True, help="Also stacks in use and those started by hand.")
def heal(names: tuple[str, ...], everything: bool) -> None:
    """Remove container stacks: those that a dead harness left behind, those named, or all of them.

    Goes by the label taskchaos.stack, and touches nothing that does not bear it.
    """
    from taskchaos.harness.stack.containers import engine

    there = {one.stack: one for one in engine.stacks()}
    if unknown := [name for name in names if name not in there]:
        raise UsageError(f"no stack {', '.join(unknown)}; `taskchaos ps` lists them")
    gone = engine.heal(there.values(), there if everything else names or None)
    for one in gone:
        click.echo(
            f"removed {one.stack} ({one.state}): {len(one.containers)} containers, {len(one.networks)} networks, "
            f"{len(one.volumes)} volumes"
        )
    left = len(there) - len(gone)
    kept = f"; {left} in use or started by hand: --all removes them too" if left and not names else ""
    click.echo(f"{len(gone)} of {len(there)} stacks removed{kept}")
