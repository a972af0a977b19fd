"""Another Python environment of the user's, with another release in it: how our code is run there, and whether it can.

taskchaos does not have to be installed there. Both sides of a case are this taskchaos: its folder is handed over, and
nothing else of this environment.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import taskchaos.harness
from taskchaos.harness.errors import UsageError
from taskchaos.harness.stack.procfs import kill_group

#: What its interpreter does first. Arguments: the folder of taskchaos, the module to run, that module's own.
BOOT = (
    "import sys\n"
    "if sys.version_info < (3, 11): sys.exit('it is Python %d.%d, and taskchaos needs 3.11' % sys.version_info[:2])\n"
    "import os, runpy, types\n"
    # What is in the working directory is of the present release, like all that is found by it.
    "os.chdir(sys.prefix)\n"
    "sys.path[:] = [each for each in sys.path if each]\n"
    "taskchaos = sys.modules['taskchaos'] = types.ModuleType('taskchaos')\n"
    "taskchaos.__path__ = [sys.argv.pop(1)]\n"
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=False)\n"
)
#: What comes before the answer of `main`, whatever the subject's code prints.
MARK = "taskchaos: "
ANSWERS_WITHIN_S = 30.0
MOST_SAID, MOST_QUOTED = 1 << 20, 200


def command(python: str, module: str, *arguments: str) -> list[str]:
    """A module of taskchaos in that environment, as a command."""
    folder = Path(taskchaos.harness.__file__).parent.parent
    return [python, "-E", "-c", BOOT, str(folder), module, *arguments]


def check(python: str, specs: Sequence[str]) -> str:
    """The interpreter with its whole path, if Celery and these subjects can be used there. Raises UsageError."""
    path = os.path.abspath(python)
    if not python or not os.path.exists(path):
        raise UsageError(f"--previous {python}: is not there; give the interpreter of another environment")
    if os.path.isdir(path):
        raise UsageError(f"--previous {python}: is a folder; give the interpreter in it, such as bin/python")
    if os.path.realpath(os.path.dirname(os.path.dirname(path))) == os.path.realpath(sys.prefix):
        raise UsageError(f"--previous {python}: is of this environment, and what is in it is the present release")
    try:
        said = _said(command(path, __name__, *specs))
    except TimeoutError:
        raise UsageError(f"--previous {python}: has said nothing for {ANSWERS_WITHIN_S:g} s") from None
    except OSError as error:
        raise UsageError(f"--previous {python}: cannot be run: {error.strerror}") from error
    if (why := _answer(said)) is None:
        last = (said.strip().splitlines() or ["it says nothing"])[-1]
        raise UsageError(f"--previous {python}: is no Python that can be used: {last[:MOST_QUOTED]}")
    if why:
        raise UsageError(f"--previous {python}: {why}")
    return path


def _said(argv: Sequence[str]) -> str:
    """What a command prints until it ends, or until that is too much for an answer. What it has left ends with it.

    Raises TimeoutError, and OSError when it cannot be run.
    """
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    deadline_s, said = time.monotonic() + ANSWERS_WITHIN_S, b""
    with process:
        try:
            fd = process.stdout.fileno()  # type: ignore[union-attr]
            while len(said) < MOST_SAID:
                if not select.select([fd], [], [], max(0.0, deadline_s - time.monotonic()))[0]:
                    raise TimeoutError
                if not (more := os.read(fd, MOST_SAID)):
                    break
                said += more
            return said.decode(errors="replace")
        finally:
            kill_group(process.pid)


def _answer(said: str) -> str | None:
    """What `main` has said; None if it has not come to that."""
    for line in said.splitlines():
        if line.startswith(MARK):
            with contextlib.suppress(ValueError):
                if isinstance(answer := json.loads(line.removeprefix(MARK)), str):
                    return answer
    return None


def unusable(specs: Sequence[str]) -> str:
    """Why Celery or one of these subjects cannot be used in this process; "" if all can."""
    try:
        from taskchaos.harness.case.subject_loading import dry_run, resolve
        from taskchaos.harness.stack.zygote import import_celery

        import_celery()
    except ImportError as error:
        return f"lacks what a worker needs: {error}; pip install 'celery[redis]' there"
    for spec in specs:
        try:
            if problems := dry_run(resolve(spec)):
                return f"{spec}: {problems[0]}"
        except UsageError as error:
            return str(error)
    return ""


if __name__ == "__main__":
    sys.stdout.write(f"\n{MARK}{json.dumps(unusable(sys.argv[1:]))}\n")
