"""What `taskchaos controls --run` does: each control and its twin in the control's scenario, once for each seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from taskchaos.harness.case.subject_loading import place_of
from taskchaos.harness.case.subject_names import ControlInfo, controls
from taskchaos.harness.errors import ExitCode, UsageError
from taskchaos.harness.pytest.front import Asked, run_cases
from taskchaos.harness.record import events
from taskchaos.harness.record.layout import EVENTS
from taskchaos.harness.record.result import CaseResult
from taskchaos.harness.record.verdict import Outcome
from taskchaos.harness.report.run import collect
from taskchaos.harness.run.choices import local_options
from taskchaos.harness.verbosity import Verbosity

#: In this order a run's exit code says what the whole comes to; what is proven counts most.
_WORST_FIRST = (ExitCode.INTERRUPTED, ExitCode.FAIL, ExitCode.USAGE, ExitCode.STACK, ExitCode.UNKNOWN)


@dataclass(frozen=True, slots=True)
class PairTally:
    """What came of one control and its twin. caught: with its symptom, and nothing that does not follow from it."""

    name: str
    place: str
    seeds: int
    caught: int
    passed: int

    @property
    def sound(self) -> bool:
        """Whether each seed caught the control and passed its twin."""
        return self.caught == self.passed == self.seeds > 0


def find_controls(names: Sequence[str]) -> tuple[ControlInfo, ...]:
    """The controls of these names (or of their twins'), all for none. Raises UsageError for a name that is none."""
    known = {info.name: pair for pair in controls() for info in (pair.control, pair.twin)}
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"no control {', '.join(unknown)}; `taskchaos controls` lists them")
    return tuple(dict.fromkeys(known[name] for name in names)) or controls()


def suites_of(pairs: Iterable[ControlInfo]) -> tuple[str, ...]:
    """The suites that they run in."""
    return tuple(dict.fromkeys(place_of(pair.name).partition(".")[0] for pair in pairs))


def tally(pairs: Iterable[ControlInfo], runs: Sequence[Iterable[CaseResult]]) -> tuple[PairTally, ...]:
    """What came of each pair over the runs, one for each seed."""
    found = [{case.subject: case for case in cases} for cases in runs]
    return tuple(
        PairTally(
            name=pair.name,
            place=place_of(pair.name),
            seeds=len(found),
            caught=sum(_came_to(cases.get(pair.name), Outcome.FAIL) for cases in found),
            passed=sum(_came_to(cases.get(pair.twin.name), Outcome.PASS) for cases in found),
        )
        for pair in pairs
    )


def _came_to(case: CaseResult | None, outcome: Outcome) -> bool:
    return case is not None and case.as_expected and case.outcome is outcome


def exit_code(codes: Iterable[int], tallies: Iterable[PairTally]) -> ExitCode:
    """0 only if every run passed, every control was caught each time, and every twin passed each time."""
    codes, tallies = set(codes), list(tallies)
    for code in _WORST_FIRST:
        if code in codes:
            return code
    return ExitCode.PASS if tallies and all(one.sound for one in tallies) else ExitCode.UNKNOWN


@dataclass(frozen=True, slots=True)
class SeedRun:
    """One run of those pairs that one profile decides."""

    seed: int
    profile: str
    pairs: tuple[ControlInfo, ...]
    folder: Path


def planned(pairs: Sequence[ControlInfo], seeds: int, out: Path) -> list[SeedRun]:
    """The runs that it takes: for each seed from 1 on, one for each profile that the pairs need."""
    profiles = dict.fromkeys(pair.profile for pair in pairs)
    return [
        SeedRun(seed, profile, tuple(p for p in pairs if p.profile == profile), out / f"seed-{seed}-{profile}")
        for seed in range(1, seeds + 1)
        for profile in profiles
    ]


def carry_out(runs: Iterable[SeedRun], parallel: int, suites: Path) -> tuple[list[int], list[list[CaseResult]]]:
    """The exit codes of the runs, and for each seed the results of its cases. One that is interrupted is the last.

    suites: the folder that they are in.
    """
    codes: list[int] = []
    cases: dict[int, list[CaseResult]] = {}
    for one in runs:
        codes.append(run_cases(partial(_asked, one, parallel, suites), verbosity=Verbosity.USUAL))
        cases.setdefault(one.seed, []).extend(collect(events.read(one.folder / EVENTS)).cases)
        if codes[-1] == ExitCode.INTERRUPTED:
            break
    return codes, list(cases.values())


def _asked(one: SeedRun, parallel: int, suites: Path) -> Asked:
    options = local_options(
        out=str(one.folder),
        subjects=[info.name for pair in one.pairs for info in (pair.control, pair.twin)],
        seed=one.seed,
        profile=one.profile,
        parallel=parallel,
        suites=suites_of(one.pairs),
    )
    return Asked(options, tuple(str(suites / f"test_{name}.py") for name in options.suites), suites)
