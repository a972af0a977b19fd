"""The command with all its commands, and how what it is told wrongly, or meets, ends it."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from taskchaos.harness import __version__
from taskchaos.harness.cli.browser import open_report, serve
from taskchaos.harness.cli.cases import run, soak
from taskchaos.harness.cli.compare import compare, runs
from taskchaos.harness.cli.complete import completion
from taskchaos.harness.cli.containers import heal, ps
from taskchaos.harness.cli.lists import controls, faults, subjects, suites
from taskchaos.harness.cli.stored import evidence, judge, merge, replay, shrink
from taskchaos.harness.cli.subject import check_subject, new_subject
from taskchaos.harness.errors import ExitCode, TaskchaosError, complain, unforeseen


class _Main(click.Group):
    """Prints what a person did wrong as one line and exits with 4; other expected errors likewise, with their code."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["standalone_mode"] = False
        try:
            code = super().main(*args, **kwargs)
        except click.exceptions.Exit as done:
            code = done.exit_code
        except click.ClickException as error:
            complain(error.format_message())
            code = ExitCode.USAGE
        except (click.Abort, KeyboardInterrupt) as error:
            if isinstance(error.__cause__, EOFError):  # click takes that for somebody who is asked and does not answer
                complain(f"a defect of taskchaos: {unforeseen(error.__cause__)}; please report it")
                code = ExitCode.STACK
            else:
                complain("interrupted")
                code = ExitCode.INTERRUPTED
        except TaskchaosError as error:
            complain(str(error))
            code = error.exit_code
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads any more; nor at exit
            code = ExitCode.STACK
        except OSError as error:
            complain(f"{error.filename or 'a file'}: {error.strerror or error}")
            code = ExitCode.STACK
        except Exception as error:
            complain(f"a defect of taskchaos: {unforeseen(error)}; please report it")
            code = ExitCode.STACK
        sys.exit(int(code or 0))


@click.group(
    cls=_Main,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="taskchaos")
@click.pass_context
def main(context: click.Context) -> None:
    """Prove, or refute, that a Celery retry implementation loses no task and keeps its throughput."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def proxy(arguments: tuple[str, ...]) -> None:
    """Run the embedded proxy by itself (--host, --port, --config)."""
    os.execv(sys.executable, [sys.executable, "-P", "-m", "taskchaos.faults.proxy", *arguments])


for each in (
    *(run, soak, replay, shrink, judge, merge, evidence, compare, runs, open_report, serve),
    *(subjects, controls, suites, faults, check_subject, new_subject),
    *(ps, heal, proxy, completion),
):
    main.add_command(each)
