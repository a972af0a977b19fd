"""Events and files of a case folder become a history; what is missing stays empty."""

from __future__ import annotations

import json
from pathlib import Path

from harness import codec, events
from harness.contract import PhaseName, Slo
from harness.history import NEVER, FaultInterval, FinalState, History, Phase
from harness.history_io import EVENTS, FINAL, LEDGER, load, read_events
from harness.ledger import Ledger


def _fault(at_ns: int, state: str, **more: object) -> events.FaultChanged:
    return events.FaultChanged(
        at_ns=at_ns,
        case="c",
        fault=0,
        kind="kill_tree",
        target="worker-1",
        state=state,
        **more,  # type: ignore[arg-type]
    )


def test_a_fault_is_put_together_from_its_changes() -> None:
    history = History()
    read_events(
        [
            _fault(10, "injected"),
            _fault(11, "proven", evidence="3 gone", killed_pids=(7, 8, 9)),
            _fault(20, "healed"),
        ],
        history,
    )
    assert history.faults == (
        FaultInterval("kill_tree", "worker-1", 10, 20, True, True, "3 gone", frozenset({7, 8, 9})),
    )


def test_what_a_fault_stopped_is_kept_when_it_is_healed() -> None:
    history = History()
    read_events([_fault(10, "injected"), _fault(11, "proven", stopped_pids=(7, 8)), _fault(20, "healed")], history)
    assert history.faults[0].stopped_pids == {7, 8} and not history.faults[0].killed_pids


def test_a_fault_that_was_not_healed_says_so() -> None:
    history = History()
    read_events([_fault(10, "injected"), _fault(11, "unproven"), _fault(20, "heal_failed")], history)
    (fault,) = history.faults
    assert (fault.proven, fault.healed, fault.healed_ns) == (False, False, NEVER)


def test_phases_and_deaths_are_taken_from_events() -> None:
    history = History()
    read_events(
        [
            events.PhaseEnded(
                at_ns=3_000_000_000, case="c", phase=PhaseName.BASELINE, took_s=2.0, offered_tps=50.0, done_tps=49.0
            ),
            events.WorkerDied(case="c", role="worker-1", detail="status 1"),
        ],
        history,
    )
    assert history.phases == (Phase(PhaseName.BASELINE, 1_000_000_000, 3_000_000_000, 100),)
    assert history.deaths == ("worker-1: status 1",)


def test_a_folder_is_read_whole_and_dropped_sends_are_counted(tmp_path: Path) -> None:
    (tmp_path / LEDGER).mkdir()
    ledger = Ledger(tmp_path / LEDGER, "producer-1")
    ledger.submit(0, 1)
    ledger.acknowledged(0)
    final = FinalState(reads=3, pending=frozenset({0}), results={0: 1})
    (tmp_path / FINAL).write_text(json.dumps(codec.encode(final)))
    log = events.Log(tmp_path / EVENTS)
    log.emit(_fault(10, "injected"))
    log.close()
    history = load(tmp_path, planned=3, permanent=frozenset({2}), planned_faults=1, slo=Slo(5.0), lease_ns=7)
    assert history.lease_ns == 7
    assert (list(history.submits.op), history.dropped_sends, history.planned_faults) == ([0], 2, 1)
    assert history.final == final
    assert len(history.faults) == 1


def test_an_empty_folder_is_an_empty_history(tmp_path: Path) -> None:
    history = load(tmp_path, planned=2, permanent=frozenset(), planned_faults=1, slo=Slo(), lease_ns=7)
    assert (list(history.submits.op), history.final, history.faults, history.dropped_sends) == ([], FinalState(), (), 2)
