"""Whole runs of the command: every shipped subject gets the verdict it deserves, and the run folder is complete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from cli_support import rule, taskchaos, verdict

pytestmark = pytest.mark.usefixtures("linux")


#: By suite what each subject comes to, and the rule that it fails.
DESERVED: dict[str, dict[str, tuple[str, str | None]]] = {
    "transient_error": {
        "interview_inside": ("fail", "lost"),
        "interview_before": ("fail", "lost"),
        "interview_sleep": ("fail", "throughput"),
        "locked_retry": ("pass", None),
        "stock_acks_late": ("pass", None),
    },
    "worker_kill": {
        "stock_defaults": ("fail", "lost"),
        "stock_best": ("pass", None),
        "locked_retry": ("pass", None),
    },
    "partition": {
        "locked_retry": ("pass", None),
        "stock_best": ("fail", "lost"),
    },
}


#: What their losses come from: the kind, and the first words of command and fault. The verdict names it.
CAUSES = {
    ("partition", "stock_best"): ("reply-unseen", "BRPOP celery", "black_hole_replies on "),
    ("worker_kill", "stock_defaults"): ("killed-when-acknowledged", "HDEL unacked", "kill_tree on "),
}


@pytest.mark.parametrize("suite", DESERVED)
def test_every_subject_gets_the_verdict_it_deserves(tmp_path: Path, suite: str) -> None:
    wanted = [word for subject in DESERVED[suite] for word in ("--subject", subject)]
    done = taskchaos("run", suite, *wanted, "--out", "run", "-n", "3", cwd=tmp_path)
    assert done.code == 0, done.out + done.err
    cases = {case["subject"]: case for case in verdict(tmp_path / "run")["cases"]}
    assert cases.keys() == DESERVED[suite].keys()
    for subject, (outcome, failed) in DESERVED[suite].items():
        _deserves(cases[subject], outcome, failed)
        if (suite, subject) in CAUSES:
            kind, command, fault = CAUSES[suite, subject]
            causes = [
                c for c in cases[subject]["causes"] if (c["rule"], c["kind"], c["command"]) == ("lost", kind, command)
            ]
            assert [c["fault"].startswith(fault) for c in causes] == [True], cases[subject]["causes"]


def _deserves(case: dict[str, Any], outcome: str, failed: str | None) -> None:
    assert case["as_expected"] is True, case["id"]
    assert case["operations"]["acknowledged"] > 0, case["id"]
    if failed is None and case["failed_rules"] == ["lost"]:
        assert case["expected"] == "pass, or fail: lost", "a race of kombu's that the expectation names"
        return
    assert case["outcome"] == outcome, case["id"]
    if failed is not None:
        assert failed in case["failed_rules"], case["id"]
        assert rule(case, failed)["observed"] is not None, case["id"]
    if failed == "lost":
        assert rule(case, "lost")["observed"] > 0, case["id"]
        assert rule(case, "lost")["samples"], case["id"]


def test_fences_that_do_not_rise_are_found(tmp_path: Path) -> None:
    """A wrong fence: two attempts show the same one."""
    (tmp_path / "counted.py").write_text(
        """
from taskchaos.suites.subjects.locked_retry import LockedRetry

class Counted(LockedRetry):
    name = "counted"

    def register(self, app, body):
        task = super().register(app, lambda payload, fence=None: body(payload, task.request.retries // 2))
        return task
"""
    )
    done = taskchaos("run", "transient_error", "--subject", "counted.py:Counted", "--out", "run", cwd=tmp_path)
    assert done.code == 1, done.out + done.err
    (case,) = verdict(tmp_path / "run")["cases"]
    assert case["failed_rules"] == ["fence"]
    assert rule(case, "fence")["samples"][0]["note"] == "fence 0 after 0"


def test_a_worker_killed_with_kombus_lock_holds_up_nobody_for_long(tmp_path: Path) -> None:
    """The lock around the look for overdue messages lasts as long as kombu was told to let it: 300 s by default."""
    (tmp_path / "keyholder.py").write_text(
        """
from taskchaos.suites.subjects.stock import BestSettings

class Keyholder(BestSettings):
    name = "keyholder"

    def submit(self, task, operation):
        super().submit(task, operation)
        if operation.number == 20:
            with task.app.connection_for_write() as connection:
                channel = connection.default_channel
                channel.client.lock(channel.unacked_mutex_key, timeout=channel.unacked_mutex_expire).acquire()
"""
    )
    done = taskchaos("run", "worker_kill", "--subject", "keyholder.py:Keyholder", "--out", "run", cwd=tmp_path)
    (case,) = verdict(tmp_path / "run")["cases"]
    assert rule(case, "stuck")["outcome"] == "pass", done.out
    assert rule(case, "converged")["outcome"] == "pass"


def test_a_run_folder_is_complete_and_can_be_judged_and_replayed(tmp_path: Path) -> None:
    done = taskchaos(
        "run", "partition", "-s", "stock_best", "-s", "stock_defaults", "--seed", "7", "-n", "2", cwd=tmp_path
    )
    assert done.code == 0, done.out + done.err
    run = (tmp_path / ".taskchaos" / "runs" / "latest").resolve()
    names = {p.name for p in run.iterdir()}
    assert names >= {
        "plan.json",
        "events.jsonl",
        "verdict.json",
        "junit.xml",
        "summary.md",
        "report.html",
        "logs",
        "cases",
    }
    result = verdict(run)
    assert (result["schema"], result["seed"], result["outcome"], result["exit_code"]) == (1, 7, "pass", 0)
    assert result["server"]["version"] and result["versions"]["celery"]
    assert [c["id"] for c in result["cases"]] and len(result["cases"]) == 2
    assert ElementTree.parse(run / "junit.xml").getroot().tag in ("testsuites", "testsuite")
    case = run / "cases" / "partition.replies_lost.stock_best"
    assert {p.name for p in case.iterdir()} >= {
        "plan.json",
        "events.jsonl",
        "ledger",
        "final.json",
        "undo.jsonl",
        "logs",
    }
    story = json.loads((case / "detail.json").read_text())["stories"][0]
    assert "lost" in story["rules"] and story["lines"]
    _judges_the_same(tmp_path, run)
    _replays_the_same_plan(tmp_path, run)


def _judges_the_same(cwd: Path, run: Path) -> None:
    before = verdict(run)
    done = taskchaos("judge", str(run), cwd=cwd)
    after = verdict(run)
    assert done.code == 0, done.out + done.err
    for old, new in zip(before["cases"], after["cases"], strict=True):
        assert {k: v for k, v in old.items() if k != "wall_s"} == {k: v for k, v in new.items() if k != "wall_s"}


def _replays_the_same_plan(cwd: Path, run: Path) -> None:
    done = taskchaos("replay", f"{run.name}/partition.replies_lost.stock_best", cwd=cwd)
    assert done.code == 0, done.out + done.err
    again = (cwd / ".taskchaos" / "runs" / "latest").resolve()
    assert again != run
    plans = [
        json.loads((r / "cases" / "partition.replies_lost.stock_best" / "plan.json").read_text()) for r in (run, again)
    ]
    assert plans[0] == plans[1]
    assert len(verdict(again)["cases"]) == 1


def test_judging_again_without_a_ledger_is_unknown(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert taskchaos("run", "throughput", "-s", "stock_best", "--out", str(out), "-n", "1", cwd=tmp_path).code == 0
    for ledger in (out / "cases").glob("*/ledger/*"):
        ledger.unlink()
    done = taskchaos("judge", str(out), cwd=tmp_path)
    assert done.code == 2, done.out
    assert verdict(out)["outcome"] == "unknown"


def test_a_subject_of_ones_own_is_judged(tmp_path: Path) -> None:
    """The whole way of the third user: write a template, run it, read the verdict."""
    assert taskchaos("new-subject", "my_retry", cwd=tmp_path).code == 0
    done = taskchaos("run", "transient_error", "-s", "my_retry.py:Subject", "-n", "1", cwd=tmp_path)
    assert done.code == 0, done.out + done.err
    assert "my_retry" in done.out and "pass" in done.out


@pytest.mark.parametrize(
    ("scenario", "last_seen"),
    [
        ("pop_reply_lost", "never delivered, never attempted"),
        ("retry_publish_cut", "attempt at worker-1 ended transient, subject said failure"),
    ],
)
def test_a_fault_at_one_command_loses_exactly_that_task(tmp_path: Path, scenario: str, last_seen: str) -> None:
    out = tmp_path / "run"
    arguments = ("command", "-s", "stock_best", "-k", scenario, "--profile", "default", "-n", "1", "--out", str(out))
    done = taskchaos("run", *arguments, cwd=tmp_path)
    assert done.code == 0, done.out + done.err
    (case,) = verdict(out)["cases"]
    lost = rule(case, "lost")
    assert lost["observed"] == 1
    (sample,) = lost["samples"]
    assert last_seen in sample["note"]
    assert f"task {sample['op']}" in done.out
