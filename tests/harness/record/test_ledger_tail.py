"""The tail of a ledger knows which process went in the middle of an attempt."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from taskchaos.harness.clock import now_ns
from taskchaos.harness.record.ledger_tail import ledger_tail
from taskchaos.harness.stack.procfs import alive

pytestmark = pytest.mark.usefixtures("linux")

_WORKER = """
import sys
from pathlib import Path
from taskchaos.harness.record.history import AttemptOutcome
from taskchaos.harness.record.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]), "worker-1")
ledger.end(1, ledger.begin(1), AttemptOutcome.OK)
if sys.argv[2] == "busy":
    ledger.begin(2)
print("begun", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("doing", ["busy", "idle"])
def test_a_process_that_goes_in_an_attempt_is_told_once(tmp_path: Path, doing: str) -> None:
    (tmp_path / "ledger").mkdir()
    tail = ledger_tail(tmp_path, alive)
    argv = [sys.executable, "-c", _WORKER, str(tmp_path / "ledger"), doing]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        tail.follow()
        before_ns = now_ns()
        assert tail.gone() == []
        after_ns = now_ns()
        worker.kill()
    tail.follow()
    found = tail.gone()
    assert [pid for pid, _ in found] == ([worker.pid] if doing == "busy" else [])
    assert all(before_ns <= alive_ns <= after_ns for _, alive_ns in found), "it was last seen alive then"
    assert tail.gone() == []
