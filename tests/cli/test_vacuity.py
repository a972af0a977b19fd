"""A run that proves nothing is unknown, exit code 2, and never a pass: faults that do nothing, an empty ledger,
a queue that never comes to rest. The sabotage sits in a subject's module, which every process imports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli_support import rule, taskchaos, verdict

pytestmark = pytest.mark.usefixtures("linux")

HEAD = """
from collections.abc import Mapping
from typing import Any
from taskchaos.harness.subject import CelerySubject
from taskchaos.harness.workload import Operation

class Sabotaged(CelerySubject):
    name = "sabotaged"
"""

FAULTS_OFF = (
    HEAD
    + """
import taskchaos.faults.network
taskchaos.faults.network.LinkFault.inject = lambda self: None
"""
)

FAULTS_NEVER_START = (
    HEAD
    + """
import taskchaos.faults.nemesis
taskchaos.faults.nemesis.Nemesis.start = lambda self, at: None
"""
)

LEDGER_EMPTY = (
    HEAD
    + """
import taskchaos.harness.record.ledger
taskchaos.harness.record.ledger.Ledger._write = lambda self, *a, **k: None
"""
)

#: Every task sends itself again: the queue moves for ever.
NEVER_RESTS = (
    HEAD
    + """
    def register(self, app, body):
        @app.task(name="sabotaged.task", bind=True)
        def task(self, payload):
            if self.request.id.startswith("op-"):
                body(payload)
            self.apply_async(args=(payload,), task_id="again-" + self.request.id, countdown=0.2)
        return task
"""
)

NOTHING_SUBMITTED = (
    HEAD
    + """
    def submit(self, task, operation):
        from taskchaos.harness.subject import Refused
        raise Refused("not today")
"""
)


@pytest.mark.parametrize(
    ("sabotage", "suite", "blamed"),
    [
        pytest.param(FAULTS_OFF, "partition", "faults", id="faults do nothing"),
        pytest.param(FAULTS_NEVER_START, "partition", "faults", id="faults never start"),
        pytest.param(LEDGER_EMPTY, "throughput", "evidence", id="ledger is empty"),
        pytest.param(NEVER_RESTS, "throughput", "converged", id="queue never rests"),
        pytest.param(NOTHING_SUBMITTED, "throughput", "evidence", id="nothing acknowledged"),
    ],
)
def test_a_run_that_proves_nothing_is_unknown(tmp_path: Path, sabotage: str, suite: str, blamed: str) -> None:
    (tmp_path / "sabotage.py").write_text(sabotage)
    out = tmp_path / "run"
    done = taskchaos("run", suite, "-s", "sabotage.py:Sabotaged", "--out", str(out), "-n", "1", cwd=tmp_path)
    assert done.code == 2, done.out + done.err
    (case,) = verdict(out)["cases"]
    assert (case["outcome"], case["as_expected"]) == ("unknown", False)
    assert rule(case, blamed)["outcome"] == "unknown"
    assert rule(case, blamed)["reason"]


#: Messages go where nobody looks: not unknown but proven stuck, once every redelivery timeout has passed.
NOBODY_CONSUMES = (
    HEAD
    + """
    def submit(self, task, operation):
        task.apply_async(args=(operation.payload(),), task_id=operation.task_id, queue="nobody")
"""
)


def test_a_queue_that_nobody_consumes_is_stuck(tmp_path: Path) -> None:
    (tmp_path / "sabotage.py").write_text(NOBODY_CONSUMES)
    out = tmp_path / "run"
    done = taskchaos("run", "partition", "-s", "sabotage.py:Sabotaged", "--out", str(out), "-n", "1", cwd=tmp_path)
    (case,) = verdict(out)["cases"]
    assert done.code == 1, done.out + done.err
    assert rule(case, "stuck")["outcome"] == "fail"
    assert rule(case, "lost")["outcome"] != "fail", "what is on the broker is not lost"


NOTHING_SEEN = """
from taskchaos.harness.contract import Slo
from taskchaos.harness.record.seen import Seen
from taskchaos.harness.workload import Workload

def test_quiet(chaos):
    workload = Workload(rate_tps=30, baseline_s=0.5, fault_s=0, healed_s=0)
    chaos(workload, slo=Slo(target_tps=None), must_see=[Seen.TAKEN_OVER, Seen.RETRIED])
"""


def test_a_case_that_did_not_come_through_its_states_is_unknown_there_and_when_it_is_judged_again(
    tmp_path: Path,
) -> None:
    (tmp_path / "test_nothing.py").write_text(NOTHING_SEEN)
    out = tmp_path / "run"
    done = taskchaos("run", "test_nothing.py", "-s", "locked_retry", "-n", "1", "--out", str(out), cwd=tmp_path)
    for code in (done.code, taskchaos("judge", str(out), cwd=tmp_path).code):
        assert code == 2, done.out + done.err
        (case,) = verdict(out)["cases"]
        reason = rule(case, "evidence")["reason"]
        assert case["outcome"] == "unknown"
        assert "not seen: a task is taken over by another process;" in reason
        assert "not seen: a task is tried again after it failed;" in reason


ENDS = """
import os
from taskchaos.harness.contract import Slo
from taskchaos.harness.subject import CelerySubject
from taskchaos.harness.workload import Workload

class Mine(CelerySubject):
    name = "mine"
    def {call}(self, *arguments):
        os._exit({status})

def test_quiet(chaos):
    workload = Workload(rate_tps=20, baseline_s=1.0, fault_s=0, healed_s=0, revoke_every=4, revoke_after_ms=100)
    chaos(workload, slo=Slo(target_tps=None))
"""


def _ended(tmp_path: Path, call: str, status: int) -> dict[str, Any]:
    (tmp_path / "test_ends.py").write_text(ENDS.format(call=call, status=status))
    out = tmp_path / "run"
    done = taskchaos("run", "test_ends.py", "-s", "test_ends.py:Mine", "-n", "1", "--out", str(out), cwd=tmp_path)
    (case,) = verdict(out)["cases"]
    assert done.code == 2, done.out + done.err
    return dict(case)


@pytest.mark.parametrize("call", ["submit", "revoke"])
def test_who_ends_the_producer_as_if_it_had_sent_all_is_not_believed(tmp_path: Path, call: str) -> None:
    case = _ended(tmp_path, call, 0)
    assert (case["outcome"], rule(case, "evidence")["outcome"]) == ("unknown", "unknown")


@pytest.mark.parametrize("status", [1, 3])
@pytest.mark.parametrize("call", ["submit", "revoke"])
def test_who_ends_the_process_that_calls_it_is_the_subject(tmp_path: Path, call: str, status: int) -> None:
    """Not the stack, whose processes end with a status that says so."""
    case = _ended(tmp_path, call, status)
    assert case["trouble"] == "subject"
    assert f"it has ended the process, which ended with status {status}" in case["error"]


BLIND = """
from taskchaos.harness.contract import Claim
from taskchaos.harness.subject import CelerySubject

class Mine(CelerySubject):
    name = "mine"
    contract = CelerySubject.contract.claiming(Claim.EXCLUSIVE)
"""


def test_who_claims_exclusive_and_names_no_claim_is_not_said_to_keep_it(tmp_path: Path) -> None:
    """Two deliveries would meet at the pop, and at what comes after it by luck."""
    (tmp_path / "mine.py").write_text(BLIND)
    done = taskchaos("run", "command", "-k", "together", "-s", "mine.py:Mine", "--profile", "default", cwd=tmp_path)
    assert done.code == 2, done.out + done.err
    assert "its `commands` name no `claim` at which two can be made to meet" in " ".join(done.out.split())
