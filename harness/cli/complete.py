"""What a shell offers for a word that is being typed. It imports nothing that takes longer than a key press.

Nothing here raises: a shell that completes a word has no place for an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from taskchaos.harness.errors import TaskchaosError
from taskchaos.harness.record.layout import CASES, HOME, LATEST, RUNS

#: What `taskchaos` is told by who completes; click makes it of the command's name.
VARIABLE = "_TASKCHAOS_COMPLETE"
#: Where each shell reads what it is told at its start.
STARTS = {
    "bash": ("~/.bashrc", f'eval "$({VARIABLE}=bash_source taskchaos)"'),
    "zsh": ("~/.zshrc", f'eval "$({VARIABLE}=zsh_source taskchaos)"'),
    "fish": ("~/.config/fish/completions/taskchaos.fish", f"{VARIABLE}=fish_source taskchaos | source"),
}

#: As click calls it.
Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _completer(names: Callable[[click.Context, str], Iterable[str]], *, files: bool = False) -> Completer:
    """Offers those of the names that begin as the word does; files: also paths, where the word can be no name."""

    def complete(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
        try:
            found = sorted(name for name in dict.fromkeys(names(context, word)) if name.startswith(word))
        except (OSError, ValueError, TaskchaosError):
            found = []
        items = [CompletionItem(_quoted(name)) for name in found if name.isprintable() and "\\" not in name]
        return items or ([CompletionItem(word, type="file")] if files else [])

    return complete


def _quoted(name: str) -> str:
    """A name as the shell wants to be given it: bash puts it into the line as it is, less one layer of backslashes."""
    if os.environ.get(VARIABLE, "").startswith("bash"):
        return re.sub(r"([^\w@%+=:,./-])", r"\\\\\1", name)
    return name


def _suites(context: click.Context, word: str) -> Iterable[str]:
    from taskchaos.harness.suite_paths import suite_names

    return suite_names()


def _scenarios(context: click.Context, word: str) -> Iterable[str]:
    """Of the suites that are named before, or of all; read without importing them."""
    from taskchaos.harness.suite_paths import suite_paths

    # While the value of an option is typed, click has not come as far as telling arguments apart.
    given = [str(name) for name in context.params.get("suites") or context.args]
    for path in suite_paths(given):
        text = Path(path.partition("::")[0]).read_text(encoding="utf-8")
        yield from re.findall(r"^def test_(\w+)\(", text, re.MULTILINE)


def _subjects(context: click.Context, word: str) -> Iterable[str]:
    from taskchaos.harness.case.subject_names import registered

    yield from (info.name for info in registered())
    yield from _controls(context, word)


def _controls(context: click.Context, word: str) -> Iterable[str]:
    from taskchaos.harness.case.subject_names import controls

    return (pair.name for pair in controls())


def _run_names() -> list[str]:
    runs = HOME / RUNS
    return [path.name for path in runs.iterdir() if path.is_dir() and not path.name.startswith(".")]


def _cases_of(run: Path) -> list[str]:
    return [path.parent.name for path in (run / CASES).glob("*/plan.json") if "~" not in path.parent.name]


def _runs(context: click.Context, word: str) -> Iterable[str]:
    return _run_names()


def _cases(context: click.Context, word: str) -> Iterable[str]:
    """Those of the latest run; those of others by RUN/ID, once the run's name is begun."""
    yield from _cases_of(HOME / RUNS / LATEST)
    if word:
        for run in _run_names():
            if run.startswith(word) or word.startswith(f"{run}/"):
                yield from (f"{run}/{case}" for case in _cases_of(HOME / RUNS / run))


def _ids(context: click.Context, word: str) -> Iterable[str]:
    return (case for run in _run_names() for case in _cases_of(HOME / RUNS / run))


def _profiles(context: click.Context, word: str) -> Iterable[str]:
    from taskchaos.harness.profile import PROFILES

    return PROFILES


def _rules(context: click.Context, word: str) -> Iterable[str]:
    from taskchaos.harness.record.verdict import Rule

    return (rule.value for rule in Rule)


def _one_of(name: str) -> Completer:
    """The members of an enum of the stack's options."""

    def names(context: click.Context, word: str) -> Iterable[str]:
        from taskchaos.harness.case import stack_options

        return (member.value for member in getattr(stack_options, name))

    return _completer(names)


SUITES = _completer(_suites, files=True)
SCENARIOS = _completer(_scenarios)
SUBJECTS = _completer(_subjects, files=True)
CONTROLS = _completer(_controls)
RUN_NAMES = _completer(_runs, files=True)
STORED_CASES = _completer(_cases, files=True)
CASE_IDS = _completer(_ids)
PROFILE_NAMES = _completer(_profiles)
RULES = _completer(_rules)
STACKS, PROXIES, POOLS, STARTS_OF_WORKERS = map(_one_of, ("StackKind", "ProxyKind", "Pool", "WorkerStart"))


@click.command()
@click.argument("shell", type=click.Choice(list(STARTS)))
def completion(shell: str) -> None:
    """Print what a shell has to be told to complete suites, subjects, runs and cases, and where to put it.

    It may be appended to that file as it is.
    """
    place, line = STARTS[shell]
    click.echo(f"# Completion of taskchaos for {shell}: put the next line into {place}\n{line}")
