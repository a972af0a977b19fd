"""report.html: one file that needs no network, no scripts and no other file of the run.

This module turns results into what the templates print; the templates hold markup only. Cases that surprise come
first and open; expected failures of controls stand apart, so that red means "look at this".
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from taskchaos.harness.judge.story import EFFECT, FAULT, FINAL, HARNESS, PRODUCER, SUBJECT
from taskchaos.harness.record.layout import CASES, LOGS
from taskchaos.harness.record.result import (
    CaseDetail,
    CaseResult,
    Cause,
    CauseKind,
    FaultSummary,
    RunResult,
    Story,
    StoryLine,
)
from taskchaos.harness.record.verdict import Outcome, Rule, RuleResult
from taskchaos.harness.report import charts, overall
from taskchaos.harness.report.phrases import (
    MARKS,
    Assessment,
    alike,
    cause_phrase,
    cell,
    demand,
    difference,
    explain,
    figure,
    head_phrase,
    plural,
    rate,
    remark,
    samples_phrase,
    seconds,
    standing,
    surprises,
)
from taskchaos.harness.report.why import WHY

MAX_OPEN = 3  # cases that are open from the start
MAX_COLUMNS = 5  # suites side by side
STORIES_SHOWN = 24  # per surprising case
STORIES_PER_RULE = 6
STORIES_OF_CONTROLS = 2  # a control's defects are known
LINES_SHOWN = 40
STORY_BUDGET = 300_000  # characters of all stories together
_LINE_COST = 110  # characters of markup around a line
MANY_CASES, FEWER_POINTS = 60, 40  # of so many cases, those that are as expected are told in short
DOT_BUDGET = 25_000  # tasks that are drawn one by one, of all cases together, ten characters each
FEWEST_FILTERED = 8  # cases

COMPLAINING = (Outcome.FAIL, Outcome.UNKNOWN)
RULE_MARKS = {Outcome.PASS: "✓", Outcome.FAIL: "✗", Outcome.UNKNOWN: "?", Outcome.NOT_CLAIMED: "·"}
_KINDS = {
    EFFECT: "effect",
    FAULT: "fault",
    FINAL: "final",
    HARNESS: "harness",
    PRODUCER: "producer",
    SUBJECT: "subject",
}
GROUPS: Sequence[tuple[str, str, frozenset[Assessment]]] = (
    ("surprises", "Surprises", frozenset(s for s in Assessment if s.surprise)),
    ("interrupted", "Not judged: the run was interrupted", frozenset({Assessment.INTERRUPTED})),
    ("controls", "Controls that failed as they must", frozenset({Assessment.CAUGHT})),
    ("passed", "Passed as expected", frozenset({Assessment.PASSED, Assessment.TOLERATED})),
)


@dataclass(frozen=True, slots=True)
class CaseView:
    """One case as the template prints it."""

    case: CaseResult
    anchor: str
    kind: Assessment
    mark: str
    phrase: str
    sentence: str
    rules: Sequence[RuleView]
    open: bool
    brief: bool  # rules that passed by their names only
    spark: Markup
    picture: Markup
    keys: Sequence[charts.Key]
    figures: str
    caption: str
    load: str
    stories: Sequence[StoryView]
    stories_total: int
    causes: Sequence[CauseView]
    logs: Sequence[tuple[str, str]]

    @property
    def complaints(self) -> Sequence[RuleView]:
        """The rules that failed or are unknown."""
        return [one for one in self.rules if one.rule.outcome in COMPLAINING]

    @property
    def kept(self) -> Sequence[RuleView]:
        """All others, which are folded."""
        return [one for one in self.rules if one.rule.outcome not in COMPLAINING]

    @property
    def unclaimed(self) -> str:
        """The names of the rules that the subject or the case does not ask for."""
        return self._names(Outcome.NOT_CLAIMED)

    @property
    def passed(self) -> str:
        """The names of the rules that passed."""
        return self._names(Outcome.PASS)

    def _names(self, outcome: Outcome) -> str:
        return ", ".join(one.name for one in self.rules if one.rule.outcome is outcome)

    @property
    def kept_phrase(self) -> str:
        """How many these are: `16 rules passed, 9 are not claimed`."""
        passed = sum(one.rule.outcome is Outcome.PASS for one in self.kept)
        others = len(self.kept) - passed
        parts = [f"{plural(passed, 'rule')} passed"] if passed else []
        parts += [f"{others} {'is' if others == 1 else 'are'} not claimed"] if others else []
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class RuleView:
    """One rule, or several that are unknown for one reason. found: some of its findings. off: by how far."""

    name: str
    rule: RuleResult
    found: str
    remark: str
    off: str


@dataclass(frozen=True, slots=True)
class CauseView:
    """A likely cause: text with what it is about set apart; kind, title: where it is explained."""

    rule: str
    about: str
    text: str
    kind: CauseKind
    title: str


@dataclass(frozen=True, slots=True)
class StoryView:
    """One task's story, cut to what a page can hold."""

    op: int
    rules: tuple[Rule, ...]
    note: str
    lines: Sequence[StoryLine]
    left_out: int


@dataclass(frozen=True, slots=True)
class CellView:
    """One cell of the matrix. `column` names its column, for screens on which the table becomes a list."""

    column: str
    kind: Assessment | None
    text: str
    cases: Sequence[CaseView]


def render(result: RunResult, details: Mapping[str, CaseDetail]) -> str:
    """The text of report.html. Cases without a detail are shown without charts and stories."""
    views = _case_views(result, details)
    order = list(Assessment)
    worst_first = sorted(views, key=lambda view: order.index(view.kind))
    groups = [(ident, title, [v for v in worst_first if v.kind in kinds]) for ident, title, kinds in GROUPS]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        autoescape=True,
        finalize=printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        figure=figure, rate=rate, seconds=seconds, demand=demand, words=words, who=_kind_of, breakable=breakable
    )
    return environment.get_template("page.html.j2").render(
        result=result,
        word=overall.word(result),
        headline=overall.headline(result),
        sentence=overall.counts_sentence(result),
        meaning=overall.meaning(result),
        again=overall.run_again(result) if result.cases or result.selection else "",
        facts=_facts(result),
        remarks=overall.remarks(result),
        lacks=overall.incomplete_phrase(result),
        surprises=[v for case in surprises(result.cases) for v in views if v.case is case],
        matrix=_matrix(views),
        groups=[g for g in groups if g[2]],
        choices=_choices(views),
        whys=[(kind, WHY[kind]) for kind in CauseKind if any(c.kind is kind for v in views for c in v.causes)],
        rule_marks=RULE_MARKS,
        marks=MARKS,
        plural=plural,
        proven=_proven,
        healed=_healed,
    )


def printable(value: object) -> object:
    """Text without what would steer a browser's text rather than be shown: control characters, changes of direction."""
    if type(value) is not str or value.isprintable():
        return value
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in value)


def _facts(result: RunResult) -> list[tuple[str, str]]:
    facts = [
        ("Run", result.run),
        ("Started", result.started.replace("T", " ")),
        ("Took", seconds(result.wall_s)),
        ("Seed", str(result.seed)),
        ("Profile", result.profile),
        ("Stack", result.stack),
        ("Shard", str(result.shard or "")),
        ("Server", f"{result.server.name} {result.server.version}".strip()),
    ]
    facts += sorted(result.versions.items())
    return [(name, value) for name, value in facts if value]


def _case_views(result: RunResult, details: Mapping[str, CaseDetail]) -> list[CaseView]:
    anchors: set[str] = set()
    budget, dots = STORY_BUDGET, DOT_BUDGET
    opened = 0
    views: dict[str, CaseView] = {}
    # Surprises first: their stories get the space.
    for case in sorted(result.cases, key=lambda c: not standing(c).surprise):
        detail = charts.drawable(details.get(case.id, CaseDetail()))
        kind = standing(case)
        stories = _story_views(case, detail.stories, kind, budget)
        budget -= sum(_cost(story.lines) for story in stories)
        brief = not kind.surprise and len(result.cases) >= MANY_CASES
        points = FEWER_POINTS if brief else charts.MAX_POINTS
        is_open = kind.surprise and opened < MAX_OPEN
        opened += is_open
        anchor = _unique(f"case-{slug(case.id)}", anchors)
        drawn = not brief and len(detail.tasks.ops) <= dots
        dots -= len(detail.tasks.ops) if drawn else 0
        views[case.id] = CaseView(
            case=case,
            anchor=anchor,
            kind=kind,
            mark=MARKS[kind],
            phrase=_phrase(case, kind),
            sentence=explain(case),
            rules=[RuleView(n, r, samples_phrase(r), remark(case, r), difference(r)) for n, r in alike(case.rules)],
            open=is_open,
            brief=brief,
            spark=charts.spark(case, detail),
            picture=charts.picture(case, detail, f"{anchor}-shows", points=points, dots=drawn),
            keys=charts.legend(case, detail),
            figures="" if brief else charts.figures(detail),
            caption=charts.caption(detail),
            load=detail.load,
            stories=stories,
            stories_total=len(detail.stories),
            causes=[_cause_view(cause) for cause in case.causes],
            logs=_logs(case, detail.logs),
        )
    return [views[case.id] for case in result.cases]


def _logs(case: CaseResult, names: Iterable[str]) -> list[tuple[str, str]]:
    """Names and places of a case's logs, as seen from the run folder, in which the report lies."""
    if not case.folder:
        return []
    return [(name, quote(os.fsencode(f"{CASES}/{case.folder}/{LOGS}/{name}"))) for name in names]


def _choices(views: Sequence[CaseView]) -> list[tuple[str, list[str]]]:
    """What cases can be filtered by; nothing where there are few."""
    if len(views) < FEWEST_FILTERED:
        return []
    return [
        ("subject", list(dict.fromkeys(v.case.subject for v in views))),
        ("suite", list(dict.fromkeys(v.case.suite for v in views))),
        ("outcome", list(dict.fromkeys(v.kind.value for v in views))),
        ("rule", [r.value for r in Rule if any(r in v.case.failed_rules for v in views)]),
    ]


def _cause_view(cause: Cause) -> CauseView:
    about = cause_phrase(cause).removesuffix(cause.text)
    title = WHY[cause.kind].title
    return CauseView(cause.rule.value, about, cause.text, cause.kind, title)


def _phrase(case: CaseResult, kind: Assessment) -> str:
    """Outcome in the case's head line; the long reasons stand below."""
    if kind is Assessment.CAUGHT:
        return f"fail: {', '.join(case.failed_rules)} (expected)"
    return head_phrase(case)


def _proven(fault: FaultSummary) -> tuple[str, bool]:
    """How many faults of a kind were proven, and whether that is too few."""
    wanted = fault.injected - fault.unused
    parts = [f"{fault.proven} of {wanted}" if wanted or not fault.unused else ""]
    parts += ["no evidence"] if fault.proven < wanted else []
    parts += [f"{fault.unused} on a link that nothing used"] if fault.unused else []
    return ", ".join(p for p in parts if p), fault.proven < wanted


def _healed(fault: FaultSummary) -> tuple[str, bool]:
    """How many faults of a kind were verified to be healed, and whether something is wrong with that."""
    parts = [f"{fault.healed} of {fault.injected}"]
    parts += ["not verified"] if fault.healed < fault.injected else []
    parts += [f"{fault.vanished} vanished before the heal"] if fault.vanished else []
    return ", ".join(parts), len(parts) > 1


def _story_views(case: CaseResult, stories: Iterable[Story], kind: Assessment, budget: int) -> list[StoryView]:
    notes = {s.op: s.note for rule in reversed(case.rules) for s in rule.samples if s.op is not None}
    limit = STORIES_SHOWN if kind.surprise else STORIES_OF_CONTROLS
    per_rule: dict[Rule, int] = {}
    views: list[StoryView] = []
    for story in stories:
        main = story.rules[0] if story.rules else Rule.EVIDENCE
        half = LINES_SHOWN // 2
        cut = len(story.lines) > LINES_SHOWN
        lines = [*story.lines[:half], *story.lines[-half:]] if cut else story.lines
        if len(views) >= limit or per_rule.get(main, 0) >= STORIES_PER_RULE or _cost(lines) > budget:
            continue
        budget -= _cost(lines)
        per_rule[main] = per_rule.get(main, 0) + 1
        views.append(StoryView(story.op, story.rules, notes.get(story.op, ""), lines, len(story.lines) - len(lines)))
    return views


def _cost(lines: Sequence[StoryLine]) -> int:
    return 400 + sum(_LINE_COST + len(line.who) + len(line.what) for line in lines)


@dataclass(frozen=True, slots=True)
class MatrixView:
    """The table of verdicts. Its heads are (name, whether it is a control)."""

    corner: str
    columns: Sequence[tuple[str, bool]]
    rows: Sequence[tuple[tuple[str, bool], Sequence[CellView]]]


def _matrix(views: Sequence[CaseView]) -> MatrixView:
    """Subjects down and suites across, or the other way round when that many suites would not fit side by side."""
    controls = {v.case.subject for v in views if v.case.control}
    subjects = [(name, name in controls) for name in dict.fromkeys(v.case.subject for v in views)]
    suites = [(name, False) for name in dict.fromkeys(v.case.suite for v in views)]
    if len(suites) <= max(MAX_COLUMNS, len(subjects)):
        rows = [(s, [_cell(views, s[0], suite, column=suite) for suite, _ in suites]) for s in subjects]
        return MatrixView("Subject", suites, rows)
    rows = [(s, [_cell(views, subject, s[0], column=subject) for subject, _ in subjects]) for s in suites]
    return MatrixView("Suite", subjects, rows)


def _cell(views: Sequence[CaseView], subject: str, suite: str, *, column: str) -> CellView:
    group = [v for v in views if v.case.subject == subject and v.case.suite == suite]
    kind, text = cell([v.case for v in group]) if group else (None, "")
    return CellView(column, kind, text, group)


def _kind_of(who: str) -> str:
    """The style of a story line, by who says it."""
    return _KINDS.get(who, "worker")


def words(command: str) -> Markup:
    """A command that wraps between words only, never at a hyphen."""
    return Markup(" ").join(Markup("<span>{}</span>").format(printable(word)) for word in command.split(" "))


def breakable(name: str) -> Markup:
    """A name that may be wrapped behind its dots, dashes and underscores, and nowhere else."""
    parts = re.split(r"(?<=[._/-])", str(printable(name)))
    return Markup("<wbr>").join(parts)


def slug(text: str) -> str:
    """The text as a part of an HTML id."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-") or "x"


def _unique(name: str, taken: set[str]) -> str:
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name}-{number}"
    taken.add(unique)
    return unique
