"""Results that pool processes leave to the main process: whole, in any number, whoever is killed meanwhile."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from waiting import until

from locked_retry.adapter.handover import Given, Handover, Mark, read

SMALL = Mark("task", "mark_as_done", ("id", "value"), {"store_result": True})


@pytest.fixture
def handover() -> Iterator[Handover]:
    one = Handover()
    yield one
    one.close()


def forked(code: Callable[[], None]) -> int:
    """A process that runs this and ends; its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            code()
        finally:
            os._exit(0)
    return pid


@pytest.mark.parametrize("value", ["x", "x" * 10_000_000, b"\0\xff", None, ValueError("no"), {"a": [1]}], ids=type)
def test_a_call_arrives_as_it_was(handover: Handover, value: object) -> None:
    mark = Mark("task", "mark_as_failure", ("id", value), {"traceback": "..."})
    os.waitpid(forked(lambda: handover.give("12345678901234567", mark)), 0)
    ((fence, about, data),) = handover.take()
    found = read(data)
    assert about == "mark_as_failure id"
    assert fence == "12345678901234567" and found[:2] == mark[:2] and found.more == mark.more
    assert repr(found.args) == repr(mark.args)
    assert handover.take() == []


def test_an_error_that_cannot_be_pickled_arrives_as_celery_makes_it(handover: Handover) -> None:
    class Local(Exception):
        pass

    handover.give("1", Mark("task", "mark_as_failure", ("id", Local("told")), {}))
    (given,) = handover.take()
    assert "told" in repr(read(given.data).args[1])


def test_a_value_that_cannot_be_pickled_is_said(handover: Handover) -> None:
    with pytest.raises(Exception, match="pickle"):
        handover.give("1", Mark("task", "mark_as_done", ("id", lambda: None), {}))
    assert handover.take() == []


def test_more_than_a_socket_holds_arrive(handover: Handover) -> None:
    """Linux keeps some ten datagrams; all processes of a worker are told at the same moment."""
    found: list[str] = []
    pids = [forked(lambda number=n: handover.give(str(number), SMALL)) for n in range(100)]  # type: ignore[misc]

    def all_there() -> bool:
        found.extend(given.fence for given in handover.take())
        return len(found) == len(pids)

    with ExitStack() as ended:
        for pid in pids:
            ended.callback(os.waitpid, pid, 0)
        until(all_there, lambda: f"{len(found)} of {len(pids)} arrive")
    assert sorted(map(int, found)) == list(range(100))


def test_one_that_waits_for_room_gives_up(handover: Handover) -> None:
    def give_without_end() -> None:
        for number in range(100_000):
            handover.give(str(number), SMALL)

    with pytest.raises(TimeoutError):
        give_without_end()
    assert handover.take()


def test_whoever_is_killed_leaves_no_lock_and_no_half_of_anything(handover: Handover) -> None:
    large = SMALL._replace(args=("id", "x" * 100_000))

    def give_for_ever() -> None:
        while True:
            handover.give("1", large)

    for _ in range(20):
        pid = forked(give_for_ever)
        until(handover.take, "it gives")
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert all(read(given.data) == large for given in handover.take())
    handover.give("2", SMALL)
    assert [given.fence for given in handover.take()] == ["2"]


def test_files_are_closed(handover: Handover) -> None:
    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = opened()
    for _ in range(20):
        handover.give("1", SMALL)
        handover.take()
    assert opened() == before


def test_what_cannot_be_opened_for_want_of_files_is_told(handover: Handover) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    handover.give("1", SMALL)
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 8, hard))
    try:
        while True:
            try:
                taken.append(os.dup(0))
            except OSError:
                break
        assert handover.take() == [Given("1", "mark_as_done id", b"")]
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with pytest.raises(EOFError):
        read(b"")
