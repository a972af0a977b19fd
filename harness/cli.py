"""The `taskchaos` command. `run` is a front end: pytest is the engine, the event stream is what is shown."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from taskchaos.harness import __version__, codec
from taskchaos.harness.errors import ExitCode, TaskchaosError, UsageError, complain, unforeseen
from taskchaos.harness.findings import evidence, shrink
from taskchaos.harness.suite_paths import own, suite_paths, suites_folder

#: The suite of random schedules, and what it is run against unless told otherwise.
SOAK, SOAKED = "soak", ("locked_retry",)
_LIST = click.option("--json", "as_json", is_flag=True, help="Machine-readable.")


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
        except (click.Abort, KeyboardInterrupt):
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


def _stack_options(command: Callable[..., Any]) -> Callable[..., Any]:
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


def _usual_parallel(stack: str) -> int:
    return (1 if stack == "compose" else 2) * (os.cpu_count() or 1) + 1


@main.command()
@click.argument("suites", nargs=-1, metavar="[SUITE ...]")
@click.option(
    "--subject", "-s", "subjects", multiple=True, help="Name, package.module:Name or file.py:Name; repeatable."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of every random choice.")
@click.option("--profile", default="quick", show_default=True, help="quick, default or nightly.")
@_stack_options
@click.option(
    "-n",
    "parallel",
    type=click.IntRange(1, 64),
    default=None,
    help="Cases at the same time [default: 2 per core and one, with compose 1 per core and one; no more than cases].",
)
@click.option("--target-tps", type=float, help="Tasks per second to keep [default: from the profile].")
@click.option(
    "--failures",
    type=float,
    metavar="PERCENT",
    default=0.0,
    help="Share of the tasks that fail once, in every suite [default: 0, but for suites about failures].",
)
@click.option(
    "--previous", metavar="PYTHON", help="The Python of an environment with another release, for deploy.mixed."
)
@click.option("--out", type=click.Path(file_okay=False), help="Run folder [default: a new one in .taskchaos/runs].")
@click.option("--shard", metavar="I/N", help="Only the I-th of N parts, for a CI matrix; `merge` makes them one run.")
@click.option("-k", "keyword", help="Only the scenarios whose name matches, as in pytest.")
@click.option("-v", "--verbose", is_flag=True, help="Every rule of every case.")
def run(suites: tuple[str, ...], parallel: int | None, keyword: str | None, verbose: bool, **given: Any) -> int:
    """Run suites against subjects and judge them.

    Without arguments: all suites in their quick scenarios, against locked_retry, stock Celery and the known-bad
    controls. With --profile default alone: against locked_retry and the controls.
    """

    def ask() -> Asked:
        from taskchaos.harness.run.bound import most_cases
        from taskchaos.harness.run.choices import make_options

        usual = _usual_parallel(given["stack"])
        options = make_options(
            parallel=parallel or usual,
            replay=None,
            keyword=keyword,
            subjects=given.pop("subjects"),
            suites=[str(Path(name).absolute()) if own(name) else name for name in suites],
            **given,
        )
        paths = suite_paths(suites)
        if not parallel and (most := most_cases(paths, len(options.subjects), options.scale)) is not None:
            options = replace(options, parallel=max(1, min(usual, most)))
        more = ["-k", keyword] if keyword else []
        return Asked(options, (*paths, *more), suites_folder())

    from taskchaos.harness.pytest.front import Asked, run_cases

    return run_cases(ask, verbose=verbose)


@main.command()
@click.option("--minutes", type=float, required=True, help="How long; the last cases may take half a minute more.")
@click.option("--subject", "-s", "subjects", multiple=True, help="As for run; repeatable [default: locked_retry].")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the first case; the next has the next.")
@click.option("--profile", default="quick", show_default=True, help="quick, default or nightly: how long a case is.")
@_stack_options
@click.option("-n", "parallel", type=click.IntRange(1, 64), default=None, help="Cases at the same time [as for run].")
@click.option("--out", type=click.Path(file_okay=False), help="Run folder [default: a new one in .taskchaos/runs].")
@click.option("-v", "--verbose", is_flag=True, help="Every rule of every case.")
def soak(subjects: tuple[str, ...], parallel: int | None, verbose: bool, **given: Any) -> int:
    """Run random schedules for so many minutes: faults of all families, several at once, another set for each seed.

    Each case can be run again with `taskchaos replay`, and made smaller with `taskchaos shrink`.
    """

    def ask() -> Asked:
        from taskchaos.harness.run.choices import make_options, soaking

        options = make_options(
            parallel=parallel or _usual_parallel(given["stack"]),
            replay=None,
            target_tps=None,
            subjects=subjects or SOAKED,
            suites=[SOAK],
            **{name: value for name, value in given.items() if name != "minutes"},
        )
        return Asked(soaking(options, given["minutes"]), tuple(suite_paths([SOAK])), suites_folder())

    from taskchaos.harness.pytest.front import Asked, run_cases

    return run_cases(ask, verbose=verbose)


@main.command()
@click.argument("folder", type=click.Path(file_okay=False), default=".taskchaos/runs/latest")
@click.option("-v", "--verbose", is_flag=True, help="Every rule of every case.")
def judge(folder: str, verbose: bool) -> int:
    """Judge a stored run again, with the checker of this version, and write its files again."""
    from taskchaos.harness.run.replay import judge_again

    return judge_again(Path(folder), verbose=verbose)


@main.command()
@click.argument("folders", nargs=-1, required=True, metavar="DIR...", type=click.Path(file_okay=False))
@click.option("--out", type=click.Path(file_okay=False), help="Run folder [default: a new one in .taskchaos/runs].")
@click.option("-v", "--verbose", is_flag=True, help="Every rule of every case.")
def merge(folders: tuple[str, ...], out: str | None, verbose: bool) -> int:
    """Make one run of the shards of a run. DIR: a shard's run folder, or a folder that contains some.

    A shard or case that is missing is named, and the exit code is then never 0.
    """
    from taskchaos.harness.run.merge import merge as merge_shards

    return merge_shards([Path(folder) for folder in folders], Path(out) if out else None, verbose=verbose)


@main.command()
@click.argument("case")
@click.option("--subject", "-s", help="Another subject, or the same from another place [default: the stored one].")
@click.option("--out", type=click.Path(file_okay=False), help="Run folder [default: a new one in .taskchaos/runs].")
@click.option("-v", "--verbose", is_flag=True, help="Every rule.")
def replay(case: str, subject: str | None, out: str | None, verbose: bool) -> int:
    """Run one case of a stored run again with the same plan. CASE: an id of the latest run, RUN/ID, or a folder.

    Works in another folder and on another machine: files of a person's own are looked for where they were, seen from
    the run folder, and then by their whole path.
    """

    def ask() -> Asked:
        from taskchaos.harness.run.replay import find_case, replay_options, stored_test

        folder, stored = find_case(case)
        options = replay_options(folder, stored, subject, out)
        return Asked(options, (stored_test(folder, stored, options, suites_folder().parent),), suites_folder())

    from taskchaos.harness.pytest.front import Asked, run_cases

    return run_cases(ask, verbose=verbose)


main.add_command(shrink)
main.add_command(evidence)


@main.command()
@_LIST
def subjects(as_json: bool) -> None:
    """List the registered subjects."""
    from taskchaos.harness.catalogue import subject_rows

    _show(subject_rows(), as_json)


@main.command()
@click.argument("names", nargs=-1, metavar="[CONTROL ...]")
@_LIST
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
            _show(rows, as_json)
        else:
            _table(("control", "scenario", "symptom", "twin"), [list(map(str, row.values()))[:4] for row in rows])
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
    _table(("control", "scenario", "caught", "twin passes", ""), lines)
    return int(control_runs.exit_code(codes, found))


@main.command()
@_LIST
def suites(as_json: bool) -> None:
    """List the suites and what they do."""
    from taskchaos.harness.catalogue import suite_rows

    _show(suite_rows(suites_folder()), as_json)


@main.command()
@_LIST
def faults(as_json: bool) -> None:
    """List the faults that schedules may name, and on which stacks they work."""
    from taskchaos.harness.catalogue import fault_rows, with_where

    rows = fault_rows()
    _show(rows if as_json else with_where(rows), as_json)


def _show(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(codec.encode(rows), indent=1))
        return
    widths = [max(len(str(next(iter(row.values())))) for row in rows)] if rows else [0]
    for row in rows:
        first, *rest = row.values()
        click.echo(f"{first!s:<{widths[0]}}  " + "  ".join(str(r) for r in rest if r))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows below the names of their columns."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


@main.command()
@_LIST
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
        _show(rows, as_json)
    else:
        click.echo("no stacks")


@main.command()
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


@main.command("check-subject")
@click.argument("subject")
def check_subject(subject: str) -> int:
    """Say what is wrong with a subject, before it is run.

    It is installed, registered, given one real task, and asked once everything that a run will ask it.
    """

    def check(say: Callable[..., None]) -> None:
        from taskchaos.harness.case.subject_loading import absolute_spec, dry_run, resolve
        from taskchaos.harness.conduct.trial import problems_of

        def expired(text: str) -> None:
            say(problems=[text])
            os._exit(0)

        found = resolve(subject)
        problems = dry_run(found, expired) or problems_of(found, absolute_spec(subject))
        say(problems=problems, name=found.name, claims=sorted(c.value for c in found.contract.claims))

    from taskchaos.harness.run.guard import guarded

    outcome = guarded(check)
    if outcome.interrupted:
        raise KeyboardInterrupt
    if "error" in outcome.said:
        complain(outcome.said["error"])
        return int(outcome.said["code"])
    if "problems" not in outcome.said:
        raise UsageError(f"subject {subject!r}: its code ended the process that loaded it, which {outcome.how}")
    for problem in outcome.said["problems"]:
        click.echo(f"✗ {problem}")
    if outcome.said["problems"]:
        return int(ExitCode.USAGE)
    click.echo(f"✓ {outcome.said['name']}: can be used; claims {', '.join(outcome.said['claims']) or 'nothing'}")
    return 0


@main.command("new-subject")
@click.argument("name")
@click.option("--force", is_flag=True, help="Overwrite files that exist.")
def new_subject(name: str, force: bool) -> None:
    """Write a template NAME.py for a subject of your own, and a test for it."""
    from taskchaos.harness.scaffold import write_template

    for path in write_template(name, Path.cwd(), force=force):
        click.echo(f"wrote {path}")
    click.echo(f"next: taskchaos check-subject {name}.py:Subject && taskchaos run --subject {name}.py:Subject")


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def proxy(arguments: tuple[str, ...]) -> None:
    """Run the embedded proxy by itself (--host, --port, --config)."""
    os.execv(sys.executable, [sys.executable, "-P", "-m", "taskchaos.faults.proxy", *arguments])


if __name__ == "__main__":
    threading.current_thread().name = "taskchaos"
    main()
