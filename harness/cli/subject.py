"""Commands for who writes a subject."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import click

from taskchaos.harness.cli import complete
from taskchaos.harness.errors import ExitCode, UsageError, complain


@click.command("check-subject")
@click.argument("subject", shell_complete=complete.SUBJECTS)
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


@click.command("new-subject")
@click.argument("name")
@click.option("--force", is_flag=True, help="Overwrite files that exist.")
def new_subject(name: str, force: bool) -> None:
    """Write a template NAME.py for a subject of your own, and a test for it."""
    from taskchaos.harness.scaffold import write_template

    for path in write_template(name, Path.cwd(), force=force):
        click.echo(f"wrote {path}")
    click.echo(f"next: taskchaos check-subject {name}.py:Subject && taskchaos run --subject {name}.py:Subject")
