"""The ledger: what is written comes back, also from a writer that was killed, and from forks and threads."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from harness.history import NEVER, UNFENCED, AttemptOutcome, ClaimKind, History, SubmitOutcome
from harness.history_io import read_ledger
from harness.ledger import SUFFIX, Ledger


def read(folder: Path) -> History:
    history = History()
    read_ledger(folder, history)
    return history


def test_every_record_comes_back(tmp_path: Path) -> None:
    producer, worker = Ledger(tmp_path, "producer-1"), Ledger(tmp_path, "worker-1")
    producer.submit(3, due_ns=42)
    producer.acknowledged(3)
    producer.submit(4, due_ns=43)
    producer.unknown(4, "ConnectionError: reset\nby peer")
    producer.submit(5, due_ns=44)
    producer.refused(5, "cannot be encoded")
    producer.submit(6, due_ns=45)
    worker.delivery(3)
    worker.held(3)
    token = worker.begin(3)
    worker.effect(3, token)
    worker.end(3, token, AttemptOutcome.OK)
    worker.claim(3, ClaimKind.SUCCESS)
    worker.released(3)
    worker.begin(4, fence=17)
    history = read(tmp_path)

    assert history.roles == ("producer-1", "worker-1")
    assert list(history.submits.op) == [3, 4, 5, 6]
    assert list(history.submits.due_ns) == [42, 43, 44, 45]
    assert [SubmitOutcome(o) for o in history.submits.outcome] == [
        SubmitOutcome.ACKNOWLEDGED,
        SubmitOutcome.UNKNOWN,
        SubmitOutcome.REFUSED,
        SubmitOutcome.PENDING,
    ]
    assert history.submits.done_ns[3] == NEVER
    assert list(history.deliveries.op) == [3]
    assert list(history.attempts.op) == [3, 4]
    assert [AttemptOutcome(o) for o in history.attempts.outcome] == [AttemptOutcome.OK, AttemptOutcome.OPEN]
    assert list(history.attempts.pid) == [os.getpid()] * 2
    assert list(history.attempts.fence) == [UNFENCED, 17]
    assert list(history.effects.op) == [3]
    assert list(history.claims.kind) == [ClaimKind.SUCCESS]
    assert history.torn_records == 0


def test_records_survive_sigkill_of_the_writer(tmp_path: Path) -> None:
    """The call has returned, so the record is the kernel's: nothing may be buffered in the process."""
    told_read, told_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        ledger = Ledger(tmp_path, "worker-1")
        for op in range(1000):
            ledger.effect(op, 1)
        os.write(told_write, b"1")
        signal.pause()
        os._exit(0)
    os.read(told_read, 1)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert list(read(tmp_path).effects.op) == list(range(1000))


def test_a_fork_writes_to_a_file_of_its_own(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "worker-1")
    ledger.effect(1, 1)
    pid = os.fork()
    if pid == 0:
        ledger.effect(2, 1)
        os._exit(0)
    os.waitpid(pid, 0)
    ledger.effect(3, 1)
    assert {p.name for p in tmp_path.iterdir()} == {f"worker-1.{os.getpid()}{SUFFIX}", f"worker-1.{pid}{SUFFIX}"}
    assert sorted(read(tmp_path).effects.op) == [1, 2, 3]


def test_threads_share_a_file_without_tearing_lines(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "producer-1")

    def write(first: int) -> None:
        for op in range(first, first + 500):
            ledger.submit(op, 0)
            ledger.acknowledged(op)

    threads = [threading.Thread(target=write, args=(n * 500,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    history = read(tmp_path)
    assert sorted(history.submits.op) == list(range(4000))
    assert history.torn_records == 0
    assert set(history.submits.outcome) == {SubmitOutcome.ACKNOWLEDGED}


def test_a_torn_line_is_counted_not_guessed(tmp_path: Path) -> None:
    (tmp_path / f"worker-1.7{SUFFIX}").write_bytes(b"E 12 5 1 0\nE 13 6")
    history = read(tmp_path)
    assert (list(history.effects.op), history.torn_records) == ([5], 1)
