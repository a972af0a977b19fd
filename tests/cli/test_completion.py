"""What a shell offers: every name that a command takes, in no time, and whatever the runs are called."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from cli_support import COMMAND, taskchaos
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete
from plans import plan

from taskchaos.harness.case.stack_options import Pool, ProxyKind, StackKind, WorkerStart
from taskchaos.harness.case.subject_names import controls, shipped_names
from taskchaos.harness.cli import main
from taskchaos.harness.cli.complete import STARTS, VARIABLE
from taskchaos.harness.profile import PROFILES
from taskchaos.harness.record.verdict import Rule
from taskchaos.harness.suite_paths import suite_names

CASES = ("partition.replies_lost.stock_best", "throughput.drain.mine")


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three runs, the latest with two cases, and one that no shell has an easy name for."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / ".taskchaos" / "runs"
    for name in ("20260101-000000-1", "20260102-000000-1", "my rün 'x' $(id)"):
        for case in CASES:
            plan().save(folder / name / "cases" / case)
    shutil.rmtree(folder / "20260101-000000-1" / "cases" / CASES[1])
    plan().save(folder / "20260102-000000-1" / "cases" / f"{CASES[0]}~1")
    (folder / "latest").symlink_to("20260102-000000-1")
    return folder


def offered(line: str, kind: type[ShellComplete] = ShellComplete) -> list[str]:
    """What is offered for the last word of a line, which may be empty."""
    *words, last = line.split(" ")
    found = kind(main, {}, "taskchaos", VARIABLE).get_completions(words, last)
    return [item.value if item.type == "plain" else f"<{item.type}>" for item in found]


def test_everything_that_has_names_is_completed(runs: Path) -> None:
    every = {*shipped_names(), *(pair.name for pair in controls())}
    wanted: dict[str, set[str]] = {
        "run ": set(suite_names()),
        "run partition worker_": {"worker_kill"},
        "run -s ": every,
        "run --subject stock_b": {"stock_best"},
        "soak -s locked": {"locked_retry"},
        "run --profile ": set(PROFILES),
        "soak --profile n": {"nightly"},
        "run --stack ": {kind.value for kind in StackKind},
        "run --proxy ": {kind.value for kind in ProxyKind},
        "run --pool ": {kind.value for kind in Pool},
        "run --worker-start ": {kind.value for kind in WorkerStart},
        "run partition -k repl": {"replies_lost"},
        "controls setnx_f": {"setnx_forever"},
        "check-subject stock_b": {"stock_best"},
        "replay ": set(CASES),
        "replay part": {CASES[0]},
        "replay 20260101": {f"20260101-000000-1/{CASES[0]}"},
        "replay 20260102-000000-1/t": {f"20260102-000000-1/{CASES[1]}"},
        "shrink thr": {CASES[1]},
        "shrink x --rule dup": {Rule.DUPLICATE.value},
        "compare 2026": {"20260101-000000-1", "20260102-000000-1"},
        "compare latest lat": {"latest"},
        "judge l": {"latest"},
        "runs --case part": {CASES[0]},
        "completion ": set(STARTS),
        "comp": {"compare", "completion"},
    }
    found = {line: set(offered(line)) for line in wanted}
    assert found == wanted


def test_a_scenario_is_one_of_the_suites_that_are_named(runs: Path) -> None:
    of_one, of_all = offered("run partition -k "), offered("run -k ")
    assert "replies_lost" in of_one and set(of_one) < set(of_all)


def test_what_can_be_a_path_is_completed_as_one(runs: Path) -> None:
    for line in ("run ./te", "run -s my/sub", "judge ./x", "compare out/r", "replay out/", "merge x", "evidence x"):
        assert offered(line) in (["<file>"], ["<dir>"]), line


@pytest.mark.parametrize("broken", ["no runs", "a file", "half a run"])
def test_nothing_is_offered_where_there_is_nothing_and_nothing_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    monkeypatch.chdir(tmp_path)
    home = tmp_path / ".taskchaos"
    if broken == "a file":
        home.write_text("")
    elif broken == "half a run":
        (home / "runs" / "x" / "cases").mkdir(parents=True)
        (home / "runs" / "latest").symlink_to("gone")
    assert offered("replay ") == ["<file>"]
    assert offered("runs --case a") == []
    assert offered("run nosuch -k ") == []


@pytest.mark.parametrize("shell", STARTS)
def test_what_to_tell_each_shell(shell: str) -> None:
    done = taskchaos("completion", shell)
    assert done.code == 0
    comment, line = done.out.splitlines()
    assert comment.startswith("# ") and STARTS[shell][0] in comment and line == STARTS[shell][1]
    source = subprocess.run(
        [COMMAND], env={**os.environ, VARIABLE: f"{shell}_source"}, capture_output=True, text=True, check=True
    )
    assert VARIABLE in source.stdout and "taskchaos" in source.stdout
    assert {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}[shell].name == shell


def test_another_shell_is_one_line() -> None:
    done = taskchaos("completion", "tcsh")
    assert done.code == 4 and "'tcsh' is not one of 'bash', 'zsh', 'fish'" in done.error_line


BASH = """
cd "$1"; eval "$2"
complete -p taskchaos
COMP_WORDS=(taskchaos "${@:3}"); COMP_CWORD=$(( $# - 2 )); COMPREPLY=()
_taskchaos_completion taskchaos "${COMP_WORDS[$COMP_CWORD]}" "${COMP_WORDS[$COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def _in_bash(cwd: Path, *words: str) -> list[str]:
    line = STARTS["bash"][1]
    done = subprocess.run(
        ["bash", "--norc", "-c", BASH, "bash", str(cwd), line, *words],
        env={**os.environ, "PATH": f"{Path(COMMAND).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    registered, *found = done.stdout.splitlines()
    assert registered == "complete -o nosort -F _taskchaos_completion taskchaos", done.stderr
    return found


def test_a_real_bash_completes(runs: Path, tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    assert _in_bash(tmp_path, "run", "partit") == ["partition"]
    assert _in_bash(tmp_path, "run", "-s", "stock_b") == ["stock_best"]
    assert _in_bash(tmp_path, "replay", "") == list(CASES)
    (name,) = _in_bash(tmp_path, "compare", "my")
    back = subprocess.run(["bash", "-c", f"printf %s {name}"], capture_output=True, text=True, check=True).stdout
    assert back == "my rün 'x' $(id)", "what bash is given stands for the name, and runs nothing"


def test_nothing_slow_is_imported_to_complete(runs: Path) -> None:
    """Celery takes a third of a second, pytest a sixth: nobody waits for that at a key press."""
    code = (
        "import sys\nfrom click.shell_completion import ShellComplete\nfrom taskchaos.harness.cli import main\n"
        "lines = ('run', 'run -s', 'run -k', 'replay', 'compare', 'run --stack', 'shrink x --rule')\n"
        "for words in map(str.split, lines):\n"
        f"    assert ShellComplete(main, {{}}, 'taskchaos', {VARIABLE!r}).get_completions(words, ''), words\n"
        "slow = {'celery', 'kombu', 'redis', 'pytest', 'jinja2', 'docker', 'hypothesis', 'toxiproxy'}\n"
        "print(*sorted(slow & {name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == []


def _parameters() -> list[tuple[str, click.Parameter]]:
    groups = [("", main), *((f"{n} ", c) for n, c in main.commands.items() if isinstance(c, click.Group))]  # type: ignore[attr-defined]
    return [
        (f"{prefix}{name}", parameter)
        for prefix, group in groups
        for name, command in group.commands.items()  # type: ignore[attr-defined]
        for parameter in command.params
    ]


#: What names what a completer is for, and the parameters of commands that are called so and are something else.
NAMED = {"suites", "subject", "subjects", "profile", "stack", "case", "run", "rule"}


def test_every_parameter_that_is_called_so_is_completed() -> None:
    """A new command whose parameter is a subject, a run or a case says how it is completed."""
    lacking = [
        f"{command} {parameter.name}"
        for command, parameter in _parameters()
        if parameter.name in NAMED and parameter._custom_shell_complete is None
    ]
    assert lacking == []
