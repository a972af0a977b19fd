"""The ledger: what is written comes back, also from a writer that was killed, and from forks and threads."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from taskchaos.harness.judge.reader import read_ledger
from taskchaos.harness.record import alarm
from taskchaos.harness.record.history import (
    NEVER,
    UNFENCED,
    AttemptOutcome,
    ClaimKind,
    History,
    ReleaseSeen,
    SubmitOutcome,
)
from taskchaos.harness.record.layout import SUFFIX
from taskchaos.harness.record.ledger import Ledger
from taskchaos.harness.stack.containers.worker import LIVES, PIDS


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


def test_what_each_release_did_is_told_apart(tmp_path: Path) -> None:
    """By file: each process is of one release, and so is what it forks."""
    for role, release, effects in (
        ("worker-1", "present a 2", 2),
        ("worker-2", "previous a 1", 1),
        ("other-1", "", 4),
    ):
        ledger = Ledger(tmp_path, role, release=release)
        for op in range(effects):
            ledger.effect(op, 0)
    pid = os.fork()
    if pid == 0:
        Ledger(tmp_path, "worker-4", release="previous a 1").effect(9, 0)
        os._exit(0)
    os.waitpid(pid, 0)
    history = read(tmp_path)
    assert history.releases == (ReleaseSeen("present", "a 2", 2), ReleaseSeen("previous", "a 1", 2))
    assert history.torn_records == 0


@pytest.mark.parametrize("worker", [1, 9, 100])
def test_tokens_of_containers_fit_into_a_record(tmp_path: Path, worker: int) -> None:
    """What the pids of a container are counted from is large; a token that no column holds would tear the record."""
    ledger = Ledger(tmp_path, "worker-1", pid_base=(worker * LIVES + LIVES - 1) * PIDS)
    for op in (0, 1):
        ledger.end(op, ledger.begin(op), AttemptOutcome.OK)
    history = read(tmp_path)
    assert list(history.attempts.op) == [0, 1] and history.torn_records == 0
    assert [AttemptOutcome(o) for o in history.attempts.outcome] == [AttemptOutcome.OK] * 2


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


#: What no process writes, or not there: a line of each is torn, and disturbs nothing around it.
@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"E",
        b"Q 12 5 1 0",
        b"E twelve 5 1 0",
        b"E 12 -5 1 0",
        b"E -12 5 1 0",
        b"E 12 9223372036854775808 1 0",
        b"S 12 5 9223372036854775808 0",
        b"B 12 5 1 0 fence",
        b"B 12 5 1 0 9223372036854775808",
        b"A 12 5 0 0",  # answers a submit that nobody began
        b"X 12 5 1 1",  # ends an attempt that nobody began
        b"C 12 5 9 0",
        b"C 12 5 0 0",
        b"\xff\xfe 12 5 1 0",
        b"E 1_2 5 1 0 \x00" + b"x" * 100_000,
    ],
)
def test_a_line_that_is_no_record_or_fits_nothing_is_torn(tmp_path: Path, line: bytes) -> None:
    (tmp_path / f"worker-1.7{SUFFIX}").write_bytes(b"E 10 1 1 0\n" + line + b"\nE 13 2 1 0\n")
    history = read(tmp_path)
    assert list(history.effects.op) in ([1, 2], [1, 5, 2])
    assert history.torn_records == (1 if list(history.effects.op) == [1, 2] else 0)


def test_an_end_with_an_unknown_code_leaves_the_attempt_open(tmp_path: Path) -> None:
    (tmp_path / f"worker-1.7{SUFFIX}").write_bytes(b"B 10 1 7 3\nX 11 1 7 99\n")
    history = read(tmp_path)
    assert (list(history.attempts.outcome), history.torn_records) == ([AttemptOutcome.OPEN], 1)


@pytest.mark.parametrize("written", [0, 5, OSError(28, "No space left on device")])
def test_a_record_that_cannot_be_written_sounds_the_alarm_and_tears_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int | OSError
) -> None:
    """As on a full disk: what is written is cut off, or refused. The subject's code meets no error."""
    alarm.prepare(tmp_path)
    ledger = Ledger(tmp_path, "worker-1")
    ledger.effect(1, 1)
    assert alarm.raised(tmp_path) == ""
    real = os.write

    def full(fd: int, data: bytes) -> int:
        if isinstance(written, OSError):
            raise written
        return real(fd, data[:written]) if written else 0

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        ledger.effect(2, 1)
    ledger.effect(3, 1)
    assert "worker-1 could not write to its ledger" in alarm.raised(tmp_path)
    history = read(tmp_path)
    assert list(history.effects.op) == [1, 3]
    assert history.torn_records == (1 if written in (0, 5) else 0)


def test_a_file_that_cannot_be_opened_sounds_the_alarm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alarm.prepare(tmp_path)
    ledger = Ledger(tmp_path, "worker-1")
    real = os.open

    def full(path: Path, *given: int) -> int:
        if str(path).endswith(SUFFIX):
            raise OSError(28, "No space left on device")
        return real(path, *given)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        first = ledger.begin(1)
    assert "No space left on device" in alarm.raised(tmp_path)
    assert ledger.begin(1) != first, "attempts are told apart all the same"


def test_a_process_that_cannot_sound_the_alarm_ends(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        alarm.sound(tmp_path / "gone", "worker-1 could not write")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == alarm.EXIT_STATUS
    assert "cannot be read" in alarm.raised(tmp_path / "gone")
