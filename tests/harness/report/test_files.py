"""verdict.json, junit.xml and summary.md, as files of a run folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import report_samples as samples

from taskchaos.harness.errors import UsageError
from taskchaos.harness.record.events import CaseJudged, Problem
from taskchaos.harness.record.result import RunResult
from taskchaos.harness.record.verdict import Outcome, Throughput
from taskchaos.harness.report import json_file, junit, markdown, write_all
from taskchaos.harness.report.atomic_write import replace_text
from taskchaos.harness.report.run import collect

#: The keys that docs/reference/run-folder.md promises.
RUN_KEYS = "schema run seed stack server versions outcome exit_code wall_s cases"
CASE_KEYS = (
    "id suite subject expected outcome as_expected failed_rules rules operations faults throughput wall_s replay"
)
RULE_KEYS = "rule outcome observed reason samples"
OPERATION_KEYS = "submitted acknowledged refused unknown effects dead"
FAULT_KEYS = "kind target injected proven healed"
THROUGHPUT_KEYS = "baseline_tps fault_tps healed_tps recovery_s"


@pytest.fixture
def result() -> RunResult:
    return collect(samples.stream())


def test_verdict_json_has_the_promised_keys(result: RunResult) -> None:
    data = json.loads(json_file.dumps(result))
    assert data["schema"] == 1 and next(iter(data)) == "schema"
    assert set(RUN_KEYS.split()) <= data.keys()
    assert data["server"] == {"name": "valkey", "version": "9.0.1"}
    for case in data["cases"]:
        assert set(CASE_KEYS.split()) <= case.keys()
        assert set(OPERATION_KEYS.split()) <= case["operations"].keys()
        assert set(THROUGHPUT_KEYS.split()) <= case["throughput"].keys()
        assert all(set(RULE_KEYS.split()) <= rule.keys() for rule in case["rules"])
        assert all(set(FAULT_KEYS.split()) <= fault.keys() for fault in case["faults"])
        assert case["outcome"] in {"pass", "fail", "unknown"}


def test_verdict_json_can_be_read_back(result: RunResult, tmp_path: Path) -> None:
    path = tmp_path / "verdict.json"
    replace_text(path, json_file.dumps(result))
    assert path.read_bytes().endswith(b"}\n")
    assert json_file.read(path) == samples.as_shown(result)
    assert json_file.dumps(result) == path.read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_not_finite_becomes_null(result: RunResult) -> None:
    odd = replace(result.cases[0], throughput=Throughput(float("nan"), float("inf"), 1.0))
    data = json.loads(json_file.dumps(replace(result, cases=(odd,))))
    assert data["cases"][0]["throughput"]["baseline_tps"] is None
    assert data["cases"][0]["throughput"]["fault_tps"] is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": 2}', "has schema 2; this taskchaos reads up to 1"),
        ("{", "is no verdict.json"),
        ("[]", "wanted an object"),
        ('{"schema": 1}', "run: missing"),
    ],
)
def test_a_bad_verdict_json_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "verdict.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        json_file.read(path)
    with pytest.raises(UsageError, match="cannot be read"):
        json_file.read(tmp_path / "none.json")


def test_junit_counts_only_surprises(result: RunResult) -> None:
    root = ET.fromstring(junit.dumps(result).encode())
    assert root.tag == "testsuites"
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("15", "4", "4")
    assert [(s.get("name"), s.get("tests"), s.get("failures"), s.get("errors")) for s in root] == [
        ("worker_kill", "4", "1", "0"),
        ("partition", "4", "2", "2"),
        ("redis_restart", "2", "0", "1"),
        ("throughput", "4", "1", "1"),
        ("taskchaos", "1", "0", "0"),
    ]
    by_name = {f"{c.get('classname')}.{c.get('name')}": c for c in root.iter("testcase")}
    assert set(by_name) == {*(c.id for c in result.cases), "taskchaos.run"}
    failure = by_name["worker_kill.tree.stock_best"].find("failure")
    assert failure is not None and failure.get("type") == "lost,duplicate"
    assert "again: taskchaos replay worker_kill.tree.stock_best --seed 7" in (failure.text or "")
    missed = by_name["partition.black_hole.interview_inside"].find("failure")
    assert missed is not None and missed.get("type") == "control_passed"
    types = {n: e.get("type") for n, c in by_name.items() if (e := c.find("error")) is not None}
    assert types == {
        "partition.black_hole.locked_retry": "unknown",
        "redis_restart.lost_tail.locked_retry": "stack",
        "partition.refused.my_queue": "subject",
        "throughput.burst.my_queue": "suite",
    }
    asserted = by_name["throughput.plain.my_queue"].find("failure")
    assert asserted is not None and asserted.get("type") == "assertion"
    caught = by_name["worker_kill.tree.interview_inside"]
    assert [e.tag for e in caught] == ["properties", "system-out"]


def test_junit_has_properties_of_each_case(result: RunResult) -> None:
    root = ET.fromstring(junit.dumps(result).encode())
    case = next(root.iter("testcase"))
    properties = {p.get("name"): p.get("value") for p in case.iter("property")}
    assert properties == {
        "seed": "7",
        "subject": "locked_retry",
        "outcome": "pass",
        "expected": "pass",
        "replay": "taskchaos replay worker_kill.tree.locked_retry --seed 7",
        "baseline_tps": "99.8",
        "fault_tps": "61.3",
        "healed_tps": "99.4",
        "recovery_s": "1.25",
        "target_tps": "100.0",
        "submitted": "1500",
        "acknowledged": "1496",
        "effects": "1499",
        "dead": "0",
    }


def test_junit_of_a_run_that_is_not_green_is_not_green() -> None:
    usage = collect([Problem(text="no such subject", usage=True)])
    root = ET.fromstring(junit.dumps(usage).encode())
    assert root.get("errors") == "1"
    assert next(root.iter("error")).get("message") == "no such subject"
    assert junit.dumps(replace(usage, problems=(), doubts=())).count("exit code 4: what was given cannot be used") == 1


def test_junit_holds_only_characters_that_xml_allows(result: RunResult) -> None:
    odd = replace(result.cases[6], error="bell \x07 and \ud800 <&>", subject="\x00")
    root = ET.fromstring(junit.dumps(replace(result, cases=(odd,))).encode())
    error = next(root.iter("error"))
    assert "bell ? and ? <&>" in (error.get("message") or "")


def test_markdown_equals_the_snapshot(result: RunResult, snapshot: Callable[[str, str], None]) -> None:
    snapshot("summary.md", markdown.dumps(result))


def test_markdown_shows_hostile_text_literally(result: RunResult) -> None:
    odd = replace(result.cases[6], subject="a|b`c` <img src=x> **b**\n# h", error="![x](y) | z")
    text = markdown.dumps(replace(result, cases=(odd,)))
    assert r"a\|b\`c\` \<img src=x\> \*\*b\*\* \# h" in text
    assert r"!\[x\](y) \| z" in text
    assert "<img" not in text.replace(r"\<img", "")


def test_markdown_stays_below_what_github_takes(result: RunResult) -> None:
    many = tuple(replace(c, id=f"{c.id}{i}", replay="x" * 3000) for i in range(300) for c in result.cases)
    text = markdown.dumps(replace(result, cases=many))
    assert len(text.encode()) < 1024 * 1024
    assert "parts are left out" in text
    assert text.count("```") % 2 == 0


def test_write_all_writes_every_report(tmp_path: Path, result: RunResult) -> None:
    out = samples.run_folder(tmp_path / "run")
    assert write_all(out) == result
    assert json_file.read(out / "verdict.json") == samples.as_shown(result)
    names = {p.name for p in out.iterdir()}
    sealed = {"cases", "events.jsonl", "manifest.json"}
    assert names == {*sealed, "verdict.json", "junit.xml", "summary.md", "report.html"}
    before = {name: (out / name).read_bytes() for name in names - {"cases"}}
    write_all(out)
    assert before == {name: (out / name).read_bytes() for name in names - {"cases"}}


def test_write_all_reports_a_crashed_run(tmp_path: Path) -> None:
    out = samples.run_folder(tmp_path / "run")
    stream = out / "events.jsonl"
    judged = b'"type":"case_judged"'
    lines = stream.read_bytes().splitlines(keepends=True)
    third = [i for i, line in enumerate(lines) if judged in line][2]
    stream.write_bytes(b"".join(lines[:third]) + lines[third][:50])  # the last line is torn
    (out / "cases" / "worker_kill.tree.locked_retry" / "detail.json").write_text('{"phases": [')
    result = write_all(out)
    assert [c.outcome for c in result.cases[:3]] == [Outcome.PASS, Outcome.PASS, Outcome.UNKNOWN]
    assert {c.error for c in result.cases[3:]} == {"was never started"}
    assert "its charts are missing" in (out / "report.html").read_text()


def test_write_all_wants_a_run_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no events\.jsonl"):
        write_all(tmp_path)


def test_a_detail_outside_the_run_folder_is_not_read(tmp_path: Path) -> None:
    case = replace(samples.cases()[0], id="../../outside", folder="/")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "detail.json").write_text("not json")
    out = samples.run_folder(tmp_path / "a" / "run", [CaseJudged(case=case.id, result=case)], {})
    write_all(out)
    assert "cannot be read" not in (out / "report.html").read_text()
