"""The memory in which a worker tells its pool processes which leases are over: all of them, however many."""

from __future__ import annotations

import os

import pytest

from locked_retry import lease
from locked_retry.lease import Lease, LeaseBoard

FIRST = 1_764_172_800_000_000  # a fence is a time in microseconds


def test_a_fence_is_struck_off_alone() -> None:
    board = LeaseBoard()
    board.revoke(str(FIRST))
    assert board.revoked(FIRST) and not board.revoked(FIRST + 1) and not board.revoked(FIRST - 1)


@pytest.mark.parametrize("count", [501, 5_000, 40_000])
def test_many_fences_make_it_forget_none(count: int) -> None:
    """The oldest were forgotten at 500: they were the next to run, and ran twice, each with a valid lease."""
    board = LeaseBoard()
    fences = range(FIRST, FIRST + 3 * count, 3)
    for fence in fences:
        board.revoke(str(fence))
    assert all(board.revoked(fence) for fence in fences)
    assert not any(board.revoked(fence + 1) for fence in fences)


def test_a_full_board_takes_older_fences_for_revoked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_SLOTS", 64)
    board = LeaseBoard()
    for fence in range(FIRST, FIRST + 1000):
        board.revoke(str(fence))
    assert all(board.revoked(fence) for fence in range(FIRST, FIRST + 1000))
    assert not board.revoked(FIRST + 1000), "what was claimed later is good"


def test_a_pool_process_sees_what_is_struck_off_after_it_was_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "board", LeaseBoard())
    reader, writer = os.pipe()
    go_reader, go_writer = os.pipe()
    lease.board.renewed(1e12)
    pid = os.fork()
    if not pid:
        os.read(go_reader, 1)
        left = [Lease(FIRST + n, 0.0, 30.0).valid() for n in range(3)]
        os.write(writer, bytes(left))
        os._exit(0)
    lease.board.revoke(str(FIRST + 1))
    os.write(go_writer, b"g")
    assert os.read(reader, 3) == bytes([True, False, True])
    os.waitpid(pid, 0)
