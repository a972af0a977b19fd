"""`taskchaos replay CASE --times N`: how often a case fails with the same plan, by so many new runs of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from taskchaos.harness import codec
from taskchaos.harness.errors import ExitCode, UsageError
from taskchaos.harness.files import read_file
from taskchaos.harness.judge.intervals import Interval, wilson
from taskchaos.harness.record.layout import replay_command
from taskchaos.harness.record.result import CaseResult
from taskchaos.harness.record.verdict import Outcome, Rule
from taskchaos.harness.report.atomic_write import replace_text
from taskchaos.harness.run import folder as run
from taskchaos.harness.run import ongoing
from taskchaos.harness.run.ending import ended_by_signals
from taskchaos.harness.run.replay import Replay, plan_replay
from taskchaos.harness.run.tries import TRIES, Tries, result_of
from taskchaos.harness.workload import LoadModel

#: What is written of a series beside its runs.
SERIES = "times.json"
#: A day of short cases.
MOST_TIMES = 10_000
#: Runs at once, of cases that may run side by side.
USUAL_PARALLEL = 3


@dataclass(frozen=True, slots=True)
class Repeated:
    """One run of a series. place: its folder, below that of the series. outcome: unknown, too, if it has no verdict."""

    place: str
    outcome: Outcome = Outcome.UNKNOWN
    as_expected: bool = False
    failed_rules: tuple[Rule, ...] = ()
    why: str = ""

    @classmethod
    def of(cls, place: str, case: CaseResult | None) -> Repeated:
        """What a run came to."""
        if case is None:
            return cls(place, why="it has no verdict that can be read")
        outcome = Outcome.FAIL if case.assertion else Outcome.UNKNOWN if case.trouble else case.outcome
        return cls(place, outcome, case.as_expected, case.failed_rules, case.error or case.assertion)


@dataclass(frozen=True, slots=True)
class RepeatSeries:
    """What a case came to in so many runs. times: how many were asked for; those that did not end are not in `runs`."""

    case: str
    times: int
    runs: tuple[Repeated, ...] = ()
    ended: str = ""  # why before its end
    schema: int = 1

    @property
    def failed(self) -> int:
        """How many failed."""
        return sum(one.outcome is Outcome.FAIL for one in self.runs)

    @property
    def decided(self) -> int:
        """How many have a verdict."""
        return sum(one.outcome is not Outcome.UNKNOWN for one in self.runs)

    @property
    def share(self) -> Interval | None:
        """The 95 % interval of the chance to fail, from those with a verdict."""
        return wilson(self.failed, self.decided)

    @property
    def exit_code(self) -> ExitCode:
        """1 if one failed that was not to, 2 if one has no verdict or there is none, otherwise 0."""
        if any(one.outcome is not Outcome.UNKNOWN and not one.as_expected for one in self.runs):
            return ExitCode.FAIL
        return ExitCode.PASS if self.runs and self.decided == len(self.runs) else ExitCode.UNKNOWN

    def __str__(self) -> str:
        """In one line, such as `failed 7 of 20: 35 % [18 %, 57 %] (lost 6, stuck 1); 1 unknown left out`."""
        share = self.share
        text = f"failed {self.failed} of {self.decided}"
        if share is not None:
            text += f": {self.failed / self.decided:.0%} [{share.low:.0%}, {share.high:.0%}]".replace("%", " %")
        rules = Counter(rule for one in self.runs for rule in one.failed_rules)
        if rules:
            text += f" ({', '.join(f'{rule} {rules[rule]}' for rule in Rule if rule in rules)})"
        unknown = len(self.runs) - self.decided
        return text + (f"; {unknown} unknown left out" if unknown else "")


def read_series(folder: Path) -> RepeatSeries:
    """The series that a folder holds. Raises UsageError."""
    try:
        return codec.decode(RepeatSeries, json.loads(read_file(folder / SERIES)))
    except OSError as error:
        raise UsageError(f"{folder / SERIES}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{folder / SERIES}: {error}") from None


@dataclass(slots=True)
class _Repeat:
    """The series while it is made."""

    stored: Replay
    times: int
    say: Callable[[str], None]
    tries: Tries
    runs: dict[str, Repeated] = field(default_factory=dict)

    def run(self, home: Path, subject: str | None) -> None:
        outs = [home / TRIES / f"run-{number:0{len(str(self.times))}}" for number in range(1, self.times + 1)]
        for out in self.tries.run(self.stored.folder, outs, subject):
            if out is not None:
                one = Repeated.of(f"{TRIES}/{out.name}", result_of(out))
                self.runs[one.place] = one
                rules = ", ".join(one.failed_rules) or one.why
                self.say(f"{len(self.runs):>4}  {out.name}  {one.outcome}{f'  {rules}' if rules else ''}")

    def gather(self, home: Path) -> None:
        """Count those that came to a verdict just before the series was ended, too."""
        for out in sorted((home / TRIES).glob("run-*/")):
            place, case = f"{TRIES}/{out.name}", result_of(out)
            if place not in self.runs and case is not None and case.trouble is None:
                self.runs[place] = Repeated.of(place, case)

    def series(self, ended: str) -> RepeatSeries:
        return RepeatSeries(self.stored.case.id, self.times, tuple(self.runs[p] for p in sorted(self.runs)), ended)


def repeat(
    name: str,
    shipped: Path,
    times: int,
    *,
    subject: str | None,
    out: str | None,
    parallel: int | None,
    say: Callable[[str], None],
) -> int:
    """Run a stored case again so many times, say how often it failed, and return the exit code.

    name, subject, shipped: as for `plan_replay`. out: the folder of all these runs. parallel: at once; None: a few, and
    one after the other for a case that measures how fast a queue is drained. Raises UsageError.
    """
    if not 1 <= times <= MOST_TIMES:
        raise UsageError(f"--times {times}: has to be from 1 to {MOST_TIMES:,}")
    stored = plan_replay(name, shipped, subject, out)
    options = run.reserve(stored.options)
    home = options.folder
    try:
        (home / TRIES).mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"--out {home}: {error.strerror}") from error
    ongoing.hold(home)
    alone = stored.case.workload.model is LoadModel.PREFILL
    work = _Repeat(stored, times, say, Tries(parallel or (1 if alone else USUAL_PARALLEL)))
    for note in stored.notes:
        say(note)
    ended = ""
    with ended_by_signals():
        try:
            work.run(home, subject)
        except KeyboardInterrupt:
            ended = "interrupted"
        finally:
            work.tries.end()
    if ended:
        work.gather(home)
    series = work.series(ended)
    say("")
    say(f"{series.case}: {series}{f'; {ended} after {len(series.runs)} of {times}' if ended else ''}")
    for one in [one for one in series.runs if one.outcome is Outcome.FAIL][:1]:
        say(f"First failure: {home / one.place}; again: {replay_command(home / one.place, series.case)}")
    _write(home, series)
    return int(ExitCode.INTERRUPTED if ended else series.exit_code)


def _write(home: Path, series: RepeatSeries) -> None:
    """Raises TaskchaosError."""
    share = series.share
    record = {**codec.encode(series), "failed": series.failed, "decided": series.decided}
    record["interval"] = [share.low, share.high] if share else None
    replace_text(home / SERIES, json.dumps(record, indent=1) + "\n")
