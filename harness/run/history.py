"""The working directory's runs, newest first, whatever state they are in; and how often a case failed in them.

Read is what each run has written of itself (verdict.json, or else its events). A run that is broken, half written or
still going on is a row like any other.
"""

from __future__ import annotations

import datetime
import fnmatch
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from taskchaos.harness import codec
from taskchaos.harness.errors import TaskchaosError
from taskchaos.harness.files import read_file
from taskchaos.harness.record import events
from taskchaos.harness.record.layout import CASES, EVENTS, LATEST, PLAN
from taskchaos.harness.record.result import Trouble
from taskchaos.harness.record.verdict import Outcome
from taskchaos.harness.report.run import collect
from taskchaos.harness.run import ongoing
from taskchaos.harness.run.repeat import SERIES, RepeatSeries, read_series
from taskchaos.harness.run.stored import VERDICT, plan_digest, read_plan
from taskchaos.harness.run.tries import TRIES

SHRINK = "shrink.json"
#: One of these is in every folder that a run was made in.
SIGNS = (PLAN, EVENTS, VERDICT, CASES, SERIES, SHRINK, TRIES, ongoing.LOCK)


class RunState(StrEnum):
    """How far a run came."""

    ENDED = "ended"
    GOING_ON = "going on"
    CUT_OFF = "cut off"  # its process is gone, and its end is not recorded
    BROKEN = "broken"  # what it wrote of itself cannot be read
    NO_RUN = "no run"  # a folder that nothing says to be one


@dataclass(frozen=True, slots=True)
class CaseRow:
    """What is listed of a case. The fields are some of CaseResult's."""

    id: str
    outcome: Outcome
    as_expected: bool
    suite: str = ""
    subject: str = ""
    trouble: Trouble | None = None
    assertion: str = ""

    @property
    def failed(self) -> bool | None:
        """Whether it failed; None without a verdict."""
        if self.assertion:
            return True
        return None if self.trouble or self.outcome is Outcome.UNKNOWN else self.outcome is Outcome.FAIL


@dataclass(frozen=True, slots=True)
class _RunRow:
    """What is read of a verdict.json: decoding all of it would take a second for some tens of runs."""

    outcome: Outcome
    exit_code: int
    wall_s: float
    started: str = ""
    profile: str = ""
    seed: int = 0
    cases: tuple[CaseRow, ...] = ()


@dataclass(frozen=True, slots=True)
class RunRow:
    """One folder among the runs. outcome: in a word; why: of what is broken, or what a series came to."""

    name: str
    folder: Path
    state: RunState
    started_s: float
    outcome: str = ""
    wall_s: float | None = None
    cases: tuple[CaseRow, ...] = ()
    why: str = ""

    @property
    def surprises(self) -> int:
        """The cases that somebody has to look at."""
        return sum(not case.as_expected and case.trouble is not Trouble.INTERRUPTED for case in self.cases)

    @property
    def suites(self) -> tuple[str, ...]:
        """The suites of its cases."""
        return tuple(dict.fromkeys(case.suite for case in self.cases))

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects of its cases."""
        return tuple(dict.fromkeys(case.subject for case in self.cases))


def history(runs: Path) -> list[RunRow]:
    """The folders among the runs, newest first. Links, such as `latest`, are none. Raises OSError."""
    if not runs.is_dir():
        return []
    found = [path for path in runs.iterdir() if not path.is_symlink() and path.is_dir()]
    rows = [read_row(path) for path in found if not path.name.startswith(".") and path.name != LATEST]
    return sorted(rows, key=lambda row: (row.started_s, row.name), reverse=True)


def read_row(folder: Path) -> RunRow:
    """What can be said of a folder among the runs. Raises nothing: that it cannot be read is said."""
    try:
        made_s = folder.stat().st_mtime
        if not any((folder / sign).exists() for sign in SIGNS):
            return RunRow(folder.name, folder, RunState.NO_RUN, made_s, why="nothing in it is a run's")
        if (folder / SERIES).exists() or ((folder / TRIES).exists() and not (folder / EVENTS).exists()):
            return _series_row(folder, made_s)
        return _row(folder, made_s)
    except OSError as error:
        return RunRow(folder.name, folder, RunState.BROKEN, 0.0, why=f"{error.filename}: {error.strerror}")


def _row(folder: Path, made_s: float) -> RunRow:
    going_on, why = ongoing.going_on(folder), ""
    read: _RunRow | None
    try:
        read = codec.decode(_RunRow, json.loads(read_file(folder / VERDICT)))
        state = RunState.GOING_ON if going_on else RunState.ENDED
    except (OSError, ValueError, RecursionError) as error:
        if not isinstance(error, OSError):
            why = f"{VERDICT} cannot be read: {error}"
        read, state = _from_events(folder), RunState.GOING_ON if going_on else RunState.CUT_OFF
        if read is None or (why and not going_on):
            state = RunState.GOING_ON if going_on else RunState.BROKEN
            why = why or f"neither {VERDICT} nor {EVENTS} can be read"
    if read is None:
        return RunRow(folder.name, folder, state, made_s, why=why)
    word = "" if going_on else "interrupted" if read.exit_code == 130 else read.outcome.value
    cases = read.cases
    return RunRow(folder.name, folder, state, _epoch(read.started, made_s), word, read.wall_s, cases, why)


def _from_events(folder: Path) -> _RunRow | None:
    try:
        result = collect(events.read(folder / EVENTS))
    except OSError:
        return None
    if not result.started:
        return None
    cases = tuple(
        CaseRow(c.id, c.outcome, c.as_expected, c.suite, c.subject, c.trouble, c.assertion) for c in result.cases
    )
    return _RunRow(result.outcome, result.exit_code, result.wall_s, result.started, result.profile, result.seed, cases)


def _series_row(folder: Path, made_s: float) -> RunRow:
    if ongoing.going_on(folder):
        return RunRow(folder.name, folder, RunState.GOING_ON, made_s, why="tries of a plan")
    if (folder / SHRINK).exists():
        return RunRow(folder.name, folder, RunState.ENDED, made_s, why="shrink found nothing to go by")
    try:
        series = read_series(folder)
    except TaskchaosError as error:
        return RunRow(folder.name, folder, RunState.BROKEN, made_s, why=str(error))
    cases = tuple(_case_row(series, number) for number in range(len(series.runs)))
    word = "interrupted" if series.ended else {0: "pass", 1: "fail"}.get(int(series.exit_code), "unknown")
    return RunRow(folder.name, folder, RunState.ENDED, made_s, word, None, cases, f"{series.case}: {series}")


def _case_row(series: RepeatSeries, number: int) -> CaseRow:
    one = series.runs[number]
    suite, _, rest = series.case.partition(".")
    return CaseRow(series.case, one.outcome, one.as_expected, suite, rest.rpartition(".")[2])


def _epoch(started: str, otherwise_s: float) -> float:
    try:
        return datetime.datetime.fromisoformat(started).timestamp()
    except (ValueError, OverflowError, OSError):
        return otherwise_s


# --- cases -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class CaseHistory:
    """A case in the last runs that have it, newest first: whether it failed (None: no verdict), and where that was."""

    id: str
    outcomes: list[bool | None] = field(default_factory=list)
    places: list[RunRow] = field(default_factory=list)
    unexpected: int = 0

    @property
    def failed(self) -> int:
        """In how many runs it failed."""
        return sum(outcome is True for outcome in self.outcomes)

    @property
    def decided(self) -> int:
        """In how many it has a verdict."""
        return sum(outcome is not None for outcome in self.outcomes)

    @property
    def flaky(self) -> bool:
        """Whether it has passed and failed with one and the same plan. Plans that cannot be read are taken for one."""
        if not {True, False} <= set(self.outcomes):
            return False
        seen: dict[str, set[bool]] = {}
        for row, failed in zip(self.places, self.outcomes, strict=True):
            if failed is not None:
                plan = read_plan(_place(row), self.id)
                seen.setdefault(plan_digest(plan) if plan else "", set()).add(failed)
        return any(len(both) > 1 for both in seen.values())


def case_histories(rows: Sequence[RunRow], last: int, pattern: str = "") -> list[CaseHistory]:
    """Each case in the last so many runs that have it. pattern: a glob, or a part of an id; "": all."""
    found: dict[str, CaseHistory] = {}
    for row in rows:
        for case in reversed(row.cases):
            if _matches(case.id, pattern):
                seen = found.setdefault(case.id, CaseHistory(case.id))
                if len(seen.outcomes) < last:
                    seen.outcomes.append(case.failed)
                    seen.places.append(row)
                    seen.unexpected += case.failed is not None and not case.as_expected
    return sorted(found.values(), key=lambda seen: (-seen.failed, seen.id))


def _place(row: RunRow) -> Path:
    """The run folder in which a case's plan is: of a series, that of its first try."""
    tries = sorted((row.folder / TRIES).glob("run-*/plan.json")) if (row.folder / SERIES).exists() else []
    return tries[0].parent if tries else row.folder


def _matches(name: str, pattern: str) -> bool:
    if any(sign in pattern for sign in "*?["):
        return fnmatch.fnmatchcase(name, pattern)
    return pattern in name


# --- removal ---------------------------------------------------------------------------------------------------------


def _is_ours(folder: Path) -> bool:
    """Whether only a run writes such files: a folder with a plan, or with cases, may be anybody's."""
    return any((folder / sign).exists() for sign in SIGNS if sign not in (PLAN, CASES))


def to_remove(rows: Iterable[RunRow], keep: int) -> Iterator[RunRow]:
    """The runs beyond the newest `keep`, oldest last; those that go on, and folders that are no runs, are not."""
    runs = [row for row in rows if row.state is not RunState.NO_RUN and _is_ours(row.folder)]
    yield from (row for row in runs[keep:] if row.state is not RunState.GOING_ON)
