"""When a case has settled: never from one empty poll, never while a worker holds a task, and overdue is not settled."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from taskchaos.harness.clock import now_ns
from taskchaos.harness.conduct import convergence as settle
from taskchaos.harness.conduct.convergence import Convergence, Settled
from taskchaos.harness.record.history import NEVER, AttemptOutcome, ClaimKind
from taskchaos.harness.record.ledger import Ledger
from taskchaos.harness.record.ledger_tail import LedgerTail
from taskchaos.harness.stack.procfs import alive
from taskchaos.harness.subject import Pending


class _Broker:
    """A reader whose pending work is what the test says; `polls` counts how often it was asked."""

    def __init__(self, *script: Pending) -> None:
        self._script = list(script)
        self.polls = 0

    def pending(self) -> Pending:
        self.polls += 1
        return self._script.pop(0) if len(self._script) > 1 else self._script[0]

    def dead_letters(self) -> frozenset[int]:
        return frozenset()

    def leftovers(self) -> tuple[str, ...]:
        return ()


EMPTY = Pending()
ONE = Pending(frozenset({1}))
OVERDUE_S = 1.0


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settle, "POLL_S", 0.01)
    monkeypatch.setattr(settle, "QUIET_S", 0.1)
    monkeypatch.setattr(settle, "QUIET_MISSING_S", 0.3)


def _wait(tail: LedgerTail, broker: _Broker, deadline_s: float = 5.0) -> Settled:
    return Convergence(broker, None, tail, OVERDUE_S).wait(deadline_s, lambda: None)  # type: ignore[arg-type]


def test_one_empty_poll_is_not_settled(tmp_path: Path) -> None:
    broker = _Broker(EMPTY)
    assert _wait(LedgerTail(tmp_path, alive), broker) == Settled(True, True, False, "")
    assert broker.polls > 3


def test_an_empty_poll_between_two_full_ones_settles_nothing(tmp_path: Path) -> None:
    broker = _Broker(ONE, EMPTY, ONE, EMPTY, ONE, EMPTY)
    assert _wait(LedgerTail(tmp_path, alive), broker).converged
    assert broker.polls > 8


def test_a_task_in_a_live_worker_process_is_not_settled(tmp_path: Path) -> None:
    """A worker that sleeps between two attempts has nothing on the broker and no attempt open, and is not done."""
    ledger = Ledger(tmp_path, "worker-1")
    ledger.held(1)
    settled = _wait(LedgerTail(tmp_path, alive), _Broker(EMPTY), deadline_s=0.5)
    assert not settled.converged and not settled.overdue
    assert "1 held by workers" in settled.reason
    ledger.released(1)
    assert _wait(LedgerTail(tmp_path, alive), _Broker(EMPTY)).converged


def test_a_task_that_a_dead_process_held_is_over(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        Ledger(tmp_path, "worker-1").held(1)
        os._exit(0)
    os.waitpid(pid, 0)
    assert _wait(LedgerTail(tmp_path, alive), _Broker(EMPTY)).converged


def test_what_lies_on_the_broker_for_longer_than_any_timeout_is_overdue(tmp_path: Path) -> None:
    settled = _wait(LedgerTail(tmp_path, alive), _Broker(ONE))
    assert settled == Settled(False, True, True, settled.reason)
    assert "although 1 on the broker" in settled.reason


def test_missing_operations_are_waited_for_longer(tmp_path: Path) -> None:
    """Acknowledged and nowhere: it may still come, so absence needs a longer silence than presence."""
    ledger = Ledger(tmp_path, "producer-1")
    ledger.submit(1, 0)
    ledger.acknowledged(1)
    tail = LedgerTail(tmp_path, alive)
    missing = _Broker(EMPTY)
    assert _wait(tail, missing).converged
    ledger.claim(1, ClaimKind.FAILURE)
    told = _Broker(EMPTY)
    assert _wait(tail, told).converged
    assert missing.polls > 1.5 * told.polls


class _Backend:
    """A result backend with a result of task 1, from the n-th look on."""

    def __init__(self, from_look: int) -> None:
        self._left = from_look

    def scan_iter(self, **_: object) -> list[bytes]:
        self._left -= 1
        return [b"celery-task-meta-op-1"] if self._left <= 0 else []

    def mget(self, keys: list[bytes]) -> list[bytes]:
        return [b'{"status": "SUCCESS", "result": 1}' for _ in keys]


@pytest.mark.parametrize(("from_look", "looks"), [(1, 1), (9, 9), (1_000_000, None)])
def test_requested_results_are_waited_for_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, from_look: int, looks: int | None
) -> None:
    monkeypatch.setattr(settle, "QUIET_RESULTS_S", 0.6)
    ledger, backend = _acknowledged(tmp_path), _Backend(from_look)
    ledger.effect(1, 1)
    settling = Convergence(_Broker(EMPTY), backend, LedgerTail(tmp_path, alive), OVERDUE_S, keep_results=True)  # type: ignore[arg-type]
    assert settling.wait(5.0, lambda: None).converged
    assert looks is None or from_look - backend._left == looks


class _Moving(_Broker):
    """A broker that never rests: a message is on it, then not, and each time it was delivered once more."""

    def __init__(self, ledger: Ledger, step: Callable[[Ledger], object]) -> None:
        super().__init__(EMPTY)
        self._ledger = ledger
        self._step = step

    def pending(self) -> Pending:
        self._step(self._ledger)
        super().pending()
        return ONE if self.polls % 2 else EMPTY


def _acknowledged(folder: Path) -> Ledger:
    ledger = Ledger(folder, "worker-1")
    ledger.submit(1, 0)
    ledger.acknowledged(1)
    return ledger


def _taken(ledger: Ledger) -> None:
    ledger.delivery(1)
    ledger.held(1)
    ledger.claim(1, ClaimKind.RETRY)
    ledger.released(1)


def _interrupted(ledger: Ledger) -> None:
    ledger.end(1, ledger.begin(1), AttemptOutcome.INTERRUPTED)


@pytest.mark.parametrize("step", [_taken, _interrupted], ids=lambda step: step.__name__)
def test_movement_without_progress_is_a_stall(tmp_path: Path, step: Callable[[Ledger], None]) -> None:
    began_ns = now_ns()
    settled = _wait(LedgerTail(tmp_path, alive), _Moving(_acknowledged(tmp_path), step), deadline_s=0.2)
    assert (settled.converged, settled.quiet, settled.overdue) == (False, False, False)
    assert "no task got further" in settled.reason
    assert began_ns <= settled.stalled_since_ns <= now_ns() - int(OVERDUE_S * 1e9), "at any deadline it is waited for"


def _failed_once_more(ledger: Ledger) -> None:
    ledger.end(1, ledger.begin(1), AttemptOutcome.TRANSIENT)


def _crashed_once_more(ledger: Ledger) -> None:
    ledger.end(1, ledger.begin(1), AttemptOutcome.CRASHED)


@pytest.mark.parametrize(("most_crashes", "stalls"), [(0, True), (5, True), (1_000_000, False)])
def test_as_many_crashes_as_are_claimed_count_as_progress(tmp_path: Path, most_crashes: int, stalls: bool) -> None:
    tail = LedgerTail(tmp_path, alive, most_crashes)
    settled = _wait(tail, _Moving(_acknowledged(tmp_path), _crashed_once_more), deadline_s=1.5)
    assert (settled.stalled_since_ns != NEVER) is stalls


def test_slow_progress_is_no_stall(tmp_path: Path) -> None:
    settled = _wait(LedgerTail(tmp_path, alive), _Moving(_acknowledged(tmp_path), _failed_once_more), deadline_s=1.5)
    assert settled.stalled_since_ns == NEVER
    assert settled.reason.startswith("not settled within 1.5 s")


def test_a_task_that_hangs_in_a_worker_for_too_long_is_a_stall(tmp_path: Path) -> None:
    _acknowledged(tmp_path).held(1)
    settled = _wait(LedgerTail(tmp_path, alive), _Broker(EMPTY))
    assert settled.stalled_since_ns != NEVER
    assert "1 held by workers" in settled.reason
