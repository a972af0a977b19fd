"""Commands that show runs in a browser."""

from __future__ import annotations

import signal
import webbrowser

import click

from taskchaos.harness.cli import complete
from taskchaos.harness.cli.options import say_line
from taskchaos.harness.errors import UsageError
from taskchaos.harness.record.layout import LATEST


@click.command("open")
@click.argument("run", default=LATEST, metavar="[RUN]", shell_complete=complete.RUN_NAMES)
@click.option("--print", "only_print", is_flag=True, help="Only say where it is.")
def open_report(run: str, only_print: bool) -> None:
    """Open the report of a run in the browser. RUN: as for judge [default: the latest].

    Where there is no browser, it says where the report is.
    """
    from taskchaos.harness.run.archive import is_archive
    from taskchaos.harness.run.replay import find_run

    place = find_run(run)
    if is_archive(place) and place.exists():
        raise UsageError(f"{place}: `taskchaos judge {place}` unpacks it, and writes its report")
    report = place / "report.html"
    if not report.is_file():
        what = (
            "has no report yet" if place.is_dir() else "is no run folder, and no run in .taskchaos/runs has this name"
        )
        raise UsageError(f"{place} {what}: `taskchaos runs` lists runs, `taskchaos judge` writes a run's report")
    say_line(str(report.resolve()))
    if not only_print and not webbrowser.open(report.resolve().as_uri()):
        click.echo("there is no browser here: open it in yours", err=True)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="A loopback address.")
@click.option("--port", type=click.IntRange(0, 65535), default=8137, show_default=True, help="0: any that is free.")
def serve(host: str, port: int) -> None:
    """Show the runs in .taskchaos/runs in the browser: reports, two runs beside each other, runs that go on.

    For this machine only. Ctrl-C ends it.
    """
    from taskchaos.harness.record.layout import HOME, RUNS
    from taskchaos.harness.serve.server import RunServer

    with RunServer((HOME / RUNS).absolute(), host, port) as server:
        say_line(f"{server.address} shows the runs in {server.runs}; Ctrl-C ends it")
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            click.echo()
