"""From plain Celery to locked_retry and back, and both at once: nothing is lost, nothing runs twice."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery_support import Fleet, fleet_on
from waiting import until

PLAIN = '{"plain": True}'


@pytest.fixture
def fleet(shared_server: Any, tmp_path: Path) -> Iterator[Fleet]:
    with fleet_on(shared_server, tmp_path, plain=True) as one:
        yield one


def _publish(fleet: Fleet, notes: int, later: int, retried: int, wait_s: float) -> None:
    """Tasks that wait, tasks for later, and tasks that are retried twice; by a producer that is plain Celery."""
    for number in range(later):
        fleet.task("note").apply_async((f"later{number}",), countdown=wait_s, ignore_result=True)
    for number in range(retried):
        fleet.task("flaky").apply_async((f"flaky{number}", 2), {"countdown": wait_s}, ignore_result=True)
    for number in range(notes):
        fleet.task("note").apply_async((f"n{number}", 0.02), ignore_result=True)


def _each_once(fleet: Fleet, notes: int, later: int, retried: int) -> None:
    def tries() -> Counter[str]:
        return Counter(" ".join(n[1:3]) for n in fleet.notes("try"))

    def ends() -> Counter[str]:
        return Counter(n[1] for n in fleet.notes("end"))

    expected_notes = {*(f"later{n}" for n in range(later)), *(f"n{n}" for n in range(notes))}
    expected_tries = {f"flaky{n} {r}" for n in range(retried) for r in range(3)}
    until(lambda: set(ends()) == expected_notes and set(tries()) == expected_tries, "all ran", 40)
    fleet.settle()
    until(lambda: not fleet.redis.hlen("unacked"), "plain workers settled, too")
    assert max(ends().values()) == max(tries().values()) == 1
    assert fleet.redis.zcard("lr:dead") == 0


def _end(fleet: Fleet, number: int) -> None:
    os.kill(fleet.workers[number].pid, signal.SIGTERM)
    fleet.workers[number].wait(60)


def _end_plain(fleet: Fleet, number: int) -> None:
    """Its queue first: plain Celery 5.7 runs what was just given to a process a second time when it ends."""
    name = f"w{number}@test"
    fleet.app.control.cancel_consumer("celery", destination=[name], reply=True)
    inspect = fleet.app.control.inspect(destination=[name], timeout=5.0, limit=1)
    until(lambda: not inspect.active()[name] and not inspect.reserved()[name], "nothing runs in it", 20)
    _end(fleet, number)


def test_both_kinds_of_workers_share_a_queue(fleet: Fleet) -> None:
    fleet.worker(conf=PLAIN)
    fleet.worker()
    _publish(fleet, 80, 10, 10, 0.5)
    _each_once(fleet, 80, 10, 10)
    assert len({n[3] for n in fleet.notes("begin")}) > 2, "one of the workers did nothing"


def test_a_migration_there_and_back_needs_no_draining(fleet: Fleet) -> None:
    """With 200 waiting tasks, ETAs and retries under way, at both changes."""
    fleet.worker(conf=PLAIN)
    _publish(fleet, 200, 12, 12, 3.5)
    until(lambda: len(fleet.notes("end")) > 30, "the plain worker is busy")
    _end_plain(fleet, 0)
    assert fleet.redis.hlen("unacked") == 0
    done = len(fleet.notes("end"))
    assert done < 150
    fleet.worker()
    until(lambda: len(fleet.notes("end")) > done + 20, "the new worker is busy", 20)
    until(lambda: fleet.redis.zcard("lr:delay") > 0, "something waits")
    _end(fleet, 1)
    assert fleet.redis.zcard("lr:lease") == 0
    fleet.worker(conf=PLAIN)
    fleet.worker(more=("-Qnothing",))  # brings back what waits in lr:delay, and takes nothing itself
    _each_once(fleet, 200, 12, 12)
    assert fleet.redis.zcard("lr:delay") == 0
