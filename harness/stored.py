"""Work on stored runs: judge them again, find a case in them, run it again."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from harness import events, run
from harness.case import Case
from harness.clock import now_ns
from harness.errors import UsageError
from harness.history_io import EVENTS
from harness.judge import judge, wall_of_folder
from harness.report import write_all
from harness.report.terminal import Terminal
from harness.result import CaseResult
from harness.run import RunOptions
from harness.subject import resolve


def judge_again(folder: Path, *, verbose: bool) -> int:
    """Judge every stored case with this version's checker, rewrite the run's files, return the exit code."""
    run.check_stored(folder)
    folder = folder.resolve()
    # A folder with ~ holds an earlier try, kept as evidence only.
    cases = sorted(p.parent for p in (folder / run.CASES).glob("*/plan.json") if "~" not in p.parent.name)
    terminal = Terminal(sys.stdout, verbose=verbose)
    for event in events.read(folder / EVENTS):
        if isinstance(event, events.RunStarted):
            terminal.handle(event)
    stream = events.Log(folder / EVENTS)
    for place in cases:
        case = Case.load(place)
        last = _last_result(folder, case)
        if last and last.error:
            continue  # there is nothing to judge: the stored error stays
        tries = last.tries if last else 1
        result = judge(case, resolve(case.subject).contract, place, wall_of_folder(place), tries=tries)
        event = events.CaseJudged(case=case.id, result=result)
        stream.emit(event)
        terminal.handle(event)
    stream.close()
    result_of_run = write_all(folder)
    terminal.summary(result_of_run, folder / "report.html")
    return int(result_of_run.exit_code)


def _last_result(folder: Path, case: Case) -> CaseResult | None:
    last: CaseResult | None = None
    for event in events.read(folder / EVENTS):
        if isinstance(event, events.CaseJudged) and event.case == case.id:
            last = event.result
    return last


def find_case(name: str) -> tuple[Path, Case]:
    """The folder and plan of a stored case: its folder, RUN/ID, or an ID in the latest run. Raises UsageError."""
    runs = run.HOME / run.RUNS
    run_name, _, case_id = name.rpartition("/")
    candidates = [Path(name), runs / (run_name or run.LATEST) / run.CASES / case_id]
    for folder in candidates:
        if (folder / "plan.json").is_file() and folder.parent.name == run.CASES:
            return folder.resolve(), Case.load(folder)
    there = sorted(p.parent.name for p in (runs / (run_name or run.LATEST) / run.CASES).glob("*/plan.json"))
    some = ", ".join(there[:3]) + (f" and {len(there) - 3} more" if len(there) > 3 else "")
    known = f"; there are {some}" if there else f"; {runs / (run_name or run.LATEST)} holds no case"
    raise UsageError(f"no stored case {name!r}{known}")


def replay_options(folder: Path) -> RunOptions:
    """The options of the case's run, for a new run of this case alone."""
    stored = run.check_stored(folder.parent.parent)
    case = Case.load(folder)
    resolve(case.subject)
    return dataclasses.replace(
        stored,
        out=str(run.new_folder(case.seed)),
        subjects=(case.subject,),
        parallel=1,
        keyword=None,
        shard=None,
        replay=str(folder),
        began_ns=now_ns(),
    )
