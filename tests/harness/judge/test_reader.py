"""Events and files of a case folder become a history; what is missing stays empty."""

from __future__ import annotations

from pathlib import Path

import pytest
from plans import plan

from taskchaos.faults.schedule import PlannedFault, Schedule
from taskchaos.harness.case.stack_options import StackOptions
from taskchaos.harness.contract import PhaseName, Slo
from taskchaos.harness.judge.reader import LEDGER, load, read_events
from taskchaos.harness.record import events
from taskchaos.harness.record.history import NEVER, FaultInterval, FinalState, History, OperationHit, Phase
from taskchaos.harness.record.layout import EVENTS
from taskchaos.harness.record.ledger import Ledger
from taskchaos.harness.workload import Workload


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


def test_when_a_fault_was_last_seen_in_force_is_kept() -> None:
    history = History()
    read_events([_fault(10, "injected"), _fault(11, "proven"), _fault(17, "held"), _fault(20, "healed")], history)
    assert (history.faults[0].seen_ns, history.faults[0].healed_ns) == (17, 20)


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


def test_a_fault_that_vanished_was_unused_or_hit_a_task_says_so() -> None:
    history = History()
    hits = (OperationHit(3, 15, "BRPOP, reply lost"),)
    read_events([_fault(10, "injected"), _fault(12, "vanished", hits=hits), _fault(20, "healed")], history)
    (fault,) = history.faults
    assert (fault.held, fault.unused, fault.hits) == (False, False, hits)
    read_events([_fault(10, "injected"), _fault(12, "unused"), _fault(20, "healed")], history)
    (fault,) = history.faults
    assert (fault.held, fault.unused, fault.proven) == (True, True, False)


def test_event_lines_that_cannot_be_read_are_torn_records() -> None:
    history = History()
    read_events([events.Unreadable(at_ns=0, lines=2)], history)
    assert history.torn_records == 2


def test_a_folder_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / LEDGER).mkdir()
    ledger = Ledger(tmp_path / LEDGER, "producer-1")
    ledger.submit(0, 1)
    ledger.acknowledged(0)
    ledger.dropped(1, 7)
    ledger.finished(3)
    log = events.Log(tmp_path / EVENTS)
    log.emit(_fault(10, "injected"))
    log.close()
    final = FinalState(reads=3, pending=frozenset({0}), results={0: 1})
    load_plan = Workload(rate_tps=3, baseline_s=1, fault_s=0, healed_s=0, failures=2, failing_every=2)
    case = plan(
        workload=load_plan,
        schedule=Schedule.of(PlannedFault("kill_tree", "worker-1")),
        slo=Slo(5.0),
        longest_wait_s=1.5,
        stack=StackOptions(producers=2),
    )
    history = load(tmp_path, case, final)
    assert (history.lease_ns, history.longest_wait_ns) == (3_000_000_000, 1_500_000_000)
    assert (history.planned, history.planned_faults, history.slo) == (3, 1, Slo(5.0))
    assert (history.failures, history.permanent) == (bytes([2, 0, 2]), frozenset())
    assert (list(history.submits.op), list(history.submits.role)) == ([0], [0])
    assert (list(history.drops.op), list(history.drops.due_ns)) == ([1], [7])
    assert (history.producers, history.finished) == (("producer-1", "producer-2"), frozenset({"producer-1"}))
    assert history.gone_through == 3
    assert history.final == final
    assert len(history.faults) == 1


@pytest.mark.parametrize(
    ("told_s", "planned", "permanent"),
    [(2.5, 35, {9, 19, 29}), (1.0, 20, {9, 19}), (6.0, 70, {9, 19, 29, 39, 49, 59, 69})],
)
def test_what_was_sent_until_the_last_heal_is_part_of_the_plan(
    tmp_path: Path, told_s: float, planned: int, permanent: set[int]
) -> None:
    history = _extended(tmp_path, told_s)
    assert (history.planned, history.permanent, len(history.failures)) == (planned, permanent, planned)


def test_a_load_is_never_longer_than_a_plan_may_be(tmp_path: Path) -> None:
    """A plan of nearly as many operations as there may be, and a file that says that it became longer."""
    load_plan = Workload(rate_tps=1_000_000, baseline_s=1, fault_s=1, healed_s=7.9)
    assert _extended(tmp_path, 6.0, load_plan).planned == load_plan.operations
    assert load_plan.lasting(1 + load_plan.overtime_s).operations == 10_000_000


@pytest.mark.parametrize("told_s", [0.9, 6.1, -1.0, float("nan"), float("inf"), 1e300])
def test_a_file_cannot_make_a_load_shorter_or_endless(tmp_path: Path, told_s: float) -> None:
    assert _extended(tmp_path, told_s).planned == 20


#: 20 operations, of which 1 s under faults.
PLANNED = Workload(rate_tps=10, baseline_s=0.5, fault_s=1, healed_s=0.5, failures=1, permanent_every=10)


def _extended(folder: Path, fault_s: float, load_plan: Workload = PLANNED) -> History:
    """The history of a load that was under faults for so long, as the events say."""
    log = events.Log(folder / EVENTS)
    log.emit(events.LoadExtended(case="a", fault_s=fault_s))
    log.close()
    return load(folder, plan(workload=load_plan), FinalState())


def test_an_empty_folder_is_an_empty_history(tmp_path: Path) -> None:
    history = load(tmp_path, plan(), FinalState())
    assert (list(history.submits.op), history.final, history.faults, history.finished) == ([], FinalState(), (), set())
