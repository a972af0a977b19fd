"""What `taskchaos run` and `replay` do: pytest in a guarded child, its events on the terminal, an honest exit code."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskchaos.harness.errors import ExitCode, StackError, TaskchaosError, UsageError, complain
from taskchaos.harness.record import events
from taskchaos.harness.record.layout import EVENTS, TEMPORARY
from taskchaos.harness.record.manifest import seal_run
from taskchaos.harness.record.result import RunResult
from taskchaos.harness.report import NotWrittenError, write_all
from taskchaos.harness.report.ansi import Paint
from taskchaos.harness.report.run import collect
from taskchaos.harness.run import folder as run
from taskchaos.harness.run import ongoing
from taskchaos.harness.run.folder import RunOptions
from taskchaos.harness.run.guard import ChildEnd, Say, guarded
from taskchaos.harness.run.watch import RunWatch
from taskchaos.harness.subject_calls import watch_calls
from taskchaos.harness.verbosity import Verbosity

if TYPE_CHECKING:
    from taskchaos.harness.pytest.record import SessionRecord

#: pytest's exit code for a command line that it cannot use, and for a selection that is empty.
_PYTEST_USAGE, _PYTEST_NOTHING = 4, 5


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be run: the options of the run, and what pytest is to collect.

    notes: what the user has to know before, a part of the run's record. settings: which of the options nobody gave.
    """

    options: RunOptions
    arguments: tuple[str, ...]
    suites: Path
    notes: tuple[str, ...] = ()
    settings: str = ""


def run_cases(ask: Callable[[], Asked], *, verbosity: Verbosity) -> int:
    """Run what is asked for and return the run's exit code. `ask` runs in the child: it loads the subjects' code."""
    watches: list[RunWatch] = []
    # The guard has the user's signals while the child runs, and gives them back to this: the reports are still to come.
    early: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: early.append(number))

    def heard(message: dict[str, Any]) -> None:
        if message.get("settings"):
            with contextlib.suppress(OSError):  # the view that follows meets it too, and says so
                sys.stdout.write(f"{Paint.on(sys.stdout).safe(message['settings'])}\n")
                sys.stdout.flush()
        if "folder" in message:
            ongoing.hold(Path(message["folder"]))  # until the reports are written
            watches.append(RunWatch(Path(message["folder"]) / EVENTS, verbosity=verbosity))
            watches[-1].start()

    if early:
        raise KeyboardInterrupt
    outcome = guarded(partial(_work, ask), heard)
    for watch in watches:
        watch.stop()
    if not watches:
        raise _never_began(outcome)
    return _conclude(Path(outcome.said["folder"]), outcome, watches[-1])


def _work(ask: Callable[[], Asked], say: Say) -> None:
    """In the child: open the run, have pytest run it, say how far that came."""
    import pytest

    from taskchaos.harness.pytest.keys import FOR_TEST_WORKERS

    watch_calls(lambda what: say(in_hand=what))
    asked = ask()
    options = run.reserve(asked.options)
    log = run.open_run(options)
    for note in asked.notes:
        events.append(log, events.Problem(text=note))
    try:
        (options.folder / "logs").mkdir(exist_ok=True)
    except OSError as error:
        raise StackError(f"{options.folder} cannot be written: {error.strerror}") from error
    say(settings=asked.settings)
    say(folder=str(options.folder))
    given = _Given(options)
    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        del os.environ[name]  # what the user wants of tests of their own
    if options.parallel > 1:
        # Test workers would look into the working directory first, where a project may have a celery.py of its own.
        os.environ.setdefault("PYTHONSAFEPATH", FOR_TEST_WORKERS)
    status = pytest.main(_command_line(asked, options), plugins=[given])
    record = given.record
    say(status=int(status), closed=bool(record and record.closed), troubles=record.troubles if record else [])


def _command_line(asked: Asked, options: RunOptions) -> list[str]:
    suites = asked.suites
    words = [*asked.arguments, "-c", str(suites / "pytest.ini"), f"--rootdir={suites.parent}"]
    # pytest empties the folder for its temporary files: only a new one is certain to be nobody's.
    temporary = tempfile.mkdtemp(prefix=TEMPORARY, dir=options.folder / "logs")
    words += ["-p", "no:hypothesispytest"]  # its summary imports all of hypothesis, a fifth of a small run
    words += ["-p", "no:cacheprovider", "--chaos-run", "--chaos-quiet", "-q", f"--basetemp={temporary}"]
    if options.parallel > 1:
        words += ["-n", str(options.parallel), "--dist", "load", "--maxschedchunk", "1"]
    return words


class _Given:
    """Hands the options to the pytest plugin, so that they are made and checked once, and takes its record back."""

    def __init__(self, options: RunOptions) -> None:
        self._options = options
        self._config: Any = None

    def pytest_configure(self, config: Any) -> None:
        from taskchaos.harness.pytest import plugin as pytest_plugin

        self._config = config
        config.stash[pytest_plugin._options_key] = self._options

    @property
    def record(self) -> SessionRecord | None:
        """What the plugin wrote of the run, and could not write down."""
        from taskchaos.harness.pytest import plugin as pytest_plugin

        return self._config.stash.get(pytest_plugin._record_key, None) if self._config else None


def _never_began(outcome: ChildEnd) -> TaskchaosError:
    """Why there is not even a run folder."""
    if outcome.interrupted:
        return _Ended("interrupted", ExitCode.INTERRUPTED)
    if "error" in outcome.said:
        return _Ended(outcome.said["error"], ExitCode(outcome.said["code"]))
    if what := outcome.said.get("in_hand"):
        return UsageError(f"{what} has ended the process of the run, which {outcome.how}")
    return StackError(f"the run {outcome.how} before it began: the code of a subject or of a suite ends its process")


class _Ended(TaskchaosError):
    """An error of the child, with its exit code."""

    def __init__(self, text: str, code: ExitCode) -> None:
        super().__init__(text)
        self.exit_code = code


def _conclude(folder: Path, outcome: ChildEnd, watch: RunWatch) -> int:
    """Close the record if the child could not, write the reports, print the summary, return the exit code."""
    troubles = list(outcome.said.get("troubles", ()))
    try:
        if not outcome.said.get("closed"):
            _close(folder, outcome)
        elif outcome.interrupted:
            events.append(folder / EVENTS, replace(_ended(folder), interrupted=True))
    except (TaskchaosError, OSError) as error:
        troubles.append(str(error))
    result = _result(folder, troubles)
    if not result.interrupted:
        _refuse(folder, result, outcome.said.get("status"))
    report: Path | None = folder / "report.html"
    run.link_latest(folder)
    try:
        result = write_all(folder)
    except NotWrittenError as error:
        result, report = error.result, None
        troubles.append(str(error))
    except (TaskchaosError, OSError) as error:
        troubles.append(str(error))
        report = None
    watch.summary(result, report)
    for trouble in dict.fromkeys(troubles):
        complain(trouble)
    if troubles and result.exit_code != ExitCode.FAIL:
        return int(ExitCode.STACK)
    return int(result.exit_code)


def _close(folder: Path, outcome: ChildEnd) -> None:
    """End the record of a run whose process ended before it could."""
    if "trace" in outcome.said:
        with contextlib.suppress(OSError):
            (folder / "logs" / "harness.log").write_text(outcome.said["trace"], encoding="utf-8", errors="replace")
    if not outcome.interrupted:
        why = outcome.said.get("error") or f"the run {outcome.how} before it was done"
        if "status" in outcome.said:
            why = (
                "pytest failed internally, before it could close the run: see logs/pytest.log, or what is printed above"
            )
        if what := outcome.said.get("in_hand"):
            why = f"{what} has ended the process of the run, which {outcome.how}"
        events.append(folder / EVENTS, events.Problem(text=why, stack=not what, doubt=bool(what)))
    ended = _ended(folder)
    if outcome.interrupted or not ended.wall_s:
        events.append(folder / EVENTS, replace(ended, interrupted=outcome.interrupted))
    seal_run(folder)


def _ended(folder: Path) -> events.RunEnded:
    """The end that the record has; otherwise the end as of its last event."""
    found = list(events.read(folder / EVENTS))
    for event in reversed(found):
        if isinstance(event, events.RunEnded):
            return event
    times = [event.at_ns for event in found if event.at_ns]
    return events.RunEnded(wall_s=round((max(times) - min(times)) / 1e9, 2) if times else 0.0)


def _result(folder: Path, troubles: list[str]) -> RunResult:
    try:
        return collect(events.read(folder / EVENTS))
    except OSError as error:
        troubles.append(f"{folder / EVENTS} cannot be read: {error.strerror}")
        return collect(())


def _refuse(folder: Path, result: RunResult, status: int | None) -> None:
    """Raise UsageError, with the run folder removed, when nothing was run because of what was given."""
    why = ""
    if result.exit_code == ExitCode.USAGE:
        broken = [f"{test.test} cannot be collected: {test.reason}" for test in result.failed_tests]
        why = next(iter([*_usage_problems(folder), *broken]), "")
    started = any(case.wall_s or case.rules for case in result.cases)
    if status == _PYTEST_USAGE and not started:
        why = why or _last_words(folder) or "pytest could not use these arguments"
    if status == _PYTEST_NOTHING and not started and not run.others_run_all(folder) and not result.left_out:
        why = why or "no case matches: widen -k, take a deeper --profile, or name other suites"
    if why:
        run.discard(folder)
        raise UsageError(why)


def _usage_problems(folder: Path) -> Sequence[str]:
    return [e.text for e in events.read(folder / EVENTS) if isinstance(e, events.Problem) and e.usage]


def _last_words(folder: Path) -> str:
    """The last error line of pytest's own output."""
    try:
        lines = (folder / "logs" / "pytest.log").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    errors = [line for line in lines if line.startswith(("ERROR:", "E  ", "UsageError"))]
    return errors[-1].removeprefix("ERROR:").removeprefix("E ").strip() if errors else ""
