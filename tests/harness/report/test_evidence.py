"""The evidence of many runs: what is counted, what is not, and that a file that is not whole is named."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import report_samples as samples

from taskchaos.harness.errors import UsageError
from taskchaos.harness.record.events import CaseJudged, Event, to_line
from taskchaos.harness.record.result import CaseResult, FaultSummary
from taskchaos.harness.record.verdict import Outcome, Rule
from taskchaos.harness.report import json_file
from taskchaos.harness.report.evidence import ALL, EvidenceTable, FaultRecord, dumps, gather, lines
from taskchaos.harness.report.run import collect

CUTS = FaultSummary("black_hole", "worker-1", injected=2, proven=2, healed=2)
KILL = FaultSummary("kill_tree", "worker-2", injected=1, proven=1, healed=1)
GOOD = replace(next(c for c in samples.cases() if c.outcome is Outcome.PASS), subject="mine", faults=(CUTS, KILL))


def case(name: str, **outcomes: tuple[Outcome, int]) -> CaseResult:
    """The good case under another name, with some rules changed: what they come to, and their figure."""
    changed = {Rule(rule): result for rule, result in outcomes.items()}
    rules = tuple(
        replace(r, outcome=changed[r.rule][0], observed=changed[r.rule][1]) if r.rule in changed else r
        for r in GOOD.rules
    )
    worst = [r.outcome for r in rules]
    outcome = Outcome.FAIL if Outcome.FAIL in worst else Outcome.UNKNOWN if Outcome.UNKNOWN in worst else Outcome.PASS
    return replace(GOOD, id=f"soak.{name}.mine", rules=rules, outcome=outcome, as_expected=outcome is Outcome.PASS)


def write(folder: Path, cases: Sequence[CaseResult], stream: Sequence[Event] = ()) -> Path:
    """The files of a run, as far as they are read."""
    folder.mkdir(parents=True)
    found = list(stream) or samples.frame(*(CaseJudged(case=c.id, result=c) for c in cases))
    (folder / "events.jsonl").write_bytes(b"".join(map(to_line, found)))
    (folder / "verdict.json").write_text(json_file.dumps(collect(found)))
    return folder


def record(table: EvidenceTable, family: str, kind: str) -> FaultRecord:
    return table.records[("mine", family, kind)]


def test_faults_are_summed_up_by_kind_and_family(tmp_path: Path) -> None:
    write(tmp_path / "a", [case("one"), case("two")])
    write(tmp_path / "b", [case("one")])
    table = gather([tmp_path])
    assert (table.cases, len(table.runs), table.problems) == (3, 2, [])
    cuts = record(table, "network", "black_hole")
    assert (cuts.cases, cuts.injected, cuts.proven, cuts.healed, cuts.counted) == (3, 6, 6, 6, 6)
    assert cuts.bound == pytest.approx(1 - 0.05 ** (1 / 6))
    assert record(table, "process", ALL).proven == 3
    assert record(table, ALL, ALL).proven == 9


def test_59_faults_without_loss_bound_it_by_5_percent() -> None:
    assert FaultRecord("mine", "network", "reset", counted=59).bound == pytest.approx(0.05, abs=0.001)


def test_a_loss_is_told_and_bounds_nothing(tmp_path: Path) -> None:
    lost, stuck = case("lost", lost=(Outcome.FAIL, 3)), case("stuck", stuck=(Outcome.FAIL, 2))
    table = gather([write(tmp_path / "a", [case("one"), lost, stuck])])
    cuts = record(table, "network", "black_hole")
    assert (cuts.lost, cuts.stuck, cuts.counted, cuts.bound, cuts.unexplained) == (3, 2, 2, None, 0)


def test_what_fails_otherwise_is_unexplained_and_no_loss(tmp_path: Path) -> None:
    table = gather([write(tmp_path / "a", [case("one", overlap=(Outcome.FAIL, 1), zombie=(Outcome.FAIL, 1))])])
    cuts = record(table, "network", "black_hole")
    assert (cuts.unexplained, cuts.lost, cuts.counted) == (1, 0, 2)


@pytest.mark.parametrize("rule", ["lost", "stuck", "faults"])
def test_the_faults_of_an_undecided_case_are_no_evidence(tmp_path: Path, rule: str) -> None:
    table = gather([write(tmp_path / "a", [case("one", **{rule: (Outcome.UNKNOWN, 0)})])])
    cuts = record(table, "network", "black_hole")
    assert (cuts.unknown, cuts.proven, cuts.counted, cuts.bound) == (1, 2, 0, None)


def test_a_run_that_proves_nothing_is_named_and_no_evidence(tmp_path: Path) -> None:
    cut_off = samples.frame(CaseJudged(case="soak.one.mine", result=case("one")))[:-1]
    table = gather([write(tmp_path / "a", [], cut_off)])
    assert table.problems == [f"{tmp_path / 'a'}: the run was cut off: its end is not recorded"]
    assert record(table, ALL, ALL).counted == 0


@pytest.mark.parametrize("content", [None, "", '{"schema": 1, "run": "x", "ca', "[]", "null", "\0"])
def test_without_a_whole_verdict_the_events_are_read(tmp_path: Path, content: str | None) -> None:
    folder = write(tmp_path / "a", [case("one")])
    (folder / "verdict.json").unlink() if content is None else (folder / "verdict.json").write_text(content)
    table = gather([tmp_path])
    assert len(table.problems) == 1 and str(folder / "verdict.json") in table.problems[0]
    assert record(table, ALL, ALL).counted == 3


def test_a_run_without_both_is_named_and_the_others_count(tmp_path: Path) -> None:
    write(tmp_path / "a", [case("one")])
    broken = write(tmp_path / "b", [case("two")])
    (broken / "verdict.json").write_text("{")
    (broken / "events.jsonl").unlink()
    table = gather([tmp_path])
    assert table.cases == 1
    assert [
        str(broken / name) in problem
        for name, problem in zip(("verdict.json", "events.jsonl"), table.problems, strict=True)
    ]


def test_halved_events_without_a_verdict_count_as_far_as_they_go(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", [case("one"), case("two")])
    (folder / "verdict.json").unlink()
    data = (folder / "events.jsonl").read_bytes()
    (folder / "events.jsonl").write_bytes(data[: len(data) * 2 // 3])
    table = gather([tmp_path])
    assert any("cut off" in problem for problem in table.problems)
    assert record(table, ALL, ALL).counted == 0, "a run that was cut off proves nothing"


def test_a_place_without_a_run_is_refused(tmp_path: Path) -> None:
    for place, message in ((tmp_path, "holds no run"), (tmp_path / "none", "No such file")):
        with pytest.raises(UsageError, match=message):
            gather([place])


def test_a_run_that_is_given_twice_counts_once(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", [case("one")])
    assert gather([folder, tmp_path, folder]).cases == 1


def test_the_table_is_for_people_and_for_programs(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", [case("one")])
    table = gather([folder])
    text = list(lines(table))
    assert text[0] == "1 case of 1 run"
    assert any(line.split()[:4] == ["black_hole", "1", "0", "2"] and line.endswith("78 % (2)") for line in text)
    data = json.loads(dumps(table))
    assert (data["schema"], data["runs"], data["cases"]) == (1, [str(folder)], 1)
    assert [row["kind"] for row in data["rows"]] == ["black_hole", "all", "kill_tree", "all", "all"]
    assert data["rows"][-1] == {
        "subject": "mine",
        "family": "all",
        "kind": "all",
        "cases": 1,
        "unknown": 0,
        "injected": 3,
        "proven": 3,
        "healed": 3,
        "counted": 3,
        "lost": 0,
        "stuck": 0,
        "unexplained": 0,
        "bound": pytest.approx(1 - 0.05 ** (1 / 3)),
    }
