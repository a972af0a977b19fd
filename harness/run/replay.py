"""Work on stored runs: judge them again, find a case in them, run it again. To judge, no subject is imported."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
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
from taskchaos.harness.run.archive import is_archive, the_run_in, unpacked
from taskchaos.harness.run.folder import RunOptions
from taskchaos.harness.run.relocate import Relocated, StoredFiles
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


def find_run(name: str) -> Path:
    """A stored run: its folder, a .zip, `latest`, or the name of one of the working directory's runs.

    What is none of these is the path as it was given, for whoever reads it to complain about.
    """
    place = Path(name)
    if name == LATEST and not (place / PLAN).exists():
        return run.latest()
    named = HOME / RUNS / name
    return named if not place.exists() and named.is_dir() else place


@contextlib.contextmanager
def opened_case(name: str) -> Iterator[str]:
    """The name of a case, for `find_case`; if it is in a .zip, RUN.zip/ID or RUN.zip, while that is unpacked."""
    place = Path(name)
    archive, case = (place, "") if is_archive(place) else (place.parent, place.name)
    if not is_archive(archive) or not archive.exists():
        yield name
        return
    with unpacked([archive]) as (folder,):
        found = the_run_in(folder, archive)
        yield str(found / CASES / case) if case else str(found)


def find_case(name: str) -> tuple[Path, Case]:
    """The folder and plan of a stored case: its folder, RUN/ID, RUN if it has one case, or an ID in the latest run.

    RUN: a run folder, or the name of one of the working directory's runs. Raises UsageError.
    """
    for folder in _candidates(name):
        home = Path(os.path.realpath(folder))
        if (folder / PLAN).exists() and home.parent.name == CASES:
            case = Case.load(folder)
            for planned in (home, home.parent.parent):
                if plan_changed(planned):
                    raise UsageError(f"{planned / PLAN} was changed since the case was run: run it again")
            return home, case
    run_name, _, _ = name.rpartition("/")
    place = Path(name) if (Path(name) / CASES).is_dir() else _home_of(run_name)
    there = sorted(p.parent.name for p in (place / CASES).glob("*/plan.json"))
    some = ", ".join(there[:3]) + (f" and {len(there) - 3} more" if len(there) > 3 else "")
    known = f"; there are {some}" if there else f"; {place} holds no case"
    raise UsageError(f"no stored case {name!r}{known}")


def _home_of(run_name: str) -> Path:
    """The run folder that is called so, or the latest."""
    if run_name and (Path(run_name) / CASES).is_dir():
        return Path(run_name)
    return HOME / RUNS / run_name if run_name not in ("", LATEST) else run.latest()


def _candidates(name: str) -> Iterator[Path]:
    run_name, _, case_id = name.rpartition("/")
    yield Path(name)
    yield _home_of(run_name) / CASES / case_id
    for place in (Path(name), HOME / RUNS / name):
        cases = [path.parent for path in (place / CASES).glob(f"*/{PLAN}") if "~" not in path.parent.name]
        yield from cases if len(cases) == 1 else ()


@dataclass(frozen=True, slots=True)
class Replay:
    """A stored case to be run again. options: of the new run; test: pytest's id of it; notes: what the user has to know
    of the files that are used."""

    folder: Path
    case: Case
    options: RunOptions
    test: str
    notes: tuple[str, ...] = ()


def plan_replay(name: str, shipped: Path, subject: str | None = None, out: str | None = None) -> Replay:
    """How to run a stored case again. name: as for `find_case`; shipped: above the suites that ship; subject: a spec to
    take in place of the stored one; out: the run folder; None: a new one among the working directory's runs.

    Raises UsageError when the case, its subject or its suite cannot be found or used.
    """
    folder, case = find_case(name)
    home = folder.parent.parent
    stored = run.check_stored(home)
    files = StoredFiles(home, stored, case)
    found = Relocated(absolute_spec(subject)) if subject else files.subject()
    spec = found.place
    try:
        its_name = resolve(spec).name
    except UsageError as error:
        hint = "" if subject else "; give the subject of this case with --subject"
        raise UsageError(f"{error}{hint}") from error
    if stored.previous:
        environment.check(stored.previous, [spec_of(spec)])
    suite = files.suite(shipped)
    options = dataclasses.replace(
        stored,
        out=str(run.fresh_folder(out, case.seed)),
        subjects=(spec,),
        parallel=1,
        keyword=None,
        shard=None,
        minutes=None,
        configured=(),
        replay=str(folder),
        began_ns=now_ns(),
    )
    _, colons, test = case.nodeid.partition("::")
    if its_name != case.subject_name:  # it is a part of the test's id
        test = re.sub(rf"(?<=[\[-]){re.escape(case.subject_name)}(?=[\]-])", its_name, test)
    notes = tuple(note for note in (found.note, suite.note) if note)
    return Replay(folder, case, options, f"{suite.place}{colons}{test}", notes)
