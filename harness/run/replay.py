"""Work on stored runs: judge them again, find a case in them, run it again. To judge, no subject is imported."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from pathlib import Path

from taskchaos.harness.case.plan import Case
from taskchaos.harness.case.subject_loading import absolute_spec, resolve
from taskchaos.harness.case.subject_names import spec_of
from taskchaos.harness.clock import now_ns
from taskchaos.harness.errors import StackError, UsageError
from taskchaos.harness.judge.judge import damaged, judge, wall_of_folder
from taskchaos.harness.record import events
from taskchaos.harness.record.layout import CASES, EVENTS, HOME, LATEST, PLAN, RUNS
from taskchaos.harness.record.manifest import inside, plan_changed
from taskchaos.harness.record.result import CaseResult
from taskchaos.harness.report import NotWrittenError, write_all
from taskchaos.harness.report.terminal import Terminal
from taskchaos.harness.run import folder as run
from taskchaos.harness.run.folder import RunOptions
from taskchaos.harness.stack import environment
from taskchaos.harness.verbosity import Verbosity


def judge_again(folder: Path, *, verbosity: Verbosity) -> int:
    """Judge every stored case with this version's checker, rewrite the run's files, return the exit code.

    What is missing or changed since the run was sealed makes its case, or the run, unknown. Raises UsageError for a
    folder that holds no run, or cannot be read or written.
    """
    folder = folder.resolve()
    run.check_stored(folder)
    terminal = Terminal(sys.stdout, verbosity=verbosity)
    try:
        stream = list(events.read(folder / EVENTS))
        for event in stream:
            if isinstance(event, events.RunStarted):
                terminal.handle(event)
        log = events.Log(folder / EVENTS)
        for result in _results(folder, stream):
            judged = events.CaseJudged(case=result.id, result=result)
            log.emit(judged)
            terminal.handle(judged)
        log.close()
    except OSError as error:
        raise UsageError(f"{folder}: {error.filename or 'a file'}: {error.strerror}") from error
    except StackError as error:
        raise UsageError(str(error)) from error
    return conclude(folder, terminal)


def conclude(folder: Path, terminal: Terminal) -> int:
    """Write the files of a run, show its summary, return the exit code. Raises NotWrittenError."""
    try:
        result = write_all(folder)
    except NotWrittenError as error:
        terminal.summary(error.result, None)
        raise
    terminal.summary(result, folder / "report.html")
    return int(result.exit_code)


def _results(folder: Path, stream: list[events.Event]) -> list[CaseResult]:
    """The new result of every case that the record or the folder has, and that had a verdict."""
    last = {e.case: e.result for e in stream if isinstance(e, events.CaseJudged)}
    # A folder with ~ holds an earlier try, kept as evidence only.
    there = {path.name for path in (folder / CASES).glob("*") if path.is_dir() and "~" not in path.name}
    places = {case: result.folder.removeprefix(f"{CASES}/") or case for case, result in last.items()}
    names = {**places, **{name: name for name in there - set(places.values())}}
    return [r for case, place in sorted(names.items()) if (r := _again(folder, place, last.get(case))) is not None]


def _again(folder: Path, place: str, last: CaseResult | None) -> CaseResult | None:
    """One case judged again; None when nothing can be said that the record does not say."""
    if last is not None and last.trouble:
        return None  # there is nothing to judge: the stored error stays
    home = folder / CASES / place
    try:
        if not inside(folder, home):
            raise UsageError(f"{place} is outside the run folder")
        case = Case.load(home)
    except UsageError as error:
        return damaged(last, str(error)) if last is not None else None
    return judge(case, home, wall_of_folder(home), tries=last.tries if last else 1)


def find_case(name: str) -> tuple[Path, Case]:
    """The folder and plan of a stored case: its folder, RUN/ID, or an ID in the latest run. Raises UsageError."""
    runs = HOME / RUNS
    run_name, _, case_id = name.rpartition("/")
    candidates = [Path(name), runs / (run_name or LATEST) / CASES / case_id]
    for folder in candidates:
        home = Path(os.path.realpath(folder))
        if (folder / PLAN).exists() and home.parent.name == CASES:
            case = Case.load(folder)
            for planned in (home, home.parent.parent):
                if plan_changed(planned):
                    raise UsageError(f"{planned / PLAN} was changed since the case was run: run it again")
            return home, case
    there = sorted(p.parent.name for p in (runs / (run_name or LATEST) / CASES).glob("*/plan.json"))
    some = ", ".join(there[:3]) + (f" and {len(there) - 3} more" if len(there) > 3 else "")
    known = f"; there are {some}" if there else f"; {runs / (run_name or LATEST)} holds no case"
    raise UsageError(f"no stored case {name!r}{known}")


def replay_options(folder: Path, case: Case, subject: str | None, out: str | None = None) -> RunOptions:
    """The options of the case's run, for a new run of this case alone. subject: a spec to take in place of the stored
    one. out: the run folder; None: a new one among the working directory's runs.

    Raises UsageError when the subject cannot be used.
    """
    stored = run.check_stored(folder.parent.parent)
    spec = absolute_spec(subject) if subject else _relocated_spec(case.subject, folder.parent.parent, stored)
    try:
        resolve(spec)
    except UsageError as error:
        hint = "" if subject else "; give the subject of this case with --subject"
        raise UsageError(f"{error}{hint}") from error
    if stored.previous:
        environment.check(stored.previous, [spec_of(spec)])
    return dataclasses.replace(
        stored,
        out=str(run.fresh_folder(out, case.seed)),
        subjects=(spec,),
        parallel=1,
        keyword=None,
        shard=None,
        minutes=None,
        replay=str(folder),
        began_ns=now_ns(),
    )


def stored_test(folder: Path, case: Case, options: RunOptions, shipped: Path) -> str:
    """The pytest id of the test that a case came from, with the subject of the options. shipped: above the suites.

    Raises UsageError when its file is not found.
    """
    suite, colons, test = case.nodeid.partition("::")
    file = shipped / suite
    if Path(suite).is_absolute():
        stored = run.check_stored(folder.parent.parent)
        file = _relocated(Path(suite), folder.parent.parent, stored)
    if not file.is_file():
        raise UsageError(f"the suite of {case.id} is not at {file} any more: put it there, or run it again")
    name = resolve(options.subjects[0]).name
    if name != case.subject_name:  # it is a part of the test's id
        test = re.sub(rf"(?<=[\[-]){re.escape(case.subject_name)}(?=[\]-])", name, test)
    return f"{file}{colons}{test}"


def _relocated_spec(spec: str, folder: Path, stored: RunOptions) -> str:
    place, _, attribute = spec.rpartition(":")
    return f"{_relocated(Path(place), folder, stored)}:{attribute}" if place.endswith(".py") else spec


def _relocated(file: Path, folder: Path, stored: RunOptions) -> Path:
    """A file as seen from the run folder, which may have been moved or copied together with it; else where it was."""
    seen = Path(os.path.normpath(folder / os.path.relpath(file, stored.out)))
    return seen if seen.is_file() else file
