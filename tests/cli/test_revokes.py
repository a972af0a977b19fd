"""Cases with revokes, end to end: what is revoked does not begin, or is told, or nobody has heard."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_support import rule, run_mine

pytestmark = pytest.mark.usefixtures("linux")

SUITE = """
from taskchaos.harness.contract import Slo
from taskchaos.harness.workload import Workload

def test_burst(chaos):
    more = {"burst": 120, "work_ms": 1000 * chaos.slots // 60, "revoke_every": 4, "revoke_after_ms": 300}
    workload = Workload(rate_tps=60, baseline_s=2, fault_s=0, healed_s=0, **more)
    chaos(workload, slo=Slo(target_tps=None), visibility_timeout_s=30)
"""
HEAD = """
from taskchaos.harness.contract import Claim
from taskchaos.harness.subject import CelerySubject

class Mine(CelerySubject):
    name = "mine"
    contract = CelerySubject.contract.claiming(Claim.REVOKE)
"""
SAYS_SO = """
    def revoke(self, app, operation, workers):
        pass
"""
DEAF = """
    def install(self, app, settings):
        app.conf.worker_enable_remote_control = False
"""
CANNOT = "    revoke = None\n"


def test_what_celerys_workers_have_heard_of_does_not_begin_and_is_not_lost(tmp_path: Path) -> None:
    done, told = run_mine(tmp_path, SUITE, HEAD)
    (case,) = told["cases"]
    assert done.code == 0, done.out + done.err
    assert "that were revoked in time never began" in rule(case, "revoked")["reason"]
    assert 90 <= case["operations"]["effects"] < case["operations"]["planned"] == 120


def test_who_only_says_that_it_was_heard_is_told(tmp_path: Path) -> None:
    done, told = run_mine(tmp_path, SUITE, HEAD + SAYS_SO)
    (case,) = told["cases"]
    assert done.code == 1, done.out + done.err
    assert case["failed_rules"] == ["revoked"]
    assert "after its revoke was heard" in rule(case, "revoked")["samples"][0]["note"]


def test_a_revoke_that_no_worker_hears_proves_nothing(tmp_path: Path) -> None:
    done, told = run_mine(tmp_path, SUITE, HEAD + DEAF)
    (case,) = told["cases"]
    assert done.code == 2, done.out + done.err
    assert "0 of 2 workers answered" in rule(case, "revoked")["reason"]


def test_who_cannot_revoke_is_left_out_and_that_is_said(tmp_path: Path) -> None:
    done, told = run_mine(tmp_path, SUITE, HEAD + CANNOT)
    assert told["cases"] == []
    assert "this subject has no revoke, so it cannot revoke tasks" in done.out, done.out + done.err
    assert done.code != 0, "nothing that was judged is no pass"
