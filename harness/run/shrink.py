"""`taskchaos shrink`: the smallest schedule with which a stored case still fails the same rule.

Each candidate is a run folder with a plan, and each try of it a `taskchaos replay` of that plan: nothing is run here
that a person could not run again.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from taskchaos.faults.schedule import Schedule
from taskchaos.faults.shrink import smallest
from taskchaos.harness import codec
from taskchaos.harness.case.plan import Case
from taskchaos.harness.errors import ExitCode, StackError, UsageError
from taskchaos.harness.files import read_file
from taskchaos.harness.judge.judge import VERDICT
from taskchaos.harness.record.layout import CASES, replay_command
from taskchaos.harness.record.result import CaseResult
from taskchaos.harness.record.verdict import Outcome, Rule
from taskchaos.harness.report.phrases import plural
from taskchaos.harness.run import folder as run
from taskchaos.harness.run import ongoing
from taskchaos.harness.run.ending import ended_by_signals
from taskchaos.harness.run.folder import RunOptions
from taskchaos.harness.run.replay import plan_replay
from taskchaos.harness.run.tries import TRIES, Tries, result_of
from taskchaos.harness.workload import LoadModel

#: What is written of a search beside the run of its smallest plan.
SHRINK = "shrink.json"
#: The load goes on for so long after the last heal that the plan has.
TAIL_S = 0.5
MOST_RUNS = 1000


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a search may take. A candidate is kept if `fails` of `runs` tries fail; parallel: tries at once."""

    runs: int = 3
    fails: int = 2
    minutes: float = 10.0
    most_runs: int = 200
    parallel: int = 3

    def check(self) -> None:
        """Raises UsageError for what cannot be kept to."""
        if not 1 <= self.fails <= self.runs:
            raise UsageError(f"--fails {self.fails}: has to be from 1 to the number of --runs, {self.runs}")
        if not self.runs <= self.most_runs <= MOST_RUNS:
            raise UsageError(f"--most-runs {self.most_runs}: has to be from {self.runs} (--runs) to {MOST_RUNS}")
        if not 0 < self.minutes < math.inf:
            raise UsageError(f"--minutes {self.minutes:g}: has to be above 0")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A plan that was tried. `failed` of `runs` that came to a verdict failed the rule; place: a run that did."""

    number: int
    schedule: Schedule
    runs: int
    failed: int
    kept: bool
    place: str = ""


class BoundReached(Exception):
    """The search ends before its end; the message says why."""


#: Runs a plan so many times, until it is clear whether enough fail: the folders of those that failed, and the runs.
Trial = Callable[[int, Schedule], tuple[list[Path], int]]
#: Shows a line.
Show = Callable[[str], None]


@dataclass(slots=True)
class Search:
    """Asks for each schedule whether it fails often enough, tells what came of it, and knows the best so far."""

    trial: Trial
    bounds: Bounds
    say: Show
    clock: Callable[[], float] = time.monotonic
    candidates: list[Candidate] = field(default_factory=list)
    ends_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.ends_s = self.clock() + 60 * self.bounds.minutes

    @property
    def best(self) -> Candidate | None:
        """The last one that was kept: each is smaller than those before."""
        return next((candidate for candidate in reversed(self.candidates) if candidate.kept), None)

    def fails(self, schedule: Schedule) -> bool:
        """Whether it fails often enough. Raises BoundReached when no further try is allowed."""
        if sum(candidate.runs for candidate in self.candidates) + self.bounds.runs > self.bounds.most_runs:
            raise BoundReached(f"{self.bounds.most_runs} runs are used up")
        if self.clock() > self.ends_s:
            raise BoundReached("the time is up")
        number = len(self.candidates) + 1
        places, runs = self.trial(number, schedule)
        kept = len(places) >= self.bounds.fails
        place = str(places[0]) if places else ""
        self.candidates.append(Candidate(number, schedule, runs, len(places), kept, place))
        word = "kept" if kept else "dropped"
        self.say(f"{number:>4}  {_size(schedule):<24}  failed {len(places)} of {runs}  {word}")
        return kept


def _size(schedule: Schedule) -> str:
    return f"{plural(len(schedule.faults), 'fault')}, {schedule.length_s:.1f} s"


def shrink(name: str, rule: str | None, out: str | None, bounds: Bounds, suites: Path, say: Show) -> int:
    """Find the smallest plan of a stored case that still fails; write it down; return the exit code.

    name: as for `replay`. rule: which one has to fail; None: the first that the case failed. suites: where those that
    ship are. Raises UsageError for what cannot be shrunk.
    """
    bounds.check()
    stored = plan_replay(name, suites.parent, out=out)
    wanted = _rule(stored.folder, stored.case, rule)
    test = stored.test if Path(stored.case.nodeid).is_absolute() else stored.case.nodeid
    # Each try takes its files from where they are now, and keeps them.
    case = replace(stored.case, subject=stored.options.subjects[0], nodeid=test, sources=())
    options = run.reserve(replace(stored.options, replay=None))
    home = options.folder
    home.mkdir(parents=True, exist_ok=True)
    ongoing.hold(home)
    for note in stored.notes:
        say(note)
    say(f"{case.id}: {_size(case.schedule)}; a plan is kept if {bounds.fails} of {bounds.runs} runs fail {wanted}")
    trials = _Trials(home, options, case, wanted, bounds, Tries(bounds.parallel))
    search = Search(trials.run, bounds, say)
    trials.ends_s = search.ends_s
    why, interrupted = "", False
    with ended_by_signals():
        try:
            if search.fails(case.schedule):
                smallest(case.schedule, search.fails)
        except BoundReached as bound:
            why = f"{bound}: there may be a smaller one"
        except KeyboardInterrupt:
            why, interrupted = "interrupted: there may be a smaller one", True
        finally:
            trials.tries.end()
    code = _conclude(home, case, wanted, search, why, say)
    return int(ExitCode.INTERRUPTED) if interrupted else code


def _rule(folder: Path, case: Case, given: str | None) -> Rule:
    """The rule that has to fail. Raises UsageError unless the stored case failed it."""
    try:
        result = codec.decode(CaseResult, json.loads(read_file(folder / VERDICT)))
    except OSError:
        raise UsageError(f"{case.id} has no verdict: run it again") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{folder / VERDICT}: {error}") from None
    if result.outcome is not Outcome.FAIL or not result.failed_rules:
        raise UsageError(f"{case.id} came to {result.outcome}: only a case that fails can be shrunk")
    if not case.schedule.faults:
        raise UsageError(f"{case.id} has no fault: there is nothing to leave out")
    failed = {found.value: found for found in result.failed_rules}
    if given and given not in failed:
        raise UsageError(f"--rule {given}: {case.id} failed {', '.join(failed)}")
    return failed[given] if given else result.failed_rules[0]


@dataclass(slots=True)
class _Trials:
    """Runs candidates until it is clear whether enough of their runs fail."""

    home: Path
    options: RunOptions
    case: Case
    rule: Rule
    bounds: Bounds
    tries: Tries
    ends_s: float = math.inf

    def run(self, number: int, schedule: Schedule) -> tuple[list[Path], int]:
        """Try a schedule until it is clear whether it fails often enough. Raises StackError if no try has a verdict."""
        place = self.home / TRIES / f"{number:03}"
        plan = self._plan(place, schedule)
        failed: list[Path] = []
        passed = none = 0
        for out in self.tries.run(plan, [place / f"run-{n}" for n in range(1, self.bounds.runs + 1)]):
            if out is not None:
                match self._failed(out):
                    case True:
                        failed.append(out)
                    case False:
                        passed += 1
                    case None:
                        none += 1
            if not len(failed) < self.bounds.fails <= self.bounds.runs - passed - none:
                break
            if time.monotonic() > self.ends_s:
                self.tries.end()
                raise BoundReached("the time is up")
        self.tries.end()
        if not failed and not passed:
            raise StackError(f"no run of {place} came to a verdict: see {place}/run-1.log")
        return failed, len(failed) + passed + none

    def _plan(self, place: Path, schedule: Schedule) -> Path:
        """Write a candidate's plan into a run folder of its own: the folder of the case."""
        run.create_run(replace(self.options, out=str(place)))
        workload = self.case.workload
        if workload.model is LoadModel.OPEN and schedule != self.case.schedule:
            workload = workload.lasting(min(workload.fault_s, round(schedule.length_s + TAIL_S, 3)))
        folder = place / CASES / self.case.id
        replace(self.case, schedule=schedule, workload=workload).save(folder)
        return folder

    def _failed(self, out: Path) -> bool | None:
        """Whether a run failed the rule; None if it came to no verdict."""
        case = result_of(out)
        if case is None or case.trouble or case.outcome is Outcome.UNKNOWN:
            return None
        return self.rule in case.failed_rules


def _conclude(home: Path, case: Case, rule: Rule, search: Search, why: str, say: Show) -> int:
    """Put the run of the smallest plan into the run folder, and say what it is."""
    best = search.best
    record = {"case": case.id, "rule": rule.value, "ended": why, "tries": codec.encode(search.candidates)}
    (home / SHRINK).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if best is None:
        tried = search.candidates[-1] if search.candidates else None
        came = f"failed {rule} in {tried.failed} of {tried.runs} runs" if tried else "was not tried to an end"
        say(f"the stored plan {came}, so there is nothing to go by: more --runs, fewer --fails, or more --minutes")
        return int(ExitCode.UNKNOWN)
    shutil.copytree(best.place, home, symlinks=True, dirs_exist_ok=True, ignore=_special)
    say("")
    say(f"{_size(best.schedule)} of {_size(case.schedule)}, failed {rule} in {best.failed} of {best.runs} runs")
    for fault in best.schedule.faults:
        parameters = "".join(f" {name}={value}" for name, value in fault.parameters.items())
        say(f"  {fault.kind} on {fault.target} at {fault.at_s:g} s for {fault.hold_s:g} s{parameters}")
    if why:
        say(why)
    say(f"Again:   {replay_command(home, case.id)}")
    return int(ExitCode.PASS)


def _special(folder: str, names: list[str]) -> list[str]:
    """What cannot be copied: sockets and pipes that a stack left."""
    paths = ((name, os.path.join(folder, name)) for name in names)
    return [n for n, path in paths if not (os.path.isfile(path) or os.path.isdir(path) or os.path.islink(path))]
