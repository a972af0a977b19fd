"""What many runs together say of each kind of fault: how often it was proven, what was lost, and what that bounds.

Reads what the runs have written of themselves (verdict.json, or else their events), and judges nothing again. A file
that is missing or broken is named, and what it would have said is missing from the figures.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from taskchaos.faults.base import family_of
from taskchaos.faults.schedule import FAULTS
from taskchaos.harness import codec
from taskchaos.harness.errors import UsageError
from taskchaos.harness.record import events
from taskchaos.harness.record.layout import CASES, EVENTS
from taskchaos.harness.record.result import CaseResult, FaultSummary, RunResult
from taskchaos.harness.record.verdict import Outcome, Rule
from taskchaos.harness.report import json_file
from taskchaos.harness.report.phrases import plural
from taskchaos.harness.report.run import collect

VERDICT = "verdict.json"
SCHEMA = 1
#: What makes the events of a case count: that nothing was lost is decided, and every fault of it was sound.
_DECIDING = (Rule.LOST, Rule.STUCK, Rule.FAULTS)
_LOSSES = frozenset({Rule.LOST, Rule.STUCK})
#: The name of a line that sums up others.
ALL = "all"


@dataclass(slots=True)
class FaultRecord:
    """One kind of fault against one subject; kind `all` sums up a family, family `all` a subject.

    cases: those in which it was planned, of which `unknown` are undecided: what their faults were is counted, and is no
    evidence. counted: sound faults of the cases in which nothing was lost or stuck. lost, stuck: operations, in cases
    in which it was in force, with whatever else was. unexplained: cases that failed another rule.
    """

    subject: str
    family: str
    kind: str
    cases: int = 0
    unknown: int = 0
    injected: int = 0
    proven: int = 0
    healed: int = 0
    counted: int = 0
    lost: int = 0
    stuck: int = 0
    unexplained: int = 0

    @property
    def bound(self) -> float | None:
        """At most so large is the chance of a loss per fault, with 95 % confidence; None where it says nothing."""
        if not self.counted or self.lost or self.stuck:
            return None
        return float(1 - 0.05 ** (1 / self.counted))

    def add(self, case: CaseResult, faults: Sequence[FaultSummary], *, doubted: bool) -> None:
        """Count a case in. faults: those of it that this line is about."""
        rules = {rule.rule: rule for rule in case.rules}
        passed = all(rule in rules and rules[rule].outcome is Outcome.PASS for rule in _DECIDING)
        failed = {rule for rule, result in rules.items() if result.outcome is Outcome.FAIL}
        self.cases += 1
        self.unknown += doubted or case.outcome is Outcome.UNKNOWN
        self.injected += sum(fault.injected for fault in faults)
        self.proven += sum(fault.proven for fault in faults)
        self.healed += sum(fault.healed for fault in faults)
        if passed and not doubted:
            self.counted += sum(min(fault.proven, fault.healed) for fault in faults)
        self.lost += int(rules[Rule.LOST].observed or 0) if Rule.LOST in failed else 0
        self.stuck += int(rules[Rule.STUCK].observed or 0) if Rule.STUCK in failed else 0
        self.unexplained += bool(failed - _LOSSES)


@dataclass(slots=True)
class EvidenceTable:
    """What there is to say of the runs. problems: files that could not be read, a line each."""

    runs: list[str] = field(default_factory=list)
    cases: int = 0
    problems: list[str] = field(default_factory=list)
    records: dict[tuple[str, str, str], FaultRecord] = field(default_factory=dict)

    def add(self, result: RunResult) -> None:
        """Count a run in."""
        for case in result.cases:
            self.cases += 1
            lines: dict[tuple[str, str], list[FaultSummary]] = {}
            for fault in case.faults:
                family = family_of(FAULTS[fault.kind]).value if fault.kind in FAULTS else "unknown"
                for line in ((family, fault.kind), (family, ALL), (ALL, ALL)):
                    lines.setdefault(line, []).append(fault)
            for (family, kind), faults in lines.items():
                key = (case.subject, family, kind)
                record = self.records.setdefault(key, FaultRecord(*key))
                record.add(case, faults, doubted=bool(result.doubts))

    def rows(self) -> list[FaultRecord]:
        """Every line: subject by subject, family by family, what sums up last."""
        order = {kind: place for place, kind in enumerate(FAULTS)}

        def place(record: FaultRecord) -> tuple[str, bool, str, bool, int]:
            return record.subject, record.family == ALL, record.family, record.kind == ALL, order.get(record.kind, 0)

        return sorted(self.records.values(), key=place)


def gather(places: Iterable[Path]) -> EvidenceTable:
    """Read the runs that the places are or contain. Raises UsageError for a place that holds none."""
    table = EvidenceTable()
    for folder in dict.fromkeys(found for place in places for found in _runs_in(place)):
        table.runs.append(str(folder))
        result = _read(folder, table.problems)
        if result is not None:
            table.problems += [f"{folder}: {doubt}" for doubt in result.doubts]
            table.add(result)
    return table


def _runs_in(place: Path) -> list[Path]:
    try:
        found = list(_below(place.resolve(strict=True)))
    except OSError as error:
        raise UsageError(f"{place}: {error.strerror}") from error
    if not found:
        raise UsageError(f"{place} holds no run: give run folders, or a folder that contains some")
    return found


def _below(folder: Path) -> Iterator[Path]:
    if any((folder / name).exists() for name in (VERDICT, EVENTS, CASES)):
        yield folder
    elif folder.is_dir():
        for entry in sorted(folder.iterdir()):
            if entry.is_dir() and not entry.is_symlink():  # `latest` is a link to one that is found anyway
                yield from _below(entry)


def _read(folder: Path, problems: list[str]) -> RunResult | None:
    """What a run came to; from its events if its verdict cannot be read; None if neither can."""
    try:
        return json_file.read(folder / VERDICT)
    except UsageError as error:
        problems.append(str(error))
    try:
        result = collect(events.read(folder / EVENTS))
    except OSError as error:
        problems.append(f"{folder / EVENTS} cannot be read: {error.strerror}")
        return None
    if not result.cases:
        problems.append(f"{folder / EVENTS} has no case")
    return result


def dumps(table: EvidenceTable) -> str:
    """The table as JSON; `bound` is a share, null where there is none."""
    rows = [{**codec.encode(record), "bound": record.bound} for record in table.rows()]
    whole = {"schema": SCHEMA, "runs": table.runs, "cases": table.cases, "problems": table.problems, "rows": rows}
    return json.dumps(whole, indent=1)


_COLUMNS = ("cases", "unknown", "injected", "proven", "healed", "lost", "stuck", "unexplained")


def lines(table: EvidenceTable) -> Iterator[str]:
    """The table for people."""
    rows, subject = table.rows(), None
    width = max([len("of each family"), *(len(record.kind) + 2 for record in rows)])
    yield f"{plural(table.cases, 'case')} of {plural(len(table.runs), 'run')}"
    for record in rows:
        if record.subject != subject:
            subject = record.subject
            yield ""
            yield f"{subject}"
            yield f"{'':<{width}}  {'  '.join(_COLUMNS)}  95 % bound per fault"
        name = f"  {record.kind}" if record.kind != ALL else "all" if record.family == ALL else f"{record.family}"
        figures = "  ".join(f"{getattr(record, column):>{len(column)}}" for column in _COLUMNS)
        bound = f"{100 * record.bound:.2g} % ({record.counted:,})" if record.bound is not None else "-"
        yield f"{name:<{width}}  {figures}  {bound}"
    for problem in table.problems:
        yield f"! {problem}"
