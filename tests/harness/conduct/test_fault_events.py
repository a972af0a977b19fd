"""What the nemesis says becomes an event of the case, the operations that a fault hit included."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from taskchaos.faults import base
from taskchaos.faults.nemesis import Change
from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.faults.state import FaultState
from taskchaos.harness.conduct import conductor
from taskchaos.harness.record import events
from taskchaos.harness.record.history import OperationHit


def test_a_change_becomes_an_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr(conductor, "Nemesis", lambda *given: made.append(given))
    case: Any = SimpleNamespace(id="command.pop_reply_lost.mine", schedule=Schedule())
    stack: Any = SimpleNamespace(links={}, workers={}, servers={}, queues={}, clocks={}, producers={})
    log = events.Log(tmp_path / "events.jsonl")
    conductor._nemesis(case, tmp_path, log, stack, [])
    changed = made[0][3]
    evidence = base.Evidence("fired once", (1,), (2, 3), (base.Hit(17, 5, "BRPOP, reply lost (reset)"),))
    changed(Change(4, PlannedFault("reply_lost", "worker-1"), FaultState.HELD, evidence))
    log.close()
    (event,) = events.read(tmp_path / "events.jsonl")
    assert isinstance(event, events.FaultChanged)
    assert (event.case, event.fault, event.kind, event.target) == (case.id, 4, "reply_lost", "worker-1")
    assert (event.state, event.evidence, event.killed_pids, event.stopped_pids) == ("held", "fired once", (1,), (2, 3))
    assert event.hits == (OperationHit(17, 5, "BRPOP, reply lost (reset)"),)
