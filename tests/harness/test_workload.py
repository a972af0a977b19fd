"""Operations, due times, and a body that fails as often as it should whatever process runs it."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from taskchaos.harness.clock import NS_PER_S, now_ns
from taskchaos.harness.judge.reader import read_ledger
from taskchaos.harness.record.history import UNFENCED, AttemptOutcome, History
from taskchaos.harness.record.ledger import Ledger
from taskchaos.harness.stack.body import Body, pardon, take_down
from taskchaos.harness.workload import LoadModel, Operation, PermanentError, TransientError, Workload, operation_number


def test_an_open_load_has_even_due_times_and_whole_numbers() -> None:
    workload = Workload(rate_tps=4, baseline_s=1, fault_s=0.5, healed_s=0.5)
    due = list(workload.due(0, 1))
    assert [(op.number, ns) for op, ns in due] == [(n, n * 250_000_000) for n in range(8)]


def test_producers_share_the_operations_without_overlap() -> None:
    workload = Workload(rate_tps=10, baseline_s=1, fault_s=0, healed_s=0)
    parts = [[op.number for op, _ in workload.due(p, 3)] for p in range(3)]
    assert sorted(number for part in parts for number in part) == list(range(10))


def test_a_prefill_is_due_at_once() -> None:
    assert {ns for _, ns in Workload(model=LoadModel.PREFILL, prefill=5).due(0, 1)} == {0}


def test_what_is_submitted_twice_comes_twice_in_order_of_due_times() -> None:
    workload = Workload(rate_tps=10, baseline_s=0.5, fault_s=0, healed_s=0, again_every=2, again_after_ms=150)
    due = [(op.number, op.again, ns // 1_000_000) for op, ns in workload.due(0, 1)]
    assert due == [
        (0, False, 0),
        (1, False, 100),
        (0, True, 150),
        (2, False, 200),
        (3, False, 300),
        (2, True, 350),
        (4, False, 400),
        (4, True, 550),
    ]
    at_once = Workload(rate_tps=10, baseline_s=0.2, fault_s=0, healed_s=0, again_every=1)
    assert [(op.number, op.again) for op, _ in at_once.due(0, 1)] == [(0, False), (0, True), (1, False), (1, True)]


def test_a_burst_is_due_at_once_at_the_same_rate() -> None:
    workload = Workload(rate_tps=10, baseline_s=1, fault_s=0, healed_s=0, burst=5)
    assert [ns // 1_000_000 for _, ns in workload.due(0, 1)] == [0] * 5 + [500] * 5


def test_chords_are_whole_and_due_at_once_at_the_same_rate() -> None:
    workload = Workload(rate_tps=10, baseline_s=1, fault_s=0, healed_s=0, chord_of=3, failures=1, failing_every=3)
    assert workload.operations == 8, "two more would be no chord"
    sent = [([(op.number, op.failures) for op in ops], ns // 1_000_000) for ops, ns in workload.sends(0, 1)]
    assert sent == [([(0, 1), (1, 0), (2, 0), (3, 1)], 0), ([(4, 0), (5, 0), (6, 1), (7, 0)], 400)]
    longer = [[op.number for op in ops] for ops, _ in workload.sends(0, 1, more=5)]
    assert longer == [list(range(first, first + 4)) for first in (0, 4, 8)]


@pytest.mark.parametrize("together", [1, 2, 5, 7])
def test_producers_have_all_that_may_be_due_if_the_fault_phase_lasts_longer(together: int) -> None:
    workload = Workload(rate_tps=10, baseline_s=0.5, fault_s=0.5, healed_s=0.3, chord_of=together - 1)
    longest = workload.lasting(workload.fault_s + workload.overtime_s)
    sent = [op.number for ops, _ in workload.sends(0, 1, workload.overtime_operations) for op in ops]
    assert sent[: longest.operations] == list(range(longest.operations))
    assert Workload(model=LoadModel.PREFILL, prefill=7).overtime_operations == 0


def test_producers_share_chords_without_dividing_them() -> None:
    workload = Workload(rate_tps=15, baseline_s=1, fault_s=0, healed_s=0, chord_of=2)
    parts = [[[op.number for op in ops] for ops, _ in workload.sends(p, 2)] for p in range(2)]
    assert parts == [[[0, 1, 2], [6, 7, 8], [12, 13, 14]], [[3, 4, 5], [9, 10, 11]]]


def test_without_chords_each_operation_is_sent_by_itself() -> None:
    workload = Workload(rate_tps=4, baseline_s=1, fault_s=0, healed_s=0)
    sent = [([op.number for op in ops], ns // 1_000_000) for ops, ns in workload.sends(1, 2)]
    assert sent == [([1], 250), ([3], 750)]


def test_a_chord_that_is_submitted_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="a chord is submitted once"):
        Workload(chord_of=2, again_every=3)
    with pytest.raises(ValueError, match="chord_of has to be a whole number from 0"):
        Workload(chord_of=-1)


def test_permanent_operations_fail_for_good() -> None:
    workload = Workload(rate_tps=10, baseline_s=1, fault_s=0, healed_s=0, failures=1, permanent_every=5)
    assert workload.permanent == {n for n in range(10) if workload.operation(n).permanent} == {4, 9}
    assert [workload.operation(n).failures for n in (3, 4)] == [1, 0]


def test_poison_operations_neither_fail_nor_succeed() -> None:
    workload = Workload(rate_tps=12, baseline_s=1, fault_s=0, healed_s=0, failures=1, permanent_every=3, poison_every=6)
    operations = [workload.operation(number) for number in range(12)]
    assert workload.poison == {op.number for op in operations if op.poison} == {5, 11}
    assert workload.permanent == {op.number for op in operations if op.permanent} == {2, 8}
    assert all(op.failures == (0 if op.poison or op.permanent else 1) for op in operations)


def test_a_share_of_the_tasks_fails_unless_some_do_already() -> None:
    plain = Workload(rate_tps=20, baseline_s=1, fault_s=0, healed_s=0)
    assert [n for n in range(20) if plain.with_failures(25).operation(n).failures] == [0, 4, 8, 12, 16]
    assert plain.with_failures(0) == plain
    often = Workload(failures=3)
    assert often.with_failures(50) == often


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"outage_s": 0.6, "outage_after_s": 0.5, "fault_s": 1.0}, "within the fault phase of 1 s"),
        ({"outage_s": 0.5, "model": LoadModel.PREFILL}, "needs a load with phases"),
        ({"outage_s": -1.0}, "outage_s has to be a number from 0 to 86,400"),
    ],
)
def test_an_outage_that_cannot_be_is_refused(values: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Workload(**values)


def test_every_body_fails_while_what_it_depends_on_is_down(tmp_path: Path) -> None:
    operation = Workload(outage_s=0.5).operation(3)
    at_ns = now_ns()

    def run(since_s: int, until_s: int) -> int:
        take_down(tmp_path, at_ns + since_s * NS_PER_S, at_ns + until_s * NS_PER_S)
        return Body(Ledger(tmp_path, "worker-1"), tmp_path)(operation.payload())

    with pytest.raises(TransientError, match="cannot reach what it depends on"):
        run(-100, 100)
    assert run(-100, -50) == 3
    assert run(50, 100) == 3
    take_down(tmp_path, at_ns - NS_PER_S, at_ns + 100 * NS_PER_S)
    assert Body(Ledger(tmp_path, "worker-1"), tmp_path)(Operation(4).payload()) == 4, "it depends on nothing"
    pardon(tmp_path, 3)
    assert run(-100, 100) == 3


@pytest.mark.parametrize(("text", "number"), [("op-17", 17), ("task_lock_op-3", 3), ("unrelated", None)])
def test_an_operation_is_found_in_ids_and_keys(text: str, number: int | None) -> None:
    assert operation_number(text) == number


def test_the_body_fails_as_often_as_planned_across_processes(tmp_path: Path) -> None:
    """Two bodies (two workers) share the count through the marks."""
    ledger_folder, marks = tmp_path / "ledger", tmp_path / "marks"
    ledger_folder.mkdir()
    marks.mkdir()
    bodies = [Body(Ledger(ledger_folder, f"worker-{n}"), marks) for n in (1, 2)]
    payload = Operation(7, failures=2).payload()
    with pytest.raises(TransientError):
        bodies[0](payload)
    with pytest.raises(TransientError):
        bodies[1](payload)
    assert bodies[0](payload) == 7
    history = History()
    read_ledger(ledger_folder, history)
    assert sorted(history.attempts.outcome) == [AttemptOutcome.OK, AttemptOutcome.TRANSIENT, AttemptOutcome.TRANSIENT]
    assert list(history.effects.op) == [7]


def test_a_permanent_body_never_has_an_effect(tmp_path: Path) -> None:
    body = Body(Ledger(tmp_path, "worker-1"), tmp_path)
    with pytest.raises(PermanentError):
        body(Operation(1, permanent=True).payload())
    history = History()
    read_ledger(tmp_path, history)
    assert (list(history.effects.op), list(history.attempts.outcome)) == ([], [AttemptOutcome.PERMANENT])


def test_a_poison_body_records_its_end_and_ends_its_process(tmp_path: Path) -> None:
    payload = Operation(1, poison=True).payload()
    body = Body(Ledger(tmp_path, "worker-1"), tmp_path)
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                body(payload)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    history = History()
    read_ledger(tmp_path, history)
    assert (list(history.effects.op), list(history.attempts.outcome)) == ([], [AttemptOutcome.CRASHED] * 2)
    assert history.torn_records == 0
    pardon(tmp_path, 1)
    assert body(payload) == 1


def test_an_attempt_is_recorded_with_its_fence(tmp_path: Path) -> None:
    body = Body(Ledger(tmp_path, "worker-1"), tmp_path)
    body(Operation(1).payload(), 5)
    body(Operation(2).payload())
    history = History()
    read_ledger(tmp_path, history)
    assert list(history.attempts.fence) == [5, UNFENCED]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"eta_every": 2}, "eta_every and eta_ms go together"),
        ({"eta_ms": 5000}, "eta_every and eta_ms go together"),
        ({"eta_every": 2, "eta_ms": 600_001}, "eta_ms has to be a whole number from 0 to 600,000"),
        ({"eta_every": 2, "eta_ms": 10, "chord_of": 2}, "a chord is sent to be run at once"),
        ({"revoke_every": 2, "revoke_after_ms": 10**15}, "revoke_after_ms has to be a whole number from 0 to 600,000"),
        ({"again_every": 2, "again_after_ms": 600_001}, "again_after_ms has to be a whole number from 0 to 600,000"),
    ],
)
def test_a_time_that_cannot_be_is_refused(values: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Workload(**values)


def test_what_is_revoked_comes_a_second_time_as_its_revoke() -> None:
    workload = Workload(rate_tps=10, baseline_s=0.5, fault_s=0, healed_s=0, revoke_every=2, revoke_after_ms=150)
    due = [(op.number, op.revoked, op.again, ns // 1_000_000) for op, ns in workload.due(0, 1)]
    assert [entry for entry in due if entry[1]] == [(n, True, False, 100 * n + 150) for n in (0, 2, 4)]
    assert [entry[0] for entry in due if not entry[1]] == list(range(5)) and not any(entry[2] for entry in due)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"revoke_every": 2, "chord_of": 3}, "what is revoked is one task"),
        ({"revoke_every": 2, "again_every": 3}, "what is revoked is one task"),
        ({"revoke_every": 2, "model": LoadModel.PREFILL}, "needs workers that hear it"),
        ({"revoke_every": -2}, "revoke_every has to be a whole number from 0"),
        ({"revoke_after_ms": -2}, "revoke_after_ms has to be a whole number from 0"),
    ],
)
def test_revokes_that_nobody_hears_are_refused(values: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Workload(**values)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"priorities": 5}, "priorities has to be a whole number from 0 to 4"),
        ({"priorities": -1}, "priorities has to be a whole number from 0 to 4"),
        ({"priorities": 2, "keys": 3}, "waits for its turn only"),
        ({"priorities": 2, "chord_of": 3}, "waits for its turn only"),
        ({"priorities": 2, "eta_every": 2, "eta_ms": 10}, "waits for its turn only"),
    ],
)
def test_priorities_that_cannot_be_judged_are_refused(values: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Workload(**values)


def test_operations_have_the_priorities_of_celery_in_turn() -> None:
    assert [Workload(priorities=4).operation(number).priority for number in range(5)] == [0, 3, 6, 9, 0]
    assert Workload().operation(3).priority is None


def test_every_so_many_operations_are_sent_to_be_run_later() -> None:
    workload = Workload(rate_tps=5, baseline_s=1, fault_s=0, healed_s=0, eta_every=2, eta_ms=300)
    assert [op.eta_ms for op, _ in workload.due(0, 1)] == [300, 0, 300, 0, 300]
    assert workload.delays_ns() == dict.fromkeys((0, 2, 4), 300_000_000)
