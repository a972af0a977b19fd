"""What the commands have in common: the broker they ask, and errors that are one line."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from itertools import islice
from typing import Any

import click
from celery import Celery
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from locked_retry.adapter.releases import UnknownRelease
from locked_retry.operator.application import Broker, NotInstalled, connect
from locked_retry.operator.dead_letters import Tools
from locked_retry.text import encodable

#: What can go wrong between here and Redis. Anything else is a bug and shows its traceback.
FAILURES = (RedisError, KombuError, NotInstalled, OSError)


class OneLine(click.Group):
    """A group whose commands fail with one line instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """As click's."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader of our output has left: click knows what to do
        except (NotInstalled, UnknownRelease) as error:
            raise click.ClickException(str(error)) from error
        except FAILURES as error:
            where = ctx.meta.get("locked_retry.where", "no answer from the broker")
            raise click.ClickException(f"{where}: {str(error) or type(error).__name__}") from error


def broker_of(context: click.Context) -> Broker:
    """Connect, until the command ends."""
    app: Celery = getattr(context.obj, "app", context.obj)  # celery's own commands carry it in an object of theirs
    with contextlib.suppress(ValueError, TypeError, AttributeError):  # `connect` says what is wrong with the URL
        connection = app.connection_for_read()
        context.meta["locked_retry.where"] = f"no answer from {connection.hostname}:{connection.port}"
    return context.find_root().with_resource(connect(app))


def tools_of(context: click.Context) -> Tools:
    broker = broker_of(context)
    return Tools(broker.redis, broker.keys)


as_json = click.option("--json", "as_json", is_flag=True, help="For programs.")
rows_given = click.argument("rows", nargs=-1)
all_of_them = click.option("--all", "everything", is_flag=True, help="All that there are.")
of_task = click.option("--task", default="", help="All of this task.")
lines_of_json = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")


def print_rows(rows: Iterable[Any], limit: int | None, as_json: bool, line: Callable[[Any], str], nothing: str) -> None:
    """Dataclasses, at most so many, a line each: as JSON, or as `line` writes it.

    Where there are none, people are told so: on standard error, for the output of a list is its lines.
    """
    shown = 0
    for one in islice(rows, limit):
        click.echo(json.dumps(asdict(one)) if as_json else line(one))
        shown += 1
    if not shown and not as_json:
        click.echo(encodable(nothing), err=True)


def when(time_ms: int) -> str:
    """A moment, for people."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time_ms / 1000))


def report(done: str, moved: list[str], asked: Iterable[str], as_json: bool, missing: str) -> None:
    """What was done, and an error for what was asked for by name and was not: `missing` has a {}."""
    click.echo(json.dumps({done: moved}) if as_json else f"{len(moved)} {done}")
    left = sorted(set(asked) - set(moved))
    if left:
        raise click.ClickException(missing.format(", ".join(left)))
