"""Shards become one run again: whole, or with every gap named and never green."""

from __future__ import annotations

import json
import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import report_samples as samples
from click.testing import CliRunner, Result
from merge_samples import GOOD, cut, hands, shard_folder, stream

from taskchaos.harness.cli import main
from taskchaos.harness.record import events
from taskchaos.harness.record.events import CaseJudged, CaseLeftOut, CasesCollected, CaseStarted, Problem, RunStarted
from taskchaos.harness.record.result import Expectation, Missing, RunResult
from taskchaos.harness.record.shard import Shard
from taskchaos.harness.record.sources import SourceRole, keep
from taskchaos.harness.report import json_file
from taskchaos.harness.report.run import NOT_JUDGED, NOT_STARTED
from taskchaos.harness.run import folder as run


def merged(*places: Path, out: Path) -> tuple[Result, RunResult]:
    """`taskchaos merge`: what it printed, and the verdict.json that it wrote."""
    done = CliRunner().invoke(main, ["merge", *map(str, places), "--out", str(out)])
    assert (out / "verdict.json").is_file(), done.output
    return done, json_file.read(out / "verdict.json")


def _without_replay(result: RunResult) -> RunResult:
    """The result without the lines that name its folder."""
    return replace(result, cases=tuple(replace(case, replay="") for case in result.cases))


def refused(*places: Path, out: Path) -> str:
    """The one line with which `taskchaos merge` refuses, having written nothing."""
    done = CliRunner().invoke(main, ["merge", *map(str, places), "--out", str(out)])
    assert done.exit_code == 4, done.output
    assert not out.exists()
    (line,) = done.stderr.splitlines()
    return line


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    """The three shards of the sample run, as download-artifact puts them: in folders of a folder."""
    return [shard_folder(tmp_path / "all" / f"chaos-{i}" / "run", i, 3) for i in (1, 2, 3)]


def test_a_run_is_not_merged_into_one_of_its_shards(shards: list[Path], tmp_path: Path) -> None:
    """What is copied would be copied again, without an end."""
    said = refused(tmp_path / "all", out=shards[1] / "cases" / "merged")
    assert f"is inside shard {shards[1]}: choose another place" in said


def test_all_shards_together_are_the_whole_run(shards: list[Path], tmp_path: Path) -> None:
    done, result = merged(tmp_path / "all", out=tmp_path / "whole")
    assert done.exit_code == 0, done.output
    assert (result.outcome, result.exit_code, result.incomplete) == ("pass", 0, ())
    assert sorted(_without_replay(result).cases, key=lambda c: c.id) == sorted(
        (replace(c, replay="", expected=Expectation.read(str(c.expected))) for c in GOOD), key=lambda c: c.id
    )
    assert (result.run, result.seed, result.shard, result.selection) == ("whole", 7, None, ())
    assert (result.started, result.wall_s) == ("2026-11-23T02:31:10+00:00", 13.0), "first to start, longest to take"
    out = tmp_path / "whole"
    assert {p.name for p in out.iterdir()} == {
        *("plan.json", "events.jsonl", "manifest.json", "verdict.json", "junit.xml", "summary.md", "report.html"),
        *("cases", "logs"),
    }
    assert {p.name for p in (out / "cases").iterdir()} == {c.id for c in GOOD}
    assert (out / "logs" / "2-of-3" / "pytest.log").read_text() == "shard 2/3\n"
    assert run.check_stored(out).shard is None
    assert "PASS in 13.0s" in done.stdout


def test_the_files_of_the_cases_are_merged_too(shards: list[Path], tmp_path: Path) -> None:
    """Shards have the same ones, or others of the same name: folders are named by what is in them."""
    (tmp_path / "mine.py").write_text("one")
    for text, shard in zip(("one", "one", "two"), shards, strict=True):
        (tmp_path / "mine.py").write_text(text)
        keep(shard, SourceRole.SUBJECT, tmp_path / "mine.py")
    merged(*shards, out=tmp_path / "whole")
    found = sorted(path.read_text() for path in (tmp_path / "whole" / "sources").glob("*/mine.py"))
    assert found == ["one", "two"]


def test_shards_in_archives_are_merged(shards: list[Path], tmp_path: Path) -> None:
    archives = [Path(shutil.make_archive(str(shard.parent / "packed"), "zip", shard)) for shard in shards]
    done, result = merged(*archives, out=tmp_path / "whole")
    assert done.exit_code == 0, done.output
    assert len(result.cases) == len(GOOD)


def test_the_order_and_the_depth_of_the_folders_do_not_matter(shards: list[Path], tmp_path: Path) -> None:
    _, one = merged(tmp_path / "all", out=tmp_path / "a" / "whole")
    _, two = merged(*reversed(shards), shards[0].parent, out=tmp_path / "b" / "whole")
    assert _without_replay(one) == _without_replay(two)


def test_a_shard_that_is_given_twice_is_refused(shards: list[Path], tmp_path: Path) -> None:
    assert "is given twice" in refused(*shards, shards[0], out=tmp_path / "whole")


def test_a_merged_run_is_a_run_folder_that_can_be_judged_again(shards: list[Path], tmp_path: Path) -> None:
    """What is judged is the evidence, of which the sample has none: its old verdicts count for nothing."""
    merged(*shards, out=tmp_path / "whole")
    done = CliRunner().invoke(main, ["judge", str(tmp_path / "whole")])
    assert done.exit_code == 2, done.output
    result = json_file.read(tmp_path / "whole" / "verdict.json")
    assert {c.outcome for c in result.cases} == {"unknown"} and len(result.cases) == len(GOOD)


def test_a_failure_in_one_shard_fails_the_whole(tmp_path: Path) -> None:
    everything = samples.cases()
    for i in (1, 2):
        shard_folder(tmp_path / "all" / str(i), i, 2, results=everything)
    done, result = merged(tmp_path / "all", out=tmp_path / "whole")
    assert (done.exit_code, result.exit_code, result.outcome) == (1, 1, "fail")
    assert len(result.cases) == len(everything)


def test_a_missing_shard_is_named_everywhere_and_never_green(shards: list[Path], tmp_path: Path) -> None:
    lost = [c.id for c in hands(GOOD, 3)[1]]
    done, result = merged(shards[0], shards[2], out=tmp_path / "whole")
    assert (done.exit_code, result.exit_code, result.outcome) == (2, 2, "unknown")
    assert result.incomplete == (
        Missing("shard 2/3", "no run folder of it was given"),
        *(Missing(case, "was to run in shard 2/3") for case in lost),
    )
    assert {c.id for c in result.cases} == {c.id for c in GOOD} - set(lost)
    counted = f"1 shard and {len(lost)} cases missing"
    assert f"! Incomplete: {counted}" in done.stdout
    assert "  shard 2/3: no run folder of it was given\n" in done.stdout
    summary, page = ((tmp_path / "whole" / name).read_text() for name in ("summary.md", "report.html"))
    assert f"### Incomplete: {counted}" in summary and "- **shard 2/3**: no run folder" in summary
    assert f"Incomplete: {counted}" in page and "<b>shard 2/3</b>: no run folder" in page
    [error] = ET.parse(tmp_path / "whole" / "junit.xml").getroot().iter("error")
    assert error.get("message") == f"incomplete, {counted}"
    assert all(case in (error.text or "") and case in page for case in lost)
    written = json.loads((tmp_path / "whole" / "verdict.json").read_text())["incomplete"]
    assert written[0] == {"id": "shard 2/3", "reason": "no run folder of it was given"}


def test_judging_a_merged_run_again_does_not_forget_the_gap(shards: list[Path], tmp_path: Path) -> None:
    merged(shards[0], shards[2], out=tmp_path / "whole")
    done = CliRunner().invoke(main, ["judge", str(tmp_path / "whole")])
    assert done.exit_code == 2
    assert "shard 2/3: no run folder of it was given" in done.stdout


def test_what_is_proven_outranks_what_is_missing(tmp_path: Path) -> None:
    everything = samples.cases()
    failed = next(
        i for i, hand in enumerate(hands(everything, 2), 1) if any(c.failed_rules and not c.as_expected for c in hand)
    )
    folder = shard_folder(tmp_path / "one", failed, 2, results=everything)
    done, result = merged(folder, out=tmp_path / "whole")
    assert done.exit_code == 1
    assert result.incomplete


@pytest.mark.parametrize("started", [True, False])
def test_the_cases_of_a_shard_that_was_cut_off_are_named(shards: list[Path], tmp_path: Path, started: bool) -> None:
    first, *rest = hands(GOOD, 3)[0]
    shutil.rmtree(shards[0])
    found = cut(stream(GOOD, Shard(1, 3)), first.id)
    if not started:
        found = [e for e in found if not isinstance(e, CaseStarted) and getattr(e, "case", "") != first.id]
    shard_folder(shards[0], 1, 3, found=found)
    done, result = merged(*shards, out=tmp_path / "whole")
    assert (done.exit_code, result.exit_code) == (2, 2)
    why = NOT_JUDGED if started else NOT_STARTED
    assert result.incomplete == (
        Missing(first.id, f"{why} in shard 1/3"),
        *(Missing(case.id, f"{NOT_STARTED} in shard 1/3") for case in rest),
    )
    assert not {first.id, *(c.id for c in rest)} & {c.id for c in result.cases}
    assert (tmp_path / "whole" / "cases" / first.id / "detail.json").is_file(), "what there is of it is kept"


def test_a_shard_that_was_cut_off_before_it_knew_its_cases_is_named(shards: list[Path], tmp_path: Path) -> None:
    shutil.rmtree(shards[2])
    found = [e for e in stream(GOOD, Shard(3, 3)) if isinstance(e, RunStarted)]
    shard_folder(shards[2], 3, 3, found=found)
    done, result = merged(*shards, out=tmp_path / "whole")
    assert done.exit_code == 2
    assert result.incomplete[0] == Missing("shard 3/3", "was cut off before it knew its cases")
    assert [m.id for m in result.incomplete[1:]] == [c.id for c in hands(GOOD, 3)[2]]


def test_when_no_shard_knew_its_cases_nothing_is_proven(tmp_path: Path) -> None:
    for i in (1, 2):
        found = [e for e in stream(GOOD, Shard(i, 2)) if isinstance(e, RunStarted)]
        shard_folder(tmp_path / "all" / str(i), i, 2, found=found)
    done, result = merged(tmp_path / "all", out=tmp_path / "whole")
    assert done.exit_code == 2
    assert [m.id for m in result.incomplete] == ["shard 1/2", "shard 2/2"]


def test_an_empty_shard_counts_as_there(tmp_path: Path) -> None:
    for i in (1, 2, 3):
        shard_folder(tmp_path / "all" / str(i), i, 3, results=GOOD[:2])
    done, result = merged(tmp_path / "all", out=tmp_path / "whole")
    assert done.exit_code == 0, done.output
    assert len(result.cases) == 2
    done, result = merged(tmp_path / "all" / "1", tmp_path / "all" / "2", out=tmp_path / "gap")
    assert done.exit_code == 2
    assert result.incomplete == (Missing("shard 3/3", "no run folder of it was given"),)


def test_a_case_left_out_is_not_missing(shards: list[Path], tmp_path: Path) -> None:
    case = hands(GOOD, 3)[0][0]
    found = [e for e in stream(GOOD, Shard(1, 3)) if getattr(e, "case", "") != case.id]
    found.insert(2, CaseLeftOut(at_ns=samples.T0, case=case.id, reason="no children"))
    shutil.rmtree(shards[0])
    shard_folder(shards[0], 1, 3, found=found)
    done, result = merged(*shards, out=tmp_path / "whole")
    assert done.exit_code == 0, done.output
    assert [one.id for one in result.left_out] == [case.id]


def test_a_copy_of_a_shard_is_refused(shards: list[Path], tmp_path: Path) -> None:
    again = shutil.copytree(shards[1], tmp_path / "again")
    line = refused(*shards, again, out=tmp_path / "whole")
    assert line == f"taskchaos: shard 2/3 is given twice: {shards[1]} and {again}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 8}, "seed 7 and 8"),
        ({"profile": "nightly"}, "profile quick and nightly"),
        ({"target_tps": 500.0}, "target tps None and 500.0"),
        ({"subjects": ("locked_retry",)}, "subjects locked_retry, stock_best, interview_inside, stock_acks_late and "),
        ({"keyword": "tree"}, "keyword None and tree"),
    ],
)
def test_shards_of_different_runs_are_refused(
    shards: list[Path], tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    other = shard_folder(tmp_path / "other", 2, 3, **changes)
    line = refused(shards[0], other, out=tmp_path / "whole")
    assert "are of different runs: " + message in line
    assert str(shards[0]) in line and str(other) in line


def test_shards_of_different_counts_are_refused(shards: list[Path], tmp_path: Path) -> None:
    line = refused(shards[0], shard_folder(tmp_path / "other", 2, 4), out=tmp_path / "whole")
    assert "are of different runs: shards 1/3 and 2/4" in line


def test_shards_of_different_selections_are_refused(shards: list[Path], tmp_path: Path) -> None:
    other = shard_folder(tmp_path / "other", 2, 3, results=GOOD[1:])
    assert "were dealt different cases: not shards of one run" in refused(shards[0], other, out=tmp_path / "whole")


def test_a_case_of_another_shard_is_refused(shards: list[Path], tmp_path: Path) -> None:
    foreign = hands(GOOD, 3)[0][0]
    log = events.Log(shards[1] / "events.jsonl")
    log.emit(CaseJudged(case=foreign.id, result=foreign))
    log.close()
    line = refused(shards[1], out=tmp_path / "whole")
    assert f"holds the case {foreign.id}, which was not dealt to shard 2/3" in line


def test_the_same_file_in_another_place_is_the_same(tmp_path: Path) -> None:
    """Machines check out and install where they like."""
    for i in (1, 2):
        place = f"/machine-{i}"
        changes = {"subjects": (f"{place}/mine.py:Subject",), "redis_server": f"{place}/valkey-server"}
        shard_folder(tmp_path / "all" / str(i), i, 2, parallel=i, **changes)
    done, _ = merged(tmp_path / "all", out=tmp_path / "whole")
    assert done.exit_code == 0, done.output


def test_a_folder_that_is_no_shard_is_refused(shards: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "whole"
    assert "nowhere: no such folder" in refused(tmp_path / "nowhere", out=out)
    (tmp_path / "empty").mkdir()
    assert "holds no run: give run folders of shards" in refused(shards[0], tmp_path / "empty", out=out)
    merged(*shards, out=tmp_path / "before")
    assert "is a whole run, not a shard" in refused(tmp_path / "before", out=out)
    (shards[0] / "plan.json").write_text("{")
    assert "plan.json: " in refused(*shards, out=out)


def test_a_run_is_not_overwritten(shards: list[Path], tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["merge", *map(str, shards), "--out", str(shards[0])])
    assert done.exit_code == 4
    assert f"--out {shards[0]}: holds a run already" in done.stderr


def test_events_are_in_order_and_keep_their_distances(shards: list[Path], tmp_path: Path) -> None:
    """The clocks of the three machines are days apart; their wall clocks say that they began 10 s after each other."""
    merged(*shards, out=tmp_path / "whole")
    found = list(events.read(tmp_path / "whole" / "events.jsonl"))
    times = [e.at_ns for e in found]
    assert times == sorted(times)
    [head] = [e for e in found if isinstance(e, RunStarted)]
    [collected] = [e for e in found if isinstance(e, CasesCollected)]
    assert found[:2] == [head, collected]
    assert set(collected.cases) == {c.id for c in GOOD}
    begins = {e.case: e.at_ns for e in found if isinstance(e, CaseStarted)}
    for index, hand in enumerate(hands(GOOD, 3)):
        assert [begins[c.id] for c in hand] == [(10_000 * index + 2000 * k) * samples.MS for k in range(len(hand))]


def test_problems_say_which_shard_had_them(shards: list[Path], tmp_path: Path) -> None:
    log = events.Log(shards[1] / "events.jsonl")
    log.emit(Problem(text="a producer was late"))
    log.close()
    done, _ = merged(*shards, out=tmp_path / "whole")
    assert done.exit_code == 0
    assert "shard 2/3: a producer was late" in done.stdout
    assert "shard 2/3: a producer was late" in (tmp_path / "whole" / "report.html").read_text()


def test_versions_that_differ_are_said(shards: list[Path], tmp_path: Path) -> None:
    shutil.rmtree(shards[2])
    found = [
        replace(e, versions={**e.versions, "celery": "5.8.0"}) if isinstance(e, RunStarted) else e
        for e in stream(GOOD, Shard(3, 3))
    ]
    shard_folder(shards[2], 3, 3, found=found)
    done, _ = merged(*shards, out=tmp_path / "whole")
    assert done.exit_code == 0
    told = " ".join(done.stdout.split())
    assert "different versions of celery: 5.7.0 in 1/3, 2/3; 5.8.0 in 3/3" in told


def test_ledgers_are_linked_and_what_judging_writes_is_not(shards: list[Path], tmp_path: Path) -> None:
    merged(*shards, out=tmp_path / "whole")
    case = hands(GOOD, 3)[0][0].id
    shared = {
        name: os.path.samefile(shards[0] / "cases" / case / name, tmp_path / "whole" / "cases" / case / name)
        for name in ("ledger/producer-1.ledger", "detail.json")
    }
    assert shared == {"ledger/producer-1.ledger": True, "detail.json": False}


def test_sockets_that_a_stack_left_are_ignored(
    shards: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = shards[0] / "cases" / hands(GOOD, 3)[0][0].id
    monkeypatch.chdir(case)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as left:
        left.bind("left.sock")
    done, _ = merged(*shards, out=tmp_path / "whole")
    assert done.exit_code == 0, done.output


def test_replay_names_the_merged_run(shards: list[Path], tmp_path: Path) -> None:
    case = hands(GOOD, 3)[0][0].id
    _, result = merged(*shards, out=tmp_path / "whole")
    [found] = [c for c in result.cases if c.id == case]
    assert found.replay == f"taskchaos replay {tmp_path / 'whole' / 'cases' / case}"


@pytest.mark.parametrize("gone", ["cases", "cases/{}", "cases/{}/plan.json", "cases/{}/final.json", "manifest.json"])
def test_a_shard_without_its_evidence_is_unknown(shards: list[Path], tmp_path: Path, gone: str) -> None:
    victim = shards[1] / gone.format(hands(GOOD, 3)[1][0].id)
    if victim.is_dir():
        shutil.rmtree(victim)
    else:
        victim.unlink()
    done, result = merged(*shards, out=tmp_path / "whole")
    assert (done.exit_code, result.outcome) == (2, "unknown")
    assert any("shard 2/3: " in doubt for doubt in result.doubts)


def test_a_shard_whose_record_is_not_whole_is_unknown(shards: list[Path], tmp_path: Path) -> None:
    stream = shards[1] / "events.jsonl"
    stream.write_bytes(b"[]\n" + stream.read_bytes())
    done, result = merged(*shards, out=tmp_path / "whole")
    assert (done.exit_code, result.outcome) == (2, "unknown")
    assert any("1 line of events.jsonl cannot be read" in doubt for doubt in result.doubts), result.doubts


def test_the_samples_are_more_than_one_case_each() -> None:
    assert all(len(hand) > 1 for hand in hands(GOOD, 3)), "or the tests above prove little"
