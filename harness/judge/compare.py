"""Two runs beside each other: which verdicts changed, how throughput and recovery did, which findings are new.

A pure function of what the two runs have written of themselves; nothing is judged again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from taskchaos.harness.contract import PhaseName
from taskchaos.harness.errors import ExitCode
from taskchaos.harness.judge.intervals import Interval, ratio_of_means
from taskchaos.harness.record.result import CaseDetail, CaseResult, CauseKind, RunResult
from taskchaos.harness.record.verdict import Outcome, Rule

SCHEMA = 1
#: The phases whose rates are compared, in the order of a case.
PHASES = (PhaseName.BASELINE, PhaseName.FAULT, PhaseName.HEALED)


class ChangeKind(StrEnum):
    """What became of a case, worst first."""

    REGRESSION = "regression"  # as expected before and not any more, or a rule fails that may not, and did not before
    UNDECIDED = "undecided"  # no verdict, before or now
    CHANGED = "changed"  # another verdict, neither better nor worse
    FIXED = "fixed"  # as expected, and was not before
    SAME = "same"


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run to compare. plans: by case, a digest of what was asked; sources: by case, those of the user's own files."""

    result: RunResult
    details: Mapping[str, CaseDetail] = field(default_factory=dict)
    plans: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CaseSide:
    """What a case came to in one of the runs. why: of no verdict, or of an assertion that failed after it."""

    outcome: Outcome
    as_expected: bool
    failed_rules: tuple[Rule, ...]
    recovery_s: float | None
    why: str = ""

    @property
    def decided(self) -> bool:
        """Whether there is a verdict."""
        return self.outcome is not Outcome.UNKNOWN

    @classmethod
    def of(cls, case: CaseResult) -> CaseSide:
        """One case. Without a verdict, or with a trouble, it is unknown; a failed assertion is a failure."""
        outcome = Outcome.FAIL if case.assertion else Outcome.UNKNOWN if case.trouble else case.outcome
        return cls(
            outcome, case.as_expected, case.failed_rules, case.throughput.recovery_s, case.error or case.assertion
        )


@dataclass(frozen=True, slots=True)
class RateRatio:
    """Effects per second of a phase. interval: of the ratio, from the windows of these two runs; None: too few."""

    phase: PhaseName
    before_tps: float
    after_tps: float
    ratio: float
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class CaseChange:
    """One case that both runs have. new_rules: fail now, and did not before."""

    id: str
    kind: ChangeKind
    before: CaseSide
    after: CaseSide
    new_rules: tuple[Rule, ...]
    rates: tuple[RateRatio, ...]


@dataclass(frozen=True, slots=True)
class NewFinding:
    """A rule that a subject failed, or a cause, of which it has none in the run before. cases: those that have it.

    By subject, since a control that fails as it must hides nothing of the others.
    """

    subject: str
    rule: Rule
    cause: CauseKind | None
    cases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunSide:
    """One of the two runs. doubts: why it as a whole proves nothing."""

    run: str
    started: str
    outcome: Outcome
    cases: int
    doubts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changed from the one run to the other. differences: what else was not the same, a line each."""

    before: RunSide
    after: RunSide
    differences: tuple[str, ...]
    cases: tuple[CaseChange, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    new_findings: tuple[NewFinding, ...]

    def of(self, kind: ChangeKind) -> list[CaseChange]:
        """The cases to which this happened."""
        return [case for case in self.cases if case.kind is kind]

    @property
    def exit_code(self) -> ExitCode:
        """1 on a regression; 2 when nothing could be compared, a verdict is gone, or a run is in doubt; otherwise 0."""
        if self.of(ChangeKind.REGRESSION):
            return ExitCode.FAIL
        compared = any(case.before.decided and case.after.decided for case in self.cases)
        doubted = self.before.doubts or self.after.doubts or self.undone
        return ExitCode.PASS if compared and not doubted else ExitCode.UNKNOWN

    @property
    def undone(self) -> list[CaseChange]:
        """The cases that had a verdict and have none any more: whether that hides a regression nobody knows."""
        return [case for case in self.cases if case.before.decided and not case.after.decided]


def compare(before: StoredRun, after: StoredRun) -> Comparison:
    """Compare two runs, case by case, by their ids."""
    old = {case.id: case for case in before.result.cases}
    new = {case.id: case for case in after.result.cases}
    both = [name for name in old if name in new]
    order = list(ChangeKind)
    changes = [_change(old[name], new[name], before, after) for name in both]
    return Comparison(
        _side(before.result),
        _side(after.result),
        tuple(_differences(before, after, both)),
        tuple(sorted(changes, key=lambda change: (order.index(change.kind), change.id))),
        tuple(sorted(old.keys() - new.keys())),
        tuple(sorted(new.keys() - old.keys())),
        tuple(_new_findings(before.result, after.result)),
    )


def _side(run: RunResult) -> RunSide:
    return RunSide(run.run, run.started, run.outcome, len(run.cases), run.doubts)


def _change(old: CaseResult, new: CaseResult, before: StoredRun, after: StoredRun) -> CaseChange:
    was, now = CaseSide.of(old), CaseSide.of(new)
    known = was.decided and now.decided
    fresh = tuple(rule for rule in now.failed_rules if rule not in was.failed_rules) if known else ()
    allowed = new.expected.must | new.expected.may
    if not known:
        kind = ChangeKind.UNDECIDED
    elif (was.as_expected and not now.as_expected) or any(rule not in allowed for rule in fresh):
        kind = ChangeKind.REGRESSION
    elif now.as_expected and not was.as_expected:
        kind = ChangeKind.FIXED
    else:
        same = (was.outcome, set(was.failed_rules)) == (now.outcome, set(now.failed_rules))
        kind = ChangeKind.SAME if same else ChangeKind.CHANGED
    return CaseChange(new.id, kind, was, now, fresh, tuple(_rates(old, new, before, after)))


def _rates(old: CaseResult, new: CaseResult, before: StoredRun, after: StoredRun) -> Iterator[RateRatio]:
    for phase in PHASES:
        was, now = (getattr(case.throughput, f"{phase.value}_tps") for case in (old, new))
        if was and now is not None:
            windows = [_windows(run.details.get(new.id), phase) for run in (after, before)]
            yield RateRatio(phase, was, now, now / was, ratio_of_means(*windows))


def _windows(detail: CaseDetail | None, phase: PhaseName) -> list[float]:
    """The rates of the windows that lie in a phase as a whole."""
    bands = [band for band in detail.phases if band.label == phase.value] if detail else []
    return [
        window.effects_per_s
        for band in bands
        for window in (detail.windows if detail else ())
        if band.begun_s <= window.begun_s and window.ended_s <= band.ended_s
    ]


def _new_findings(before: RunResult, after: RunResult) -> Iterator[NewFinding]:
    """What the later run found and the earlier did not in any case of the subject."""
    known = _findings(before)
    for key, cases in _findings(after).items():
        if key not in known and key[2] is not CauseKind.NOT_KNOWN:
            yield NewFinding(*key, tuple(cases))


def _findings(run: RunResult) -> dict[tuple[str, Rule, CauseKind | None], dict[str, None]]:
    found: dict[tuple[str, Rule, CauseKind | None], dict[str, None]] = {}
    for case in run.cases:
        if not case.trouble:
            for rule in case.failed_rules:
                found.setdefault((case.subject, rule, None), {})[case.id] = None
            for cause in case.causes:
                found.setdefault((case.subject, cause.rule, cause.kind), {})[case.id] = None
    return found


def _differences(before: StoredRun, after: StoredRun, both: list[str]) -> Iterator[str]:
    """Whatever else may be the reason of a change."""
    old, new = before.result, after.result
    pairs = {
        "seed": (str(old.seed), str(new.seed)),
        "profile": (old.profile, new.profile),
        "stack": (old.stack, new.stack),
        "options": (" ".join(old.chosen), " ".join(new.chosen)),
        "server": (
            f"{old.server.name} {old.server.version}".strip(),
            f"{new.server.name} {new.server.version}".strip(),
        ),
        **{name: (old.versions.get(name, ""), new.versions.get(name, "")) for name in {**old.versions, **new.versions}},
    }
    for name, (was, now) in pairs.items():
        if was != now:
            yield f"{name}: {was or 'none'} before, {now or 'none'} after"
    for what, known in (("plan", (before.plans, after.plans)), ("files", (before.sources, after.sources))):
        changed = [name for name in both if known[0].get(name) != known[1].get(name)]
        if changed:
            some = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
            yield f"{'other plans' if what == 'plan' else 'other files of the user'} of {some}"
    for when, run in (("before", old), ("after", new)):
        if run.interrupted:
            yield f"interrupted: the run {when}"
