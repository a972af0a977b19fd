"""Cases with priorities, end to end: who is urgent goes first, or is told, or was never behind anybody."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_support import rule, run_mine

pytestmark = pytest.mark.usefixtures("linux")

SUITE = """
from taskchaos.harness.contract import Slo
from taskchaos.harness.workload import Workload

def test_burst(chaos):
    more = {"burst": 240, "work_ms": 1000 * chaos.slots // 60, "priorities": 4}
    workload = Workload(rate_tps=60, baseline_s=4, fault_s=0, healed_s=0, **more)
    chaos(workload, slo=Slo(target_tps=None), visibility_timeout_s=30)
"""
HEAD = """
from taskchaos.harness.contract import Claim
from taskchaos.harness.subject import CelerySubject

class Mine(CelerySubject):
    name = "mine"
    contract = CelerySubject.contract.claiming(Claim.PRIORITY)
"""
SWAPPED = """
    def submit(self, task, operation):
        priority = {0: 3, 3: 0}.get(operation.priority, operation.priority)
        task.apply_async(args=(operation.payload(),), task_id=operation.task_id, priority=priority)
"""
ALL_ALIKE = """
    def submit(self, task, operation):
        task.apply_async(args=(operation.payload(),), task_id=operation.task_id)
"""
TAKES_ALL = """
    def install(self, app, settings):
        app.conf.worker_prefetch_multiplier = 0
"""


def test_celerys_priorities_on_redis_are_kept_and_that_was_tried(tmp_path: Path) -> None:
    done, told = run_mine(tmp_path, SUITE, HEAD)
    (case,) = told["cases"]
    assert done.code == 0, done.out + done.err
    assert "went ahead of less urgent ones that had been sent before" in rule(case, "priority")["reason"]


def test_who_takes_two_priorities_for_one_another_does_not_pass(tmp_path: Path) -> None:
    """Those two wait for less long than the others: on a busy machine neither was compared with the other."""
    done, told = run_mine(tmp_path, SUITE, HEAD + SWAPPED)
    (case,) = told["cases"]
    assert done.code in (1, 2), done.out + done.err
    assert case["failed_rules"] == ["priority"] or "of priority 0 went ahead" in rule(case, "priority")["reason"]


def test_who_takes_tasks_as_they_come_is_told(tmp_path: Path) -> None:
    done, told = run_mine(tmp_path, SUITE, HEAD + ALL_ALIKE)
    (case,) = told["cases"]
    assert done.code == 1, done.out + done.err
    assert case["failed_rules"] == ["priority"]
    assert "while it waited" in rule(case, "priority")["samples"][0]["note"]


def test_of_who_takes_all_there_is_at_once_nothing_is_known(tmp_path: Path) -> None:
    done, told = run_mine(tmp_path, SUITE, HEAD + TAKES_ALL)
    (case,) = told["cases"]
    assert done.code == 2, done.out + done.err
    assert "no task of priority 0 went ahead of one of 3" in rule(case, "priority")["reason"]
