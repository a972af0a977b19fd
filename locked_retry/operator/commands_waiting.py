"""The commands for what waits: tasks that are not due yet, and queues that are paused."""

from __future__ import annotations

from collections.abc import Iterator

import click

from locked_retry.operator.command_line import (
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
from locked_retry.operator.dead_letters import Tools
from locked_retry.operator.delayed import Delayed, cancel, run_now
from locked_retry.operator.delayed import delayed as all_delayed
from locked_retry.operator.queues import QueueState, pause, paused_queues, queue_states, resume
from locked_retry.text import encodable

_NOT_DELAYED = "not delayed, or no longer: {}; `delayed list` names what is"


@click.group()
def delayed() -> None:
    """Tasks with an ETA, and retries: what waits until it is due."""


@delayed.command("list")
@click.option("--task", default="", help="Only those of this task.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
@lines_of_json
@click.pass_context
def list_(context: click.Context, task: str, limit: int | None, as_json: bool) -> None:
    """All, in the order in which they are due."""
    nothing = f"no delayed task {task}" if task else "no delayed tasks"
    print_rows(all_delayed(tools_of(context), task), limit, as_json, _line, nothing)


def _line(one: Delayed) -> str:
    return encodable(f"{one.row}  {one.task}  {when(one.due_ms)}  {one.queue}  attempts {one.attempts}  {one.reason}")


def _chosen(tools: Tools, rows: tuple[str, ...], everything: bool, task: str) -> Iterator[str]:
    if sum((bool(rows), everything, bool(task))) != 1:
        raise click.UsageError("name rows, or give --task or --all")
    return iter(rows) if rows else (one.row for one in all_delayed(tools, task))


@delayed.command("run")
@rows_given
@all_of_them
@of_task
@as_json
@click.pass_context
def run(context: click.Context, rows: tuple[str, ...], everything: bool, task: str, as_json: bool) -> None:
    """Run now, before other messages of their queues."""
    tools = tools_of(context)
    report("queued", run_now(tools, _chosen(tools, rows, everything, task)), rows, as_json, _NOT_DELAYED)


@delayed.command("cancel")
@rows_given
@all_of_them
@of_task
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@click.pass_context
def cancel_(
    context: click.Context, rows: tuple[str, ...], everything: bool, task: str, yes: bool, as_json: bool
) -> None:
    """Never run: a worker revokes them, so that whoever waits for them hears of it."""
    tools = tools_of(context)
    chosen = list(_chosen(tools, rows, everything, task))
    if not rows and not yes and chosen:
        click.confirm(f"Cancel {len(chosen)} tasks?", abort=True, err=True)
    report("cancelled", cancel(tools, chosen), rows, as_json, _NOT_DELAYED)


@click.group()
def queue() -> None:
    """Queues: pause them for all workers, and resume them."""


@queue.command("list")
@lines_of_json
@click.pass_context
def queues(context: click.Context, as_json: bool) -> None:
    """All that have been declared: what waits in them, and since when they are paused."""
    print_rows(queue_states(broker_of(context)), None, as_json, _state, "no queue has been declared")


def _state(one: QueueState) -> str:
    since = "" if one.paused_since_ms is None else f"  paused since {when(one.paused_since_ms)}"
    return encodable(f"{one.queue:<24} {one.messages}{since}")


@queue.command("pause")
@click.argument("names", nargs=-1, required=True)
@click.option("--undeclared", is_flag=True, help="Also queues that nobody has declared yet.")
@as_json
@click.pass_context
def pause_(context: click.Context, names: tuple[str, ...], undeclared: bool, as_json: bool) -> None:
    """Nothing is taken from them any more. What runs goes on."""
    broker = broker_of(context)
    known = {one.queue for one in queue_states(broker)}
    unknown = [] if undeclared else sorted(set(names) - known)
    if unknown:
        raise click.ClickException(
            f"nobody has declared {', '.join(unknown)}; `queue list` names queues, --undeclared pauses it anyway"
        )
    pause(broker, names)
    report("paused", sorted(set(names)), names, as_json, "{}")


@queue.command("resume")
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that are paused.")
@as_json
@click.pass_context
def resume_(context: click.Context, names: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Take from them again."""
    if bool(names) == everything:
        raise click.UsageError("name queues, or give --all")
    broker = broker_of(context)
    resumed = resume(broker, paused_queues(broker) if everything else names)
    report("resumed", resumed, names, as_json, "not paused: {}; `queue list` shows which are")
